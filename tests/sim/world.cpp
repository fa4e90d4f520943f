#include "tests/sim/world.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "mta/relay.h"
#include "queue/disk_space.h"
#include "queue/sqlite_store.h"
#include "resolver/cache.h"
#include "tests/sim/client.h"
#include "tests/support/fake_resolver.h"
#include "tests/support/sim_disk.h"

namespace waypost::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMostSteps = 3'000'000;  // a run that spins is none
const net::Address kRelay = *net::Address::parse("192.0.2.25", 25);

/// Of the store's history nothing is asked here.
class NoHistory : public queue::History {
 public:
  void add(queue::HistoryEvent) override {}
  Result<std::vector<queue::HistoryEvent>> find(const queue::HistoryQuery&) override { return {}; }
  std::uint64_t dropped() const override { return 0; }
};

/// One life of the relay, from its start to its end: what mta/daemon.cpp does, on a simulated machine.
struct Life {
  Life(Network& network, std::uint64_t seed, std::size_t connections)
      : machine(network, seed), limits(connections), scope(machine, [](std::string_view) {}) {}
  Machine machine;
  NoHistory history;
  mta::Limits limits;
  net::Scope scope;
  std::unique_ptr<queue::SqliteQueue> queue;
  tests::FakeResolver* names = nullptr;  ///< below the cache
  std::unique_ptr<resolver::Resolver> resolver;
  std::unique_ptr<mta::Relay> relay;
  bool failed = false;  ///< its queue cannot be written: it must end
};

class World {
 public:
  World(const Plan& plan, std::FILE* trace);
  Report run();

 private:
  // Time.
  bool turn();
  void pass_time();
  void drive(const std::function<bool()>& done);
  void later(net::Duration after, std::function<void()> what) { events_.emplace(now() + after, std::move(what)); }
  net::TimePoint now() const { return runtime_.now(); }
  net::Duration elapsed() const { return now() - started_; }

  // The relay.
  void start_life();
  bool open_queue(Life& life);
  void end_life(bool power, std::uint64_t seed, tests::Loss loss);
  void restart();
  void bury(bool ended);
  void name_domains(tests::FakeResolver& names);
  void name_domain(tests::FakeResolver& names, const Domain& domain);

  // What befalls it.
  void begin(const Item& item);
  void begin_host(const Item& item);
  void end_host(const Item& item);
  void begin_dns(const Item& item);
  void begin_disk(const Item& item);
  void operate(const Item& item);
  static net::Task<> wind_down(mta::Relay& relay, bool& ended);
  static net::Task<> count(mta::Relay& relay, net::WallTime at, std::uint64_t& messages, bool& done);
  static net::Task<> change(World& world, queue::Change what, queue::Filter filter);
  void heal();
  void read_maildirs();
  void finish(Report& report);
  std::uint64_t queued();

  void note(const std::string& what);

  const Plan& plan_;
  std::FILE* out_;
  Chance chance_;
  Trace trace_;
  tests::VirtualRuntime runtime_;
  net::TimePoint started_;
  Network network_;
  tests::SimDisk disk_;
  Ledger ledger_;
  int lives_ = 0;
  Scene scene_;
  std::shared_ptr<const conf::Config> config_;
  std::map<int, std::unique_ptr<Host>> hosts_;
  net::Scope clients_;
  std::unique_ptr<Life> life_;

  std::multimap<net::TimePoint, std::function<void()>> events_;
  std::uint64_t steps_ = 0;
  std::optional<std::uint64_t> dies_at_step_;
  std::function<void()> dies_by_;
  bool ending_ = false;  ///< a life is being ended: nothing else may
  bool healed_ = false;
  net::TimePoint storage_free_at_, storage_idle_at_;
  net::Duration commit_takes_{2};
  net::Duration leapt_{0};
  int retries_ = 0;
};

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
  disk_.clock = [this] { return runtime_.wall_now(); };
  for (int i = 0; i < plan.hosts; ++i)
    hosts_[i] = std::make_unique<Host>(scene_, i, 25, plan.seed + 100 + static_cast<std::uint64_t>(i));
  hosts_[kRoutedHost] = std::make_unique<Host>(scene_, kRoutedHost, 2525, plan.seed + 99);
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

// --- the relay ---

bool World::open_queue(Life& life) {
  queue::StoreOptions options;
  options.data_dir = tests::SimDisk::data_dir();
  options.inline_limit = config_->queue.inline_limit;
  options.vfs = disk_.vfs();
  options.own_thread = false;
  options.clock = &runtime_;
  Result<std::unique_ptr<queue::SqliteQueue>> opened = queue::SqliteQueue::open(options, disk_.files(), life.history);
  if (!opened && opened.error().code == Errc::full && queue::DiskSpace(disk_.files()).give_up_ballast())
    opened = queue::SqliteQueue::open(options, disk_.files(), life.history);
  if (!opened) {
    note("the queue does not open: " + opened.error().what);
    const bool may = opened.error().code == Errc::io || opened.error().code == Errc::full;
    if (!may) ledger_.broken("the queue does not open: " + opened.error().what);
    return false;
  }
  life.queue = *std::move(opened);
  return true;
}

void World::start_life() {
  if (life_) return;
  if (disk_.off()) disk_.lose_power(chance_.next(), tests::Loss::keep_half);
  ++lives_;
  note("life " + std::to_string(lives_) + " begins");
  auto life = std::make_unique<Life>(network_, plan_.seed + static_cast<std::uint64_t>(lives_) * 1000, 10'000);
  if (!open_queue(*life)) {
    life.reset();
    if (disk_.off())
      disk_.lose_power(chance_.next(), tests::Loss::keep_half);
    else
      disk_.kill();
    ledger_.life_ended(lives_, now(), true);
    later(10s, [this] { start_life(); });
    return;
  }
  auto names = std::make_unique<tests::FakeResolver>(life->machine);
  name_domains(*names);
  life->names = names.get();
  life->resolver = resolver::make_cache(std::move(names), life->machine, resolver::CacheOptions{});
  Life* each = life.get();
  life->relay.reset(new mta::Relay({{&life->machine},
                                    *life->queue,
                                    *life->resolver,
                                    life->limits,
                                    [this] { return config_; },
                                    [] { return std::vector<net::Address>{kRelay}; },
                                    disk_.open_folder(),
                                    [this, each](const Error& error) {
                                      note("the queue failed: " + error.what);
                                      each->machine.die();
                                      network_.break_all();
                                      each->failed = true;
                                    }}));
  mta::Port port{*life->machine.listen(kRelay), conf::Listener{}};
  port.listener.address = {"192.0.2.25", 25};
  life->relay->start({port});
  storage_free_at_ = now();
  life_ = std::move(life);
}

/// Nothing of this life reaches anybody any more, neither the net nor the disk; then its coroutines are let go.
void World::end_life(bool power, std::uint64_t seed, tests::Loss loss) {
  if (!life_ || ending_) return;
  ending_ = true;
  note("life " + std::to_string(lives_) + " ends, " + (power ? "with the power" : "by a kill"));
  life_->machine.die();
  network_.break_all();
  if (power && !disk_.off()) disk_.power_off();
  if (!power) disk_.kill();
  ledger_.life_ended(lives_, now(), true);
  life_->relay->abort();
  bool ended = false;
  life_->scope.spawn(wind_down(*life_->relay, ended));
  life_->resolver->stop();
  drive([this] { return life_->scope.running() == 0; });
  runtime_.run_until_idle();
  bury(ended);
  if (power) disk_.lose_power(seed, loss);
  ending_ = false;
}

/// One that has not ended keeps what its coroutines stand on.
void World::bury(bool ended) {
  if (!ended) {
    ledger_.broken("a stop did not end all that was under way");
    (void)life_.release();
  }
  life_.reset();
}

/// As SIGTERM, and a start after it.
void World::restart() {
  if (!life_ || ending_) return;
  ending_ = true;
  note("life " + std::to_string(lives_) + " is asked to end");
  bool ended = false;
  life_->scope.spawn(wind_down(*life_->relay, ended));
  drive([this] { return life_->scope.running() == 0; });
  if (life_->limits.connections() != 0) ledger_.broken("connections are counted after a stop");
  life_->resolver->stop();
  runtime_.run_until_idle();
  // An outcome that a failing disk did not take is told again by the remote host.
  ledger_.life_ended(lives_, now(), life_->failed);
  bury(ended);
  disk_.kill();
  ending_ = false;
  later(1s, [this] { start_life(); });
}

void World::name_domains(tests::FakeResolver& names) {
  names.delay("", net::Duration(20));
  for (const Domain& domain : plan_.domains) name_domain(names, domain);
}

void World::name_domain(tests::FakeResolver& names, const Domain& domain) {
  names.forget(domain.name);
  switch (domain.kind) {
    case Domain::Kind::none:
    case Domain::Kind::local:
    case Domain::Kind::routed:
      return;
    case Domain::Kind::null_mx:
      names.add_mx(domain.name, {{0, ""}});
      return;
    case Domain::Kind::dead:
      names.add_mx(domain.name, {{10, "nobody.example"}});
      names.forget("nobody.example");
      names.add_host("nobody.example", {"203.0.113.250"});
      return;
    case Domain::Kind::address_only:
      names.add_host(domain.name, {host_address(domain.exchangers.front().second)});
      return;
    case Domain::Kind::mx:
      for (const auto& [preference, host] : domain.exchangers) {
        const std::string name = "mx" + std::to_string(host) + ".example";
        names.add_mx(domain.name, {{preference, name}});
        names.forget(name);
        names.add_host(name, {host_address(host)});
      }
      return;
  }
}

// --- what befalls it ---

void World::begin(const Item& item) {
  if (item.kind != Item::Kind::client) note(item.text());
  const auto loss = static_cast<tests::Loss>(item.what % 5);
  switch (item.kind) {
    case Item::Kind::client:
      clients_.spawn(run_client(scene_, plan_, item, kRelay));
      return;
    case Item::Kind::crash:
    case Item::Kind::kill: {
      const bool power = item.kind == Item::Kind::crash;
      dies_at_step_ = steps_ + static_cast<std::uint64_t>(item.where);
      dies_by_ = [this, power, item, loss] {
        end_life(power, item.seed, loss);
        later(net::Duration(item.seed % 20'000), [this] { start_life(); });
      };
      return;
    }
    case Item::Kind::restart:
      return restart();
    case Item::Kind::io_error:
    case Item::Kind::cut:
    case Item::Kind::disk_full:
    case Item::Kind::slow_disk:
      return begin_disk(item);
    case Item::Kind::clock: {
      const net::Duration jump = std::chrono::minutes(item.where);
      runtime_.jump_wall(jump);
      if (jump > 0ms) leapt_ += jump;
      return;
    }
    case Item::Kind::dns:
      return begin_dns(item);
    case Item::Kind::host:
      return begin_host(item);
    case Item::Kind::network:
      network_.flaky = true;
      if (item.what % 2 == 0) network_.slowness = 3s;
      later(item.lasts, [this] {
        network_.flaky = false;
        network_.slowness = 50ms;
      });
      return;
    case Item::Kind::operator_:
      return operate(item);
    case Item::Kind::reload: {
      conf::Config config = *config_;
      config.delivery.concurrency = 1 + static_cast<int>(item.seed % 20);
      config.delivery.connections = 2 + static_cast<int>(item.seed % 50);
      config_ = std::make_shared<const conf::Config>(std::move(config));
      if (life_ && !ending_) life_->relay->reconfigured();
      return;
    }
  }
}

void World::begin_host(const Item& item) {
  const auto manner = static_cast<Manner>(item.what);
  Host& host = *hosts_.at(item.where);
  if (manner == Manner::refuse)
    network_.refusing.insert(host.address());
  else if (manner == Manner::black_hole)
    network_.black_holes.insert(host.address());
  else
    host.manner = manner;
  later(item.lasts, [this, item] { end_host(item); });
}

void World::end_host(const Item& item) {
  Host& host = *hosts_.at(item.where);
  network_.refusing.erase(host.address());
  network_.black_holes.erase(host.address());
  host.manner.reset();
}

void World::begin_dns(const Item& item) {
  const Domain& domain = plan_.domains[static_cast<std::size_t>(item.where)];
  if (!life_ || domain.kind == Domain::Kind::local || domain.kind == Domain::Kind::routed) return;
  if (item.what % 4 == 0)
    life_->names->lose_servers();
  else
    life_->names->fail(domain.name, item.what % 3 == 0 ? "mx" : "",
                       item.what % 2 == 0 ? resolver::Status::server_failed : resolver::Status::timed_out);
  later(item.lasts, [this] {
    if (!life_) return;
    life_->names->lose_servers(false);
    name_domains(*life_->names);
  });
}

/// Counts disk calls from here on, or lets the room run out.
void World::begin_disk(const Item& item) {
  if (item.kind == Item::Kind::slow_disk) {
    commit_takes_ = 4s;
    later(item.lasts, [this] { commit_takes_ = 2ms; });
    return;
  }
  if (item.kind == Item::Kind::disk_full) {
    ledger_.disk_was_full(now(), now() + item.lasts);
    disk_.before = [](const tests::Call& call) {
      const bool grows = call.kind == tests::Call::Kind::write || call.kind == tests::Call::Kind::create;
      return grows ? tests::Fault::full : tests::Fault::none;
    };
    later(item.lasts, [this] { disk_.before = nullptr; });
    return;
  }
  const tests::Fault fault = item.kind == Item::Kind::cut ? tests::Fault::cut : tests::Fault::io;
  disk_.before = [this, fault, left = item.where](const tests::Call& call) mutable {
    const bool counts = call.kind != tests::Call::Kind::read && call.kind != tests::Call::Kind::open;
    if (!counts || left-- > 0) return tests::Fault::none;
    note(std::string("the disk fails: ") + tests::name_of(call.kind) + " " + call.path);
    left = 1'000'000'000;
    return fault;
  };
  if (fault == tests::Fault::cut) {
    // Whatever was going on, the machine is gone soon after.
    later(item.lasts, [this, item] {
      disk_.before = nullptr;
      if (!disk_.off()) return;
      end_life(true, item.seed, static_cast<tests::Loss>(item.what % 5));
      later(5s, [this] { start_life(); });
    });
  } else {
    later(item.lasts, [this] { disk_.before = nullptr; });
  }
}

net::Task<> World::wind_down(mta::Relay& relay, bool& ended) {
  ended = co_await relay.wind_down();
}

net::Task<> World::count(mta::Relay& relay, net::WallTime at, std::uint64_t& messages, bool& done) {
  Result<queue::Counts> counts = co_await relay.store().count(queue::Filter(), at);
  if (counts) messages = counts->messages;
  done = true;
}

net::Task<> World::change(World& world, queue::Change what, queue::Filter filter) {
  Result<queue::Changed> changed = co_await world.life_->relay->store().change(what, std::move(filter), "an operator",
                                                                               false, world.runtime_.wall_now());
  if (changed) world.note("an operator changed " + std::to_string(changed->recipients) + " recipients");
}

/// Holds a domain's mail for a while, or tries everything again.
void World::operate(const Item& item) {
  if (!life_ || ending_) return;
  const Domain& domain = plan_.domains[static_cast<std::size_t>(item.where) % plan_.domains.size()];
  queue::Filter filter = *queue::parse_filter("destination:" + domain.name);
  if (item.what % 2 == 0) {
    ++retries_;
    life_->scope.spawn(change(*this, queue::Change::retry, queue::Filter()));
    return;
  }
  life_->scope.spawn(change(*this, queue::Change::hold, filter));
  later(item.lasts, [this, filter] {
    if (life_ && !ending_) life_->scope.spawn(change(*this, queue::Change::release, filter));
  });
}

/// From here on all is well, and stays so.
void World::heal() {
  note("all is well now");
  healed_ = true;
  disk_.before = nullptr;
  commit_takes_ = 2ms;
  network_.flaky = false;
  network_.slowness = 50ms;
  network_.refusing.clear();
  network_.black_holes.clear();
  for (const auto& [number, host] : hosts_) host->manner.reset();
  if (life_ && disk_.off()) {
    end_life(true, chance_.next(), tests::Loss::keep_half);
    later(1s, [this] { start_life(); });
  }
  // What was on its way to be released in a life that ended meanwhile.
  later(1min, [this] {
    if (life_ && !ending_) life_->scope.spawn(change(*this, queue::Change::release, queue::Filter()));
  });
  if (!life_) return;
  life_->names->lose_servers(false);
  name_domains(*life_->names);
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
  // What fails for good leaves at the end of its lifetime, its report within the next.
  const net::TimePoint until = now() + config_->queue.expire + config_->queue.bounce_expire + 8h;
  while (steps_ < kMostSteps && now() < until) {
    const net::TimePoint next = now() + 30min;
    drive([this, next] { return now() >= next; });
    if (queued() == 0 && elapsed() >= 24h) break;
  }
  if (queued() != 0) ledger_.broken("the queue does not run empty: " + std::to_string(queued()) + " messages");
  const delivery::Dispatcher::Stats stats = life_ ? life_->relay->stats() : delivery::Dispatcher::Stats{};
  if (stats.held != 0) ledger_.broken(std::to_string(stats.held) + " recipients are left in the window");
  // Twice: a file whose removal failed goes at the next start.
  restart();
  drive([this] { return life_ != nullptr; });
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

}  // namespace

Report run(const Plan& plan, std::FILE* trace) {
  World world(plan, trace);
  return world.run();
}

}  // namespace waypost::sim
