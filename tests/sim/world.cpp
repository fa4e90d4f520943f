#include "tests/sim/world.h"

#include <algorithm>
#include <utility>

#include "tests/sim/world_state.h"

namespace waypost::sim {

using namespace std::chrono_literals;

World::World(const Plan& plan, std::FILE* trace)
    : plan_(plan),
      out_(trace),
      chance_(plan.seed ^ 0x5157u),
      runtime_(plan.seed),
      started_(runtime_.now()),
      network_(runtime_, plan.seed + 1, trace_),
      disk_(plan.seed + 2),
      scene_{network_, ledger_, [this] { return lives_; }, [this](const std::string& what) { note(what); }},
      config_(std::make_shared<const conf::Config>(plan.config)),
      clients_(runtime_, [this](std::string_view what) { ledger_.broken("client: " + std::string(what)); }) {
  runtime_.scramble(plan.seed + 3);
  network_.ipv6 = plan.ipv6;
  disk_.clock = [this] { return runtime_.wall_now(); };
  std::map<int, std::vector<net::Address>> addresses;
  for (std::size_t i = 0; i < plan.hosts.size(); ++i) addresses[static_cast<int>(i)] = plan.hosts[i];
  for (int i : {kRoutedHost, kLmtpHost, kLmtpSocket}) addresses[i] = {host_address(i)};
  for (const auto& [i, of_host] : addresses)
    hosts_[i] = std::make_unique<Host>(scene_, i, of_host, plan.seed + 100 + static_cast<std::uint64_t>(i));
}

void World::note(const std::string& what) {
  const std::string line = std::to_string(elapsed().count()) + " " + what + "\n";
  trace_.add(line);
  if (out_) std::fputs(line.c_str(), out_);
}

// --- time ---

/// One thing; false if nothing can happen at this moment any more.
bool World::turn() {
  ++steps_;
  if (dies_at_step_ && steps_ >= *dies_at_step_ && life_ && !ending_) {
    dies_at_step_.reset();
    std::exchange(dies_by_, nullptr)();
    return true;
  }
  if (life_ && life_->failed && !ending_) {
    // As the daemon, which ends with 74, and is started again.
    end_life(false, 0, tests::Loss::keep_all);
    later(1s, [this] { start_life(); });
    return true;
  }
  if (!events_.empty() && events_.begin()->first <= now()) {
    auto event = std::move(events_.begin()->second);
    events_.erase(events_.begin());
    event();
    return true;
  }
  const bool storage = life_ && life_->queue && storage_free_at_ <= now();
  const auto run_storage = [this] {
    if (!life_->queue->run_pending()) return false;
    storage_free_at_ = now() + net::Duration(chance_.below(static_cast<std::uint64_t>(commit_takes_.count()) + 1));
    storage_idle_at_ = now() + 100ms;
    return true;
  };
  if (storage && chance_.one_in(8) && run_storage()) return true;
  if (runtime_.step()) return true;
  if (storage && run_storage()) return true;
  if (storage && storage_idle_at_ <= now() && storage_idle_at_ != net::TimePoint()) {
    const bool more = life_->queue->run_idle();
    storage_idle_at_ = more ? now() + 100ms : net::TimePoint();
    return true;
  }
  return false;
}

void World::pass_time() {
  net::TimePoint next = now() + 1h;
  if (const std::optional<net::TimePoint> timer = runtime_.next_timer()) next = std::min(next, *timer);
  if (!events_.empty()) next = std::min(next, events_.begin()->first);
  if (storage_free_at_ > now()) next = std::min(next, storage_free_at_);
  if (storage_idle_at_ > now()) next = std::min(next, storage_idle_at_);
  runtime_.set_now(next);
}

void World::drive(const std::function<bool()>& done) {
  while (!done() && steps_ < kMostSteps) {
    if (!turn()) pass_time();
  }
}

net::Task<> World::count(mta::Relay& relay, net::WallTime at, std::uint64_t& messages, bool& done) {
  // What the digest takes while this asks was among the untold before; what is given up meanwhile is there after.
  Result<queue::Undelivered> before = co_await relay.store().undelivered();
  Result<queue::Counts> counts = co_await relay.store().count(queue::Filter(), at);
  Result<queue::Undelivered> after = co_await relay.store().undelivered();
  if (before && counts && after)
    messages = counts->messages + before->entries.size() + before->more + after->entries.size() + after->more;
  done = true;
}

std::uint64_t World::queued() {
  if (!life_ || ending_) return 1;
  std::uint64_t messages = 1;
  bool done = false;
  life_->scope.spawn(count(*life_->relay, runtime_.wall_now(), messages, done));
  Life* mine = life_.get();
  drive([this, mine, &done] { return done || life_.get() != mine; });
  return messages;
}

void World::read_maildirs() {
  for (const auto& [path, size] : disk_.list()) {
    if (!path.starts_with("/mail/")) continue;
    if (path.find("/new/") == std::string::npos) continue;
    Take take;
    take.at = now();
    take.life = lives_;
    ledger_.in_maildir(*disk_.octets(path), take);
  }
}

void World::finish(Report& report) {
  for (const auto& [path, size] : disk_.list())
    if (path.starts_with(tests::SimDisk::data_dir() + "/body/")) ledger_.broken("left over on the disk: " + path);
  read_maildirs();
  Ledger::Terms terms;
  terms.calm = plan_.calm;
  terms.lifetime = config_->queue.expire;
  terms.null_lifetime = config_->queue.bounce_expire;
  terms.leapt = leapt_;
  terms.now = now();
  terms.healed = started_ + plan_.heal;
  for (const Domain& domain : plan_.domains) {
    if (domain.kind == Domain::Kind::dead) terms.dead.insert(domain.name);
    if (domain.kind == Domain::Kind::none || domain.kind == Domain::Kind::null_mx) terms.failed.insert(domain.name);
  }
  // By the schedule about one an hour after the first ones, at each of at most four hosts.
  terms.attempts = 4 * (10 + static_cast<int>(elapsed() / 50min) + lives_ + retries_);
  ledger_.settle(terms);
  if (steps_ >= kMostSteps) ledger_.broken("it never ends: " + std::to_string(steps_) + " steps");
  report.broken = ledger_.broken_promises();
  report.figures = ledger_.figures();
  report.trace = trace_.hash();
  report.steps = steps_;
  report.lives = lives_;
  report.time = elapsed();
}

Report World::run() {
  start_life();
  for (const Item& item : plan_.items) later(item.at, [this, &item] { begin(item); });
  later(plan_.heal, [this] { heal(); });
  drive([this] { return healed_ && clients_.running() == 0; });
  // What fails for good leaves at the end of its lifetime, its report within the next, and a digest tells of that.
  const net::TimePoint until =
      now() + config_->queue.expire + config_->queue.bounce_expire + config_->queue.digest + 8h;
  std::uint64_t left = 1;
  while (steps_ < kMostSteps && now() < until && (left != 0 || elapsed() < 24h)) {
    const net::TimePoint next = now() + 30min;
    drive([this, next] { return now() >= next; });
    left = queued();
  }
  if (left != 0) ledger_.broken("the queue does not run empty: " + std::to_string(left) + " messages");
  // Connections are kept for a while, and what is known of hosts.
  const net::TimePoint at_rest = now() + 1h;
  drive([this, at_rest] { return now() >= at_rest; });
  const delivery::Dispatcher::Stats stats = life_ ? life_->relay->stats() : delivery::Dispatcher::Stats{};
  if (stats.held != 0) ledger_.broken(std::to_string(stats.held) + " recipients are left in the window");
  if (stats.connections != 0) ledger_.broken(std::to_string(stats.connections) + " connections are left open");
  if (stats.sites != 0) ledger_.broken(std::to_string(stats.sites) + " sites are left");
  // Twice: a file whose removal failed goes at the next start.
  restart();
  drive([this] { return life_ != nullptr || unopened_; });
  if (queued() != 0) ledger_.broken("the queue is not empty after a start");
  restart();
  events_.clear();
  for (const auto& [number, host] : hosts_) host->close();
  drive([this] {
    return std::all_of(hosts_.begin(), hosts_.end(), [](const auto& entry) { return entry.second->idle(); });
  });
  Report report;
  finish(report);
  return report;
}

Report run(const Plan& plan, std::FILE* trace) {
  World world(plan, trace);
  return world.run();
}

}  // namespace waypost::sim
