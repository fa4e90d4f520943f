// mta/daemon_control.cpp: what the control socket and the admin address are answered with, on the main loop.
#include <cstdlib>
#include <utility>

#include <sysexits.h>

#include "base/escape.h"
#include "base/event_log.h"
#include "base/metrics.h"
#include "mta/daemon.h"

namespace waypost::mta {

void Daemon::start_control() {
  net::Runtime& first = *loops_.front().runtime;
  backend_ = std::make_unique<LiveBackend>(LiveParts{
      first, *scope_, relay_->store(), *files_, *history_, rates_, certificates_, [this] { return facts(); },
      [this] { return epochs_; }, [this] { return reload(); },
      [this](queue::Id id, std::string address, bool delivered, std::string reason) {
        return relay_->dispatcher().settle_doubt(id, std::move(address), delivered, std::move(reason));
      },
      [this](delivery::HandOrder order) { return by_hand(std::move(order)); },
      [this](ExplainQuery query) {
        return explain(config_.get(), relay_->dispatcher(), relay_->store(), std::move(query),
                       loops_.front().runtime->wall_now());
      },
      [this](std::string destination, std::stop_token stop) { return probe(std::move(destination), std::move(stop)); },
      [this, &first](std::stop_token stop, queue::Watched progress) {
        return queue_->check(first, std::move(stop), std::move(progress));
      },
      [this, &first](std::string folder, std::stop_token stop, queue::Watched progress) {
        return back_up(first, std::move(folder), std::move(stop), std::move(progress));
      },
      [this] { return measures(); }, [this, &first] { return queue_->store_stats(first); },
      [this, &first](std::stop_token stop) { return queue_->vacuum(first, std::move(stop)); }});
  api_ = std::make_unique<ControlApi>(*backend_);
  Result<> started = control_->start(*api_);
  if (started && admin_)
    started = admin_->start({[this] { return backend_->facts(); }, [this] { return backend_->measures(); }});
  if (started) return;
  log::failure(started.error().what);
  log::flush();
  std::_Exit(EX_OSERR);
}

net::Task<Result<delivery::ByHand>> Daemon::by_hand(delivery::HandOrder order) {
  delivery::ByHand done = co_await relay_->dispatcher().by_hand(std::move(order));
  co_return done;
}

net::Task<Result<delivery::Probe>> Daemon::probe(std::string destination, std::stop_token stop) {
  if (probes_ >= kProbesAtOnce) co_return fail(Errc::busy, "as many probes as there may be are under way: try again");
  ++probes_;
  struct Over {
    std::size_t& probes;
    ~Over() { --probes; }
  } const over{probes_};
  net::Runtime& main = *loops_.front().runtime;
  delivery::Dispatcher::Found found = co_await relay_->dispatcher().find_plan(destination);
  delivery::ClientSettings settings = delivery::Dispatcher::client_settings(*config_.get());
  settings.tls = certificates_.client();
  delivery::Probe probed =
      co_await delivery::probe(main, std::move(destination), std::move(found), std::move(settings), std::move(stop));
  co_return probed;
}

net::Task<Result<queue::BackupReport>> Daemon::back_up(net::Runtime& main, std::string folder, std::stop_token stop,
                                                       queue::Watched progress) {
  auto allowed = std::make_shared<bool>(false);
  const auto look = [this, allowed, folder] { *allowed = may_write(confinement_, folder); };
  co_await main.offload(look);
  if (!*allowed) {
    co_return fail(Errc::denied, escape(folder) + " is not where the daemon may write: name the folder above it in " +
                                     "`writable`, and under systemd in ReadWritePaths= of the unit, then restart");
  }
  Result<queue::BackupReport> report =
      co_await queue_->back_up(main, std::move(folder), std::move(stop), std::move(progress));
  co_return report;
}

DaemonFacts Daemon::facts() const {
  const std::shared_ptr<const conf::Config> config = config_.get();
  DaemonFacts facts;
  facts.hostname = config->hostname;
  facts.config_file = config->file;
  facts.data_dir = config->data_dir;
  facts.started = started_;
  facts.config_loaded = config_loaded_;
  facts.config_epoch = config->epoch;
  facts.reload_failed = reload_failed_;
  facts.in_connections = limits_->connections();
  facts.lately = lately_.until(metrics::events(), loops_.front().runtime->now());
  facts.out = relay_->stats();
  facts.store = queue_->stats();
  facts.history_dropped = history_->dropped();
  facts.corrupt_drops = relay_->corrupt_drops();
  facts.confinement = confinement_;
  return facts;
}

net::Task<> Daemon::keep_lately() {
  net::Runtime& main = *loops_.front().runtime;
  bool goes_on = true;
  while (goes_on) {
    lately_.note(metrics::events(), main.now());
    goes_on = co_await main.sleep_for(LatelyNotes::kEvery, scope_->stop_token());
  }
}

net::Task<Result<Measures>> Daemon::measures() {
  net::Runtime& main = *loops_.front().runtime;
  Measures measures;
  measures.facts = facts();
  measures.failing = relay_->dispatcher().failing(Measures::kMostDestinations);
  Result<std::optional<queue::Totals>> totals = co_await queue_->totals(main);
  if (totals) measures.totals = *totals;
  measures.now = main.wall_now();
  co_return measures;
}

}  // namespace waypost::mta
