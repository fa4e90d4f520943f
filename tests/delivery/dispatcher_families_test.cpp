// Hosts with addresses of both families: which one a message goes to, and after how long.
#include <set>

#include <doctest/doctest.h>

#include "delivery/dispatcher.h"
#include "tests/delivery/relay_world.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;
using tests::Host;
using tests::RelayWorld;

net::Address at_port_25(const std::string& host) {
  return *net::Address::parse(host, 25);
}

/// One exchanger, with both.
struct Both {
  explicit Both(std::function<void(conf::Config&)> change = [](conf::Config&) {})
      : world(std::move(change)), six(world.host("2001:db8::1")), four(world.host("192.0.2.1")) {
    world.step = 10ms;
    world.resolver.add_mx("b.test", {{10, "mx.b.test"}});
    world.resolver.add_host("mx.b.test", {"2001:db8::1", "192.0.2.1"});
  }
  RelayWorld world;
  Host &six, &four;

  /// How long until a host has it.
  net::Duration send() {
    const std::size_t before = six.taken.size() + four.taken.size();
    const net::TimePoint began = world.runtime.now();
    world.submit("s@a.test", {"r@b.test"});
    REQUIRE(world.until([&] { return six.taken.size() + four.taken.size() > before; }, 100s));
    const net::Duration took = world.runtime.now() - began;
    world.pass(10s);  // no connection is kept as long
    return took;
  }
  std::string last_host() const { return world.tapped->settled.back().recipients.at(0).host; }
};

/// From the submission to the first outcome.
net::Duration deferred_after(RelayWorld& world) {
  const net::TimePoint began = world.runtime.now();
  world.submit("", {"r@b.test"});
  REQUIRE(world.until([&] { return !world.tapped->states.empty() || !world.tapped->settled.empty(); }, 5min));
  return world.runtime.now() - began;
}

}  // namespace

TEST_SUITE("delivery/dispatcher_families") {
  TEST_CASE("an IPv6 black hole with good IPv4 costs 300 ms, once in ten minutes [F32]") {
    Both both;
    both.world.runtime.black_hole(at_port_25("2001:db8::1"));
    CHECK(both.send() == 300ms);
    CHECK(both.last_host() == "mx.b.test[192.0.2.1]:25");
    CHECK(both.send() == 0ms);
    both.world.pass(9min + 30s);
    CHECK(both.send() == 0ms);
    both.world.pass(10s);
    CHECK(both.send() == 300ms);
    CHECK(both.send() == 0ms);
    CHECK(both.four.taken.size() == 5);
  }

  TEST_CASE("no IPv6 here: IPv4 at once, and first for ten minutes") {
    Both both;
    both.world.runtime.unreachable(at_port_25("2001:db8::1"));
    CHECK(both.send() == 0ms);
    CHECK(both.last_host() == "mx.b.test[192.0.2.1]:25");
    both.world.runtime.black_hole(at_port_25("2001:db8::1"));
    CHECK(both.send() == 0ms);
    both.world.pass(10min);
    CHECK(both.send() == 300ms);
  }

  TEST_CASE("both are well: IPv6 takes it, IPv4 is never asked") {
    Both both;
    CHECK(both.send() == 0ms);
    CHECK(both.send() == 0ms);
    CHECK(both.last_host() == "mx.b.test[2001:db8::1]:25");
    CHECK(both.six.taken.size() == 2);
    CHECK(both.four.connections == 0);
  }

  TEST_CASE("IPv4 first: IPv6 has its part after the head start; IPv4 that was overtaken may come first again") {
    Both both;
    both.world.resolver.forget("mx.b.test");
    both.world.resolver.add_mx("b.test", {{10, "mx4.b.test"}});
    both.world.resolver.add_host("mx.b.test", {"2001:db8::1"});
    both.world.resolver.add_host("mx4.b.test", {"192.0.2.1"});
    both.world.runtime.black_hole(at_port_25("192.0.2.1"));
    std::multiset<net::Duration> took;
    for (int i = 0; i < 24; ++i) took.insert(both.send());  // chance says which of the two is first
    CHECK(took.count(0ms) + took.count(300ms) == 24);
    CHECK(took.count(0ms) > 0);
    CHECK(took.count(300ms) > 1);
    CHECK(both.six.taken.size() == 24);
  }

  TEST_CASE("a fast address that takes no mail does not keep it from a slow one") {
    // Either is fast, and the other beyond the head start.
    for (const bool slow_six : {true, false}) {
      Both both;
      Host& fast = slow_six ? both.four : both.six;
      Host& slow = slow_six ? both.six : both.four;
      fast.banner = "421 4.3.2 not now";
      both.world.runtime.slow(at_port_25(slow_six ? "2001:db8::1" : "192.0.2.1"), 500ms);
      for (int i = 0; i < 5; ++i) {
        CHECK(both.send() <= 800ms);
        both.world.pass(i * 3min);
      }
      CHECK(slow.taken.size() == 5);
      CHECK(fast.connections <= 5);
    }
  }

  TEST_CASE("an address that has taken mail again comes last for a minute only when it fails anew") {
    Both both;
    const auto goes_to_six = [&] {
      const std::size_t before = both.six.taken.size();
      both.send();
      return both.six.taken.size() > before;
    };
    for (const net::Duration last : {net::Duration(1min), net::Duration(2min)}) {
      both.six.banner = "421 4.3.2 not now";
      CHECK_FALSE(goes_to_six());
      both.six.banner = "220 mx.b.test";
      both.world.pass(last - 11s);
      CHECK_FALSE(goes_to_six());
      both.world.pass(1s);
    }
    CHECK(goes_to_six());
    both.six.banner = "421 4.3.2 not now";
    CHECK_FALSE(goes_to_six());
    both.six.banner = "220 mx.b.test";
    both.world.pass(51s);
    CHECK(goes_to_six());
  }

  TEST_CASE("IPv4 is not raced by IPv6 that failed lately") {
    Both both;
    both.six.banner = "421 4.3.2 not now";
    both.world.runtime.slow(at_port_25("192.0.2.1"), 500ms);
    CHECK(both.send() == 500ms);
    CHECK(both.six.connections == 1);
    CHECK(both.send() == 500ms);
    CHECK(both.six.connections == 1);
  }

  TEST_CASE("both are dead: one deadline") {
    Both both;
    both.world.runtime.black_hole(at_port_25("2001:db8::1"));
    both.world.runtime.black_hole(at_port_25("192.0.2.1"));
    CHECK(deferred_after(both.world) == 30s);
  }

  TEST_CASE("who was overtaken is tried once more, alone, after all others") {
    Both both;
    both.world.resolver.add_mx("b.test", {{20, "mx2.b.test"}});
    both.world.resolver.add_host("mx2.b.test", {"192.0.2.2"});
    both.world.runtime.black_hole(at_port_25("2001:db8::1"));
    both.four.banner = "421 4.3.2 not now";
    Host& second = both.world.host("192.0.2.2");
    second.banner = "421 4.3.2 nor here";
    const net::TimePoint began = both.world.runtime.now();
    CHECK(deferred_after(both.world) == 300ms + 30s);
    CHECK(second.connections == 1);
    CHECK(both.four.connections == 1);
    both.world.pass(1min);
    second.banner = "220 mx2.b.test";
    CHECK(both.world.drained(3min));
    CHECK(both.world.runtime.now() - began < 5min);
  }

  TEST_CASE("another exchanger is a rival only if it is as preferred") {
    for (const std::uint16_t preference : {10, 20}) {
      RelayWorld world;
      world.step = 10ms;
      world.resolver.add_mx("b.test", {{10, "mx1.b.test"}, {preference, "mx2.b.test"}, {10, "mx3.b.test"}});
      world.resolver.add_host("mx1.b.test", {"2001:db8::1"});
      world.resolver.add_host("mx2.b.test", {"192.0.2.1"});
      world.resolver.add_host("mx3.b.test", {"2001:db8::3"});
      world.runtime.black_hole(at_port_25("2001:db8::1"));
      world.runtime.black_hole(at_port_25("2001:db8::3"));
      Host& four = world.host("192.0.2.1");
      world.submit("", {"r@b.test"});
      // Of equals chance may put it first.
      world.pass(400ms);
      CHECK(four.taken.size() == (preference == 10 ? 1 : 0));
      CHECK(world.drained(65s));
    }
  }

  TEST_CASE("five addresses in all are tried in one attempt, the rivals included") {
    RelayWorld world;
    world.step = 10ms;
    world.resolver.add_mx("b.test", {{10, "mx.b.test"}});
    world.resolver.add_host("mx.b.test", {"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "192.0.2.1",
                                          "192.0.2.2", "192.0.2.3", "192.0.2.4"});
    for (const char* host : {"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "192.0.2.1", "192.0.2.2",
                             "192.0.2.3", "192.0.2.4"})
      world.runtime.black_hole(at_port_25(host));
    CHECK(deferred_after(world) == 90s);
  }

  TEST_CASE("in doubt: the host that may have the message is asked without a rival") {
    Both both;
    both.six.on_dot = [] { return ""; };
    both.world.submit("", {"r@b.test"});
    REQUIRE(both.world.until([&] { return !both.world.tapped->settled.empty(); }, 1min));
    const queue::WallTime again = both.world.tapped->settled[0].recipients.at(0).next_attempt;
    both.world.runtime.black_hole(at_port_25("2001:db8::1"));
    REQUIRE(both.world.until([&] { return !both.four.taken.empty(); }, 10min));
    CHECK(both.world.runtime.wall_now() - again >= 30s);
  }
}

}  // namespace waypost::delivery
