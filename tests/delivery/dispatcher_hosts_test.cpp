// Hosts that fail at what they offer, and hosts that hold on to connections.
#include <doctest/doctest.h>

#include "delivery/dispatcher.h"
#include "tests/delivery/relay_world.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;
using tests::Host;
using tests::queue_without_delivery;
using tests::RelayWorld;

void by_route(conf::Config& config, const std::string& domain, const std::string& host) {
  config.routes.push_back({domain, {tests::hop_to(host)}});
}

}  // namespace

TEST_SUITE("delivery/dispatcher_hosts") {
  TEST_CASE("a host that fails at PIPELINING or CHUNKING gets mail without, at once, and for a day [F39]") {
    for (const bool pipelining : {true, false}) {
      CAPTURE(pipelining);
      RelayWorld world([](conf::Config& config) {
        config.delivery.tls = conf::TlsLevel::none;
        by_route(config, "*", "192.0.2.1");
      });
      Host& host = world.host("192.0.2.1");
      host.breaks_pipelining = pipelining;
      host.breaks_chunking = !pipelining;
      world.submit("", {"r@b.test"});
      REQUIRE(world.until([&] { return host.taken.size() == 1; }, 2s));
      CHECK(host.connections == 2);
      world.pass(1min);
      for (int i = 0; i < 5; ++i) world.submit("", {"r@b.test"});
      REQUIRE(world.until([&] { return host.taken.size() == 6; }, 2s));
      world.pass(1min);
      CHECK(host.connections <= 7);  // none was in vain
      world.pass(24h);
      const int before = host.connections;
      world.submit("", {"r@b.test"});
      REQUIRE(world.until([&] { return host.taken.size() == 7; }, 2s));
      CHECK(host.connections == before + 2);
    }
  }

  TEST_CASE("a host that closes a kept session is not taken for one that fails at what it offers") {
    RelayWorld world([](conf::Config& config) {
      config.delivery.tls = conf::TlsLevel::none;
      by_route(config, "*", "192.0.2.1");
    });
    Host& host = world.host("192.0.2.1");
    host.closes_after_message = true;
    for (int i = 1; i <= 3; ++i) {
      world.submit("", {"r@b.test"});
      REQUIRE(world.until([&] { return host.taken.size() == static_cast<std::size_t>(i); }, 2s));
    }
    // Commands still go out together: this would hang up on them, and be asked twice.
    host.closes_after_message = false;
    host.breaks_pipelining = true;
    world.pass(1min);
    const int before = host.connections;
    world.submit("", {"r@b.test"});
    REQUIRE(world.until([&] { return host.taken.size() == 4; }, 2s));
    CHECK(host.connections == before + 2);
  }

  TEST_CASE("hosts that hold on to their connections leave the last tenth to the others [F36]") {
    RelayWorld world([](conf::Config& config) {
      config.delivery.tls = conf::TlsLevel::none;
      config.delivery.connections = 10;
      by_route(config, "a.test", "192.0.2.1");
      by_route(config, "b.test", "192.0.2.2");
      by_route(config, "c.test", "192.0.2.3");
    });
    world.runtime.black_hole(*net::Address::parse("192.0.2.1", 25));
    world.runtime.black_hole(*net::Address::parse("192.0.2.2", 25));
    Host& good = world.host("192.0.2.3");
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 20; ++i) world.submit("", {"r@a.test"});
      for (int i = 0; i < 20; ++i) world.submit("", {"r@b.test"});
    });
    world.pass(1s);
    CHECK(world.dispatcher->stats().connections == 9);
    world.submit("", {"r@c.test"});
    REQUIRE(world.until([&] { return good.taken.size() == 1; }, 1s));
  }
}

}  // namespace waypost::delivery
