#include "delivery/connect_either.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "net/scope.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;
using tests::VirtualRuntime;
using Ends = std::array<WayEnd, 2>;

net::Address address(const std::string& host) {
  return *net::Address::parse(host, 25);
}

const net::Address kSix = address("2001:db8::1");
const net::Address kFour = address("192.0.2.1");

/// As its base, with ways that are long, or end in an error.
class Net : public VirtualRuntime {
 public:
  using VirtualRuntime::VirtualRuntime;
  std::map<net::Address, net::Duration> slow;
  std::map<net::Address, Errc> errors;
  bool deaf = false;  ///< what is slow is through all the same after a stop
  bool throws = false;
  std::vector<net::Address> begun;
  std::vector<net::TimePoint> begun_at;

  net::Task<Result<std::unique_ptr<net::Stream>>> connect(net::Address remote, std::optional<net::Address> source,
                                                          net::TimePoint deadline, std::stop_token stop) override {
    begun.push_back(remote);
    begun_at.push_back(now());
    if (throws) throw std::runtime_error("a bug");
    if (slow.contains(remote)) {
      const net::TimePoint until = std::min(deadline, now() + slow.at(remote));
      if (deaf) stop = std::stop_token();
      co_await sleep_until(until, stop);
      if (until == deadline) co_return fail(Errc::timed_out, "timed out");
    }
    if (errors.contains(remote)) co_return fail(errors.at(remote), "as told");
    co_return co_await VirtualRuntime::connect(remote, source, deadline, stop);
  }
};

/// Takes connections and counts those that are still open.
struct Host {
  Host(VirtualRuntime& runtime, const net::Address& at) : scope(runtime, [](std::string_view) {}) {
    listener = std::move(*runtime.accept_on(*runtime.listen(at)));
    scope.spawn(accept(*this));
  }
  std::unique_ptr<net::Listener> listener;
  net::Scope scope;
  int taken = 0, open = 0;
  net::Address client;

  static net::Task<> accept(Host& host) {
    for (;;) {
      Result<std::unique_ptr<net::Stream>> stream = co_await host.listener->accept();
      if (!stream) co_return;
      host.scope.spawn(serve(host, std::move(*stream)));
    }
  }
  static net::Task<> serve(Host& host, std::unique_ptr<net::Stream> stream) {
    ++host.taken;
    ++host.open;
    host.client = stream->remote();
    char buffer[16];
    const std::span<char> into(buffer);
    Result<std::size_t> got = co_await stream->read(into, net::TimePoint::max());
    CHECK((!got || *got == 0));
    --host.open;
  }
};

/// One race between hosts that take connections, unless the net does otherwise.
struct Run {
  explicit Run(Net& runtime) : net(runtime), six(runtime, kSix), four(runtime, kFour) {}
  ~Run() {
    either.reset();
    six.listener->close();
    four.listener->close();
    net.run_until_idle();
  }
  Net& net;
  Host six, four;
  Way first{kSix, {}}, second{kFour, {}};
  net::Duration timeout = 30s;
  std::optional<net::Duration> stop_after;
  std::optional<Either> either;
  net::Duration took{};

  Errc error() const { return either->stream ? Errc::internal : either->stream.error().code; }
  void go() {
    const net::TimePoint began = net.now();
    std::stop_source stop;
    auto at_time = [&stop] { stop.request_stop(); };
    const std::unique_ptr<net::Timer> timer = net.make_timer(at_time);
    if (stop_after) timer->arm(began + *stop_after);
    either = net.complete(connect_either(net, first, second, began + timeout, stop.get_token()));
    took = net.now() - began;
    timer->disarm();
    CHECK_FALSE(net.next_timer());  // nothing of either waits any more
    net.run_until_idle();
  }
};

}  // namespace

TEST_SUITE("delivery/connect_either") {
  TEST_CASE("a black hole first: the other is begun after the head start, and is the one [F32]") {
    Net net;
    net.black_hole(kSix);
    Run run(net);
    run.first.from = net::Address::parse("2001:db8::99", 0);
    run.second.from = net::Address::parse("192.0.2.99", 0);
    run.go();
    REQUIRE(run.either->stream);
    CHECK((*run.either->stream)->remote() == kFour);
    CHECK(run.either->used == 1);
    CHECK(run.either->ends == Ends{WayEnd::overtaken, WayEnd::connected});
    CHECK(run.took == kHeadStart);
    CHECK(run.four.client.host() == "192.0.2.99");
    CHECK(run.four.open == 1);
  }

  TEST_CASE("both are well: the second is never begun") {
    for (const net::Duration slow : {net::Duration(0), net::Duration(299ms)}) {
      Net net;
      net.slow[kSix] = slow;
      Run run(net);
      run.first.from = net::Address::parse("2001:db8::99", 0);
      run.go();
      REQUIRE(run.either->stream);
      CHECK(run.either->used == 0);
      CHECK(run.either->ends == Ends{WayEnd::connected, WayEnd::unused});
      CHECK(run.took == slow);
      CHECK(net.begun == std::vector<net::Address>{kSix});
      CHECK(run.six.client.host() == "2001:db8::99");
    }
  }

  TEST_CASE("the first fails: the second at once") {
    for (const Errc error : {Errc::refused, Errc::unreachable}) {
      Net net;
      net.errors[kSix] = error;
      Run run(net);
      run.go();
      CHECK(run.either->ends == Ends{WayEnd::failed, WayEnd::connected});
      CHECK(run.took == 0ms);
    }
    Net net;
    net.errors[kSix] = Errc::refused;
    net.slow[kSix] = 100ms;
    Run run(net);
    run.go();
    CHECK(run.either->ends == Ends{WayEnd::failed, WayEnd::connected});
    CHECK(run.took == 100ms);
  }

  TEST_CASE("our own trouble says nothing of the way; the second is not tried for want of what it needs too") {
    struct {
      Errc error;
      Ends ends;
    } const table[] = {
        {Errc::busy, {WayEnd::called_off, WayEnd::unused}},
        {Errc::cancelled, {WayEnd::called_off, WayEnd::unused}},
        {Errc::invalid, {WayEnd::called_off, WayEnd::connected}},  // its source address
    };
    for (const auto& row : table) {
      Net net;
      net.errors[kSix] = row.error;
      Run run(net);
      run.go();
      CHECK(run.either->ends == row.ends);
      CHECK(run.either->used == (row.ends[1] == WayEnd::connected ? 1 : 0));
      CHECK(run.took == 0ms);
      if (!run.either->stream) CHECK(run.error() == row.error);
    }
  }

  TEST_CASE("both are dead: one deadline, and the error of who failed last") {
    Net net;
    net.black_hole(kSix);
    net.black_hole(kFour);
    Run run(net);
    run.go();
    CHECK(run.error() == Errc::timed_out);
    CHECK(run.either->ends == Ends{WayEnd::failed, WayEnd::failed});
    CHECK(run.took == 30s);

    Net both;
    both.black_hole(kSix);
    both.errors[kFour] = Errc::refused;
    Run last(both);
    last.go();
    CHECK(last.error() == Errc::timed_out);
    CHECK(last.either->used == 0);
    CHECK(last.either->ends == Ends{WayEnd::failed, WayEnd::failed});
    CHECK(last.took == 30s);
  }

  TEST_CASE("the first is through after all: the second is called off, or has failed") {
    Net net;
    net.slow[kSix] = 800ms;
    net.slow[kFour] = 700ms;
    Run run(net);
    run.go();
    CHECK(run.either->ends == Ends{WayEnd::connected, WayEnd::called_off});
    CHECK(run.either->used == 0);
    CHECK(run.took == 800ms);
    CHECK(run.four.taken == 0);

    Net other;
    other.slow[kSix] = 800ms;
    other.errors[kFour] = Errc::unreachable;
    Run failed(other);
    failed.go();
    CHECK(failed.either->ends == Ends{WayEnd::connected, WayEnd::failed});
    CHECK(failed.took == 800ms);
  }

  TEST_CASE("the loser is through too, too late: it is closed") {
    Net net;
    net.deaf = true;
    net.slow[kSix] = 500ms;
    Run run(net);
    run.go();
    CHECK(run.either->used == 1);
    CHECK(run.either->ends == Ends{WayEnd::overtaken, WayEnd::connected});
    CHECK(run.six.taken == 1);
    CHECK(run.six.open == 0);
    CHECK(run.four.open == 1);

    Net later;
    later.deaf = true;
    later.slow[kSix] = 400ms;
    later.slow[kFour] = 200ms;
    Run second(later);
    second.go();
    CHECK(second.either->ends == Ends{WayEnd::connected, WayEnd::called_off});
    CHECK(second.four.taken == 1);
    CHECK(second.four.open == 0);
    CHECK(second.six.open == 1);
  }

  TEST_CASE("a stop ends both") {
    struct {
      net::Duration after;
      Ends ends;
      std::size_t begun;
    } const table[] = {
        {100ms, {WayEnd::called_off, WayEnd::unused}, 1},
        {1s, {WayEnd::called_off, WayEnd::called_off}, 2},
    };
    for (const auto& row : table) {
      Net net;
      net.black_hole(kSix);
      net.black_hole(kFour);
      Run run(net);
      run.stop_after = row.after;
      run.go();
      CHECK(run.error() == Errc::cancelled);
      CHECK(run.either->ends == row.ends);
      CHECK(run.took == row.after);
      CHECK(net.begun.size() == row.begun);
    }
    Net net;
    std::stop_source stop;
    stop.request_stop();
    const Way six{kSix, {}};
    const Way four{kFour, {}};
    Either either = net.complete(connect_either(net, six, four, net.now() + 30s, stop.get_token()));
    REQUIRE_FALSE(either.stream);
    CHECK(either.stream.error().code == Errc::cancelled);
  }

  TEST_CASE("of a deadline that is near half is the head start") {
    Net net;
    net.black_hole(kSix);
    Run run(net);
    run.timeout = 200ms;
    run.go();
    CHECK(run.either->used == 1);
    CHECK(run.took == 100ms);
  }

  TEST_CASE("an exception ends both, and comes out") {
    Net net;
    net.throws = true;
    const Way six{kSix, {}};
    const Way four{kFour, {}};
    CHECK_THROWS(net.complete(connect_either(net, six, four, net.now() + 30s, std::stop_token())));
    CHECK(net.begun.size() == 1);
    CHECK_FALSE(net.next_timer());
  }

  TEST_CASE("whatever the order: one is taken if one can be, all else is closed, the same for the same seed") {
    int firsts = 0, seconds = 0, neither = 0;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
      CAPTURE(seed);
      std::string before;
      for (int round = 0; round < 2; ++round) {
        Net net(seed);
        net.scramble(seed);
        net.deaf = seed % 2 == 0;
        for (const net::Address& each : {kSix, kFour}) {
          // Many ends fall on the same moment.
          net.slow[each] = 100ms * static_cast<int>(net.random() % 8);
          if (net.random() % 4 == 0) net.errors[each] = Errc::refused;
          if (net.random() % 4 == 0) net.black_hole(each);
        }
        Run run(net);
        run.timeout = 600ms;
        if (net.random() % 3 == 0) run.stop_after = 100ms * static_cast<int>(net.random() % 7);
        run.go();
        const bool connected = run.either->stream.has_value();
        CHECK(run.took <= 600ms);
        CHECK(run.six.open + run.four.open == (connected ? 1 : 0));
        CHECK(std::count(run.either->ends.begin(), run.either->ends.end(), WayEnd::connected) == (connected ? 1 : 0));
        if (connected) CHECK(run.either->ends[run.either->used] == WayEnd::connected);
        if (net.begun.size() == 2) CHECK(net.begun_at[1] - net.begun_at[0] <= 300ms);
        if (!run.stop_after) {
          const auto dead = [&](const net::Address& each) {
            return net.errors.contains(each) || net.slow.at(each) >= 600ms;
          };
          if (dead(kSix) && dead(kFour)) CHECK_FALSE(connected);
        }
        (connected ? (run.either->used == 0 ? firsts : seconds) : neither) += 1;
        std::string all = std::to_string(run.took.count());
        for (const WayEnd end : run.either->ends) all += " " + std::to_string(static_cast<int>(end));
        if (round == 1) CHECK(all == before);
        before = all;
      }
    }
    CHECK(firsts > 50);
    CHECK(seconds > 50);
    CHECK(neither > 50);
  }
}

}  // namespace waypost::delivery
