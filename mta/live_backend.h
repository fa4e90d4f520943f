// mta/live_backend.h: what the control socket asks of the running daemon: calls that block, answered on its first loop.
#pragma once
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>

#include "mta/control_api.h"
#include "mta/metrics.h"
#include "net/runtime.h"
#include "net/scope.h"
#include "net/task.h"
#include "queue/store.h"

namespace waypost::mta {

/// The parts of the daemon that are asked. References outlive the backend.
struct LiveParts {
  net::Runtime& runtime;  ///< the first loop's
  net::Scope& scope;      ///< on it; runs what is asked
  queue::Store& store;    ///< of it
  queue::Files& files;
  queue::History& history;
  const Rates& rates;
  const CertificateHolder& certificates;
  std::function<DaemonFacts()> facts;                       ///< called on the loop
  std::function<ConfigEpochs()> epochs;                     ///< likewise
  std::function<net::Task<Result<ReloadReport>>()> reload;  ///< likewise
  std::function<net::Task<Result<std::size_t>>(queue::Id, std::string address, bool delivered, std::string reason)>
      settle_doubt;
  std::function<net::Task<Result<delivery::ByHand>>(delivery::HandOrder)> by_hand;
  std::function<net::Task<Result<Explanation>>(ExplainQuery)> explain;
  std::function<net::Task<Result<delivery::Probe>>(std::string destination, std::stop_token)> probe;
  std::function<net::Task<Result<queue::CheckReport>>(std::stop_token, queue::Watched)> check;
  std::function<net::Task<Result<queue::BackupReport>>(std::string folder, std::stop_token, queue::Watched)> back_up;
  std::function<net::Task<Result<Measures>>()> measures;
  std::function<net::Task<Result<queue::StoreStats>>()> store_stats;
  std::function<net::Task<Result<queue::VacuumReport>>(std::stop_token)> vacuum;
};

/// Threads call in and wait. After the loop has ended every call returns `cancelled` at once if stop() was called.
class LiveBackend : public ControlBackend {
 public:
  explicit LiveBackend(LiveParts parts);

  /// From any thread: calls that wait return `cancelled`, and so do all that come.
  void stop();

  Result<queue::Listing> list(const queue::Filter& filter, std::optional<queue::Id> after, std::size_t limit) override;
  Result<queue::Counts> count(const queue::Filter& filter) override;
  Result<queue::Groups> group(const queue::Filter& filter, queue::GroupBy by, std::size_t limit) override;
  Result<queue::Changed> change(queue::ChangeRequest request) override;
  Result<delivery::ByHand> by_hand(delivery::HandOrder order) override;
  Result<queue::Changed> undo(std::uint64_t number, const std::string& who, queue::Watched progress) override;
  Result<> record(queue::ChangeRecord change) override;
  Result<std::vector<queue::ChangeRecord>> changes(std::uint64_t before, std::size_t limit) override;
  Result<std::shared_ptr<const queue::Content>> content(queue::Id id) override;
  Result<std::size_t> settle_doubt(queue::Id id, const std::string& address, bool delivered,
                                   const std::string& reason) override;
  Result<std::vector<queue::DestinationRow>> destinations(const std::string& name, bool count) override;
  Result<> change_destination(queue::DestinationChange change) override;
  Result<Explanation> explain(const ExplainQuery& query) override;
  Result<delivery::Probe> probe(const std::string& destination) override;
  queue::Files& files() override { return parts_.files; }
  Result<std::vector<queue::HistoryEvent>> find(const queue::HistoryQuery& query) override;
  Result<DaemonFacts> facts() override;
  Result<std::vector<Rates::Row>> rates() override { return parts_.rates.rows(now()); }
  Result<ConfigEpochs> epochs() override;
  Result<std::vector<ReadCertificate>> certificates() override { return parts_.certificates.all(); }
  Result<ReloadReport> reload() override;
  Result<queue::StoreStats> store_stats() override;
  Result<queue::VacuumReport> vacuum_store() override;
  Result<queue::CheckReport> check_store(queue::Watched progress) override;
  Result<queue::BackupReport> back_up(const std::string& folder, queue::Watched progress) override;
  Result<Measures> measures();  ///< of the admin address alone
  net::WallTime now() override;

 private:
  /// Where callers wait, and what they wait for. Shared with the coroutines, which may end after their caller gave up.
  struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    bool stopped = false;
  };
  template <class T>
  struct Slot;
  template <class T>
  static net::Task<> fulfil(std::shared_ptr<Slot<T>> slot, std::function<net::Task<Result<T>>()> ask);
  template <class T>
  Result<T> wait(std::function<net::Task<Result<T>>()> ask, std::chrono::seconds timeout);

  LiveParts parts_;
  std::stop_source stopping_;
  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
};

}  // namespace waypost::mta
