#include "mta/live_backend.h"

#include <optional>
#include <utility>

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds kRead = 60s;     // a page, a count
constexpr std::chrono::seconds kProbe = 120s;   // delivery::kProbeStep for each step of a session, and the DNS
constexpr std::chrono::seconds kChange = 600s;  // goes through the whole queue, a slice at a time
constexpr std::chrono::seconds kWhole = 4h;     // reads all of it, bodies too

/// For work that ends when the daemon does, or where whoever watches it wants that.
class Stopping {
 public:
  Stopping(std::stop_token daemon, const queue::Watched& progress) : token_(std::move(daemon)) {
    if (!progress) return;
    ends_ = std::make_shared<std::stop_callback<std::function<void()>>>(token_, [progress] { progress->stop(); });
    token_ = progress->token();
  }
  std::stop_token token() const { return token_; }

 private:
  std::stop_token token_;
  std::shared_ptr<std::stop_callback<std::function<void()>>> ends_;
};

}  // namespace

/// The result of one call, or that there will be none.
template <class T>
struct LiveBackend::Slot {
  explicit Slot(std::shared_ptr<Gate> of) : gate(std::move(of)) {}
  std::shared_ptr<Gate> gate;
  std::optional<Result<T>> result;
  void set(Result<T> value) {
    {
      std::lock_guard lock(gate->mutex);
      if (result) return;
      result.emplace(std::move(value));
    }
    gate->changed.notify_all();
  }
};

LiveBackend::LiveBackend(LiveParts parts) : parts_(std::move(parts)) {}

void LiveBackend::stop() {
  {
    std::lock_guard lock(gate_->mutex);
    gate_->stopped = true;
  }
  stopping_.request_stop();
  gate_->changed.notify_all();
}

template <class T>
net::Task<> LiveBackend::fulfil(std::shared_ptr<Slot<T>> slot, std::function<net::Task<Result<T>>()> ask) {
  // If an exception comes out of it, the caller must not wait for the time-out.
  struct Ending {
    std::shared_ptr<Slot<T>> of;
    ~Ending() { of->set(fail(Errc::internal, "an exception in the daemon, which is in its log")); }
  };
  const Ending ending{slot};
  Result<T> result = co_await ask();
  slot->set(std::move(result));
}

template <class T>
Result<T> LiveBackend::wait(std::function<net::Task<Result<T>>()> ask, std::chrono::seconds timeout) {
  auto slot = std::make_shared<Slot<T>>(gate_);
  {
    std::lock_guard lock(gate_->mutex);
    if (gate_->stopped) return fail(Errc::cancelled, "the daemon is stopping");
  }
  parts_.runtime.post([&scope = parts_.scope, slot, ask = std::move(ask)] { scope.spawn(fulfil<T>(slot, ask)); });
  std::unique_lock lock(gate_->mutex);
  const auto over = [this, &slot] { return slot->result || gate_->stopped; };
  if (!gate_->changed.wait_for(lock, timeout, over)) {
    return fail(Errc::timed_out, "no answer within " + std::to_string(timeout.count()) + " s; it may still be done");
  }
  if (!slot->result) return fail(Errc::cancelled, "the daemon is stopping");
  return std::move(*slot->result);
}

Result<queue::Listing> LiveBackend::list(const queue::Filter& filter, std::optional<queue::Id> after,
                                         std::size_t limit) {
  return wait<queue::Listing>([&parts = parts_, filter, after,
                               limit] { return parts.store.list(filter, after, limit, parts.runtime.wall_now()); },
                              kRead);
}

Result<queue::Counts> LiveBackend::count(const queue::Filter& filter) {
  return wait<queue::Counts>([&parts = parts_, filter] { return parts.store.count(filter, parts.runtime.wall_now()); },
                             kRead);
}

Result<queue::Groups> LiveBackend::group(const queue::Filter& filter, queue::GroupBy by, std::size_t limit) {
  return wait<queue::Groups>(
      [&parts = parts_, filter, by, limit] { return parts.store.group(filter, by, limit, parts.runtime.wall_now()); },
      kRead);
}

Result<queue::Changed> LiveBackend::change(queue::ChangeRequest request) {
  return wait<queue::Changed>(
      [&parts = parts_, request] {
        queue::ChangeRequest now = request;
        now.now = parts.runtime.wall_now();
        return parts.store.change(std::move(now));
      },
      kChange);
}

Result<delivery::ByHand> LiveBackend::by_hand(delivery::HandOrder order) {
  return wait<delivery::ByHand>([&parts = parts_, order] { return parts.by_hand(order); }, kWhole);
}

Result<queue::Changed> LiveBackend::undo(std::uint64_t number, const std::string& who, queue::Watched progress) {
  return wait<queue::Changed>(
      [&parts = parts_, number, who, progress = std::move(progress)] {
        return parts.store.undo(number, who, parts.runtime.wall_now(), progress);
      },
      kChange);
}

Result<> LiveBackend::record(queue::ChangeRecord change) {
  return wait<void>([&parts = parts_, change] { return parts.store.record(change); }, kRead);
}

Result<std::vector<queue::ChangeRecord>> LiveBackend::changes(std::uint64_t before, std::size_t limit) {
  return wait<std::vector<queue::ChangeRecord>>(
      [&parts = parts_, before, limit] { return parts.store.changes(before, limit); }, kRead);
}

Result<std::shared_ptr<const queue::Content>> LiveBackend::content(queue::Id id) {
  return wait<std::shared_ptr<const queue::Content>>([&parts = parts_, id] { return parts.store.content(id); }, kRead);
}

Result<std::size_t> LiveBackend::settle_doubt(queue::Id id, const std::string& address, bool delivered,
                                              const std::string& reason) {
  return wait<std::size_t>(
      [&parts = parts_, id, address, delivered, reason] { return parts.settle_doubt(id, address, delivered, reason); },
      kRead);
}

Result<std::vector<queue::DestinationRow>> LiveBackend::destinations(const std::string& name, bool count) {
  return wait<std::vector<queue::DestinationRow>>(
      [&parts = parts_, name, count] { return parts.store.destinations(name, count, parts.runtime.wall_now()); },
      kRead);
}

Result<> LiveBackend::change_destination(queue::DestinationChange change) {
  return wait<void>([&parts = parts_, change] { return parts.store.change_destination(change); }, kRead);
}

Result<Explanation> LiveBackend::explain(const ExplainQuery& query) {
  return wait<Explanation>([&parts = parts_, query] { return parts.explain(query); }, kRead);
}

Result<delivery::Probe> LiveBackend::probe(const std::string& destination) {
  return wait<delivery::Probe>(
      [&parts = parts_, destination, stop = stopping_.get_token()] { return parts.probe(destination, stop); }, kProbe);
}

Result<std::vector<queue::HistoryEvent>> LiveBackend::find(const queue::HistoryQuery& query) {
  return parts_.history.find(query);
}

Result<DaemonFacts> LiveBackend::facts() {
  struct Ask {
    static net::Task<Result<DaemonFacts>> run(LiveParts& parts) { co_return parts.facts(); }
  };
  return wait<DaemonFacts>([&parts = parts_] { return Ask::run(parts); }, kRead);
}

Result<ConfigEpochs> LiveBackend::epochs() {
  struct Ask {
    static net::Task<Result<ConfigEpochs>> run(LiveParts& parts) { co_return parts.epochs(); }
  };
  return wait<ConfigEpochs>([&parts = parts_] { return Ask::run(parts); }, kRead);
}

Result<ReloadReport> LiveBackend::reload() {
  return wait<ReloadReport>([&parts = parts_] { return parts.reload(); }, kRead);
}

Result<queue::StoreStats> LiveBackend::store_stats() {
  return wait<queue::StoreStats>([&parts = parts_] { return parts.store_stats(); }, kRead);
}

Result<queue::VacuumReport> LiveBackend::vacuum_store() {
  return wait<queue::VacuumReport>([&parts = parts_, stop = stopping_.get_token()] { return parts.vacuum(stop); },
                                   kWhole);
}

Result<queue::CheckReport> LiveBackend::check_store(queue::Watched progress) {
  return wait<queue::CheckReport>([&parts = parts_, either = Stopping(stopping_.get_token(), progress),
                                   progress] { return parts.check(either.token(), progress); },
                                  kWhole);
}

Result<queue::BackupReport> LiveBackend::back_up(const std::string& folder, queue::Watched progress) {
  return wait<queue::BackupReport>([&parts = parts_, folder, either = Stopping(stopping_.get_token(), progress),
                                    progress] { return parts.back_up(folder, either.token(), progress); },
                                   kWhole);
}

Result<Measures> LiveBackend::measures() {
  return wait<Measures>([&parts = parts_] { return parts.measures(); }, kRead);
}

net::WallTime LiveBackend::now() {
  return std::chrono::time_point_cast<net::WallTime::duration>(std::chrono::system_clock::now());
}

}  // namespace waypost::mta
