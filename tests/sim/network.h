// tests/sim/network.h: connections that are slow, come in pieces, break at an octet or go silent; and the Runtime that
// one life of the relay has on it. One thread.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "net/runtime.h"
#include "tests/sim/chance.h"
#include "tests/sim/plan.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::sim {

class Network;

/// One connection and what becomes of it: end 0 made it, end 1 took it.
struct Link {
  Link(std::uint64_t seed, net::Address from) : chance(seed), client(std::move(from)) {}
  Chance chance;
  const net::Address client;  ///< of the end that made it
  net::Duration slowness{0};  ///< of each piece, at most
  bool broken = false;
  std::array<std::optional<std::uint64_t>, 2> breaks_at, silent_at;  ///< octets that each end has sent by then
  std::array<std::uint64_t, 2> sent{}, read{};
  std::array<net::Stream*, 2> ends{};  ///< those below
  void break_off();
};

/// The one net of a run. Hosts and clients use it as they are; each life of the relay through a Machine of its own.
class Network {
 public:
  /// Every octet that goes out is put into the trace.
  Network(tests::VirtualRuntime& runtime, std::uint64_t seed, Trace& trace)
      : runtime_(runtime), trace_(trace), chance_(seed) {}

  net::Task<Result<std::unique_ptr<net::Stream>>> connect(net::Address remote, std::optional<net::Address> source,
                                                          net::TimePoint deadline, std::stop_token stop);
  Result<std::unique_ptr<net::Listener>> listen(const net::Address& address);
  Result<std::unique_ptr<net::Listener>> accept_on(std::shared_ptr<net::ListenSocket> socket);
  /// Every connection is broken now: all of them have the relay at one end.
  void break_all();
  /// The link that a client's stream came over.
  std::shared_ptr<Link> link_from(const net::Address& client);
  /// The same, once it was taken; null if it is broken.
  std::shared_ptr<Link> find_link(const net::Address& client) const;

  std::set<net::Address> refusing, black_holes;
  Ipv6 ipv6 = Ipv6::works;
  bool flaky = false;          ///< half of the connections that are made now do not last
  net::Duration slowness{50};  ///< of connections that are made now
  tests::VirtualRuntime& runtime() { return runtime_; }
  Trace& trace() { return trace_; }

 private:
  tests::VirtualRuntime& runtime_;
  Trace& trace_;
  Chance chance_;
  std::map<net::Address, std::shared_ptr<Link>> coming_;  ///< by the address of the end that made it
  std::vector<std::weak_ptr<Link>> links_;
};

/// What one life of the relay runs on. After die() nothing goes out any more, and nobody can be reached.
class Machine : public net::Runtime {
 public:
  Machine(Network& network, std::uint64_t seed) : network_(network), chance_(seed) {}
  void die() { dead_ = true; }

  net::TimePoint now() const override { return network_.runtime().now(); }
  net::WallTime wall_now() const override { return network_.runtime().wall_now(); }
  std::uint64_t random() override { return chance_.next(); }
  net::Task<bool> sleep_until(net::TimePoint deadline, std::stop_token stop) override {
    return network_.runtime().sleep_until(deadline, std::move(stop));
  }
  std::unique_ptr<net::Timer> make_timer(std::function<void()> fired) override {
    return network_.runtime().make_timer(std::move(fired));
  }
  net::Task<Result<std::unique_ptr<net::Stream>>> connect(net::Address remote, std::optional<net::Address> source,
                                                          net::TimePoint deadline, std::stop_token stop) override;
  Result<std::shared_ptr<net::ListenSocket>> listen(const net::Address& address) override {
    return network_.runtime().listen(address);
  }
  Result<std::unique_ptr<net::Listener>> accept_on(std::shared_ptr<net::ListenSocket> socket) override {
    return network_.accept_on(std::move(socket));
  }
  void resume_later(std::coroutine_handle<> suspended) override { network_.runtime().resume_later(suspended); }
  void post(std::function<void()> work) override { network_.runtime().post(std::move(work)); }
  net::Task<> offload(std::function<void()> work) override { return network_.runtime().offload(std::move(work)); }

 private:
  Network& network_;
  Chance chance_;
  bool dead_ = false;
};

}  // namespace waypost::sim
