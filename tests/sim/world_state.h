// tests/sim/world_state.h: what one run consists of. Its time is in world.cpp, the relay's lives in world_lives.cpp,
// what befalls it in world_troubles.cpp.
#pragma once
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mta/relay.h"
#include "queue/sqlite_store.h"
#include "tests/sim/client.h"
#include "tests/sim/world.h"
#include "tests/support/fake_resolver.h"
#include "tests/support/sim_disk.h"

namespace waypost::sim {

constexpr std::uint64_t kMostSteps = 3'000'000;  // a run that spins is none
inline const net::Address kRelay = *net::Address::parse("192.0.2.25", 25);
inline const net::Address kRelayIpv6 = *net::Address::parse("2001:db8::25", 25);

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
  void name_host(tests::FakeResolver& names, const std::string& name, int host);
  void name_domain(tests::FakeResolver& names, const Domain& domain);

  // What befalls it.
  void begin(const Item& item);
  void begin_host(const Item& item);
  void end_host(const Item& item);
  void begin_dns(const Item& item);
  void begin_disk(const Item& item);
  void end_cut(const Item& item);
  void operate(const Item& item);
  static net::Task<> wind_down(mta::Relay& relay, bool& ended);
  static net::Task<> count(mta::Relay& relay, net::WallTime at, std::uint64_t& messages, bool& done);
  static net::Task<> change(World& world, queue::Change what, queue::Filter filter);
  static net::Task<> undo_deletions(World& world);
  static net::Task<> undo_changes(World& world);
  static net::Task<> remove_for_good(World& world, std::string domain);
  void undo_soon();
  void heal();
  void read_maildirs();
  void finish(Report& report);
  /// Messages, and what the postmaster was not told yet.
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
  bool disk_gone_ = false;  ///< each of its calls fails
  bool unopened_ = false;   ///< the queue did not open, nor will it at the next start
  net::Duration leapt_{0};
  int retries_ = 0;
};

}  // namespace waypost::sim
