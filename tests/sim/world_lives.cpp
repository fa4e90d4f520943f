#include <utility>

#include "queue/disk_space.h"
#include "resolver/cache.h"
#include "tests/sim/world_state.h"

namespace waypost::sim {

using namespace std::chrono_literals;

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
    // Of a read that fails, as it does once the power has gone, SQLite says that the file is damaged.
    const bool may = disk_.off() || disk_gone_ || opened.error().code == Errc::io || opened.error().code == Errc::full;
    if (may) return false;
    ledger_.broken("the queue does not open: " + opened.error().what);
    unopened_ = true;
    return false;
  }
  life.queue = *std::move(opened);
  return true;
}

void World::start_life() {
  if (life_ || unopened_) return;
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
                                    {},
                                    life->limits,
                                    [this] { return config_; },
                                    [] {
                                      return std::vector<net::Address>{kRelay, kRelayIpv6};
                                    },
                                    disk_.open_folder(),
                                    [this, each](const Error& error) {
                                      note("the queue failed: " + error.what);
                                      each->machine.die();
                                      network_.break_all();
                                      each->failed = true;
                                    }}));
  std::vector<mta::Port> ports;
  for (const net::Address& address : {kRelay, kRelayIpv6}) {
    ports.push_back({*life->machine.listen(address), conf::Listener{}});
    ports.back().listener.address = {address.host(), address.port};
  }
  life->relay->start(ports);
  storage_free_at_ = now();
  life_ = std::move(life);
  later(1min, [this] { undo_soon(); });
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
    case Domain::Kind::lmtp:
      return;
    case Domain::Kind::null_mx:
      names.add_mx(domain.name, {{0, ""}});
      return;
    case Domain::Kind::dead:
      names.add_mx(domain.name, {{10, "nobody.example"}});
      names.forget("nobody.example");
      names.add_host("nobody.example", {"203.0.113.250", "2001:db8:b::250"});
      return;
    case Domain::Kind::address_only:
      name_host(names, domain.name, domain.exchangers.front().second);
      return;
    case Domain::Kind::mx:
      for (const auto& [preference, host] : domain.exchangers) {
        const std::string name = "mx" + std::to_string(host) + ".example";
        names.add_mx(domain.name, {{preference, name}});
        names.forget(name);
        name_host(names, name, host);
      }
      return;
  }
}

void World::name_host(tests::FakeResolver& names, const std::string& name, int host) {
  for (const net::Address& address : hosts_.at(host)->addresses()) names.add_host(name, {address.host()});
}

net::Task<> World::wind_down(mta::Relay& relay, bool& ended) {
  ended = co_await relay.wind_down();
}

}  // namespace waypost::sim
