// Mail that leaves from several local addresses, and what each may.
#include <map>

#include <doctest/doctest.h>

#include "delivery/dispatcher.h"
#include "tests/delivery/relay_world.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;
using tests::Host;
using tests::queue_without_delivery;
using tests::RelayWorld;

/// All goes to one host, from these addresses, each within the limit.
std::function<void(conf::Config&)> from(std::vector<std::string> sources, conf::OutLimit limit) {
  return [sources, limit](conf::Config& config) {
    config.delivery.tls = conf::TlsLevel::none;
    config.delivery.source = sources;
    config.delivery.limits = {limit};
    config.delivery.limits[0].sources = sources;
    config.routes = {{"*", {tests::hop_to("192.0.2.1")}}};
  };
}

std::map<std::string, int> taken_from(const Host& host) {
  std::map<std::string, int> out;
  for (const Host::Taken& each : host.taken) ++out[each.source];
  return out;
}

void submit(RelayWorld& world, int messages) {
  world.shut();
  queue_without_delivery(world, [&] {
    for (int i = 0; i < messages; ++i) world.submit("", {"r@b.test"});
  });
}

}  // namespace

TEST_SUITE("delivery/dispatcher_sources") {
  TEST_CASE("each address has its rate for itself, within 5 percent") {
    for (const int a_minute : {30, 120, 600}) {
      CAPTURE(a_minute);
      conf::OutLimit limit;
      limit.rate = conf::Rate{static_cast<std::uint64_t>(a_minute), 60s};
      RelayWorld world(from({"192.0.2.101", "192.0.2.102", "2001:db8::1"}, limit));
      world.step = 10ms;
      Host& host = world.host("192.0.2.1");
      submit(world, 2 * a_minute * 3);
      world.pass(2min);
      const std::map<std::string, int> taken = taken_from(host);
      CHECK(taken.size() == 2);
      for (const auto& [source, messages] : taken) {
        CAPTURE(source);
        CHECK(messages >= 2 * a_minute * 95 / 100);
        CHECK(messages <= 2 * a_minute * 105 / 100 + 1);
      }
      REQUIRE(world.drained(2min));
    }
  }

  TEST_CASE("each address has so many connections, to all hosts together") {
    conf::OutLimit limit;
    limit.connections = 2;
    RelayWorld world(from({"192.0.2.101", "192.0.2.102"}, limit));
    world.adjust([](conf::Config& config) {
      config.routes.insert(config.routes.begin(), conf::Route{"c.test", {tests::hop_to("192.0.2.2")}});
    });
    Host& host = world.host("192.0.2.1");
    Host& other = world.host("192.0.2.2");
    int most = 0;
    const auto count = [&] {
      most = std::max(most, host.open + other.open);
      return "250 2.0.0 taken";
    };
    host.on_dot = count;
    other.on_dot = count;
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 300; ++i) world.submit("", {i % 3 == 0 ? "r@c.test" : "r@b.test"});
    });
    REQUIRE(world.drained(2min));
    CHECK(host.taken.size() + other.taken.size() == 300);
    CHECK(most <= 4);
    CHECK(most >= 3);
  }

  TEST_CASE("a site with a backlog does not keep the one connection of an address from the others") {
    conf::OutLimit limit;
    limit.connections = 1;
    RelayWorld world(from({"192.0.2.101"}, limit));
    world.adjust([](conf::Config& config) {
      config.routes.insert(config.routes.begin(), conf::Route{"c.test", {tests::hop_to("192.0.2.2")}});
    });
    Host& host = world.host("192.0.2.1");
    Host& other = world.host("192.0.2.2");
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 400; ++i) world.submit("", {"r@b.test"});
      for (int i = 0; i < 5; ++i) world.submit("", {"r@c.test"});
    });
    std::size_t before = 0;  // when the other's are there
    other.on_dot = [&] {
      before = host.taken.size();
      return "250 2.0.0 taken";
    };
    REQUIRE(world.drained(5min));
    CHECK(other.taken.size() == 5);
    CHECK(before < 200);
    CHECK(host.most_open == 1);
  }

  TEST_CASE("a route's addresses are used alone: of a family that they lack no host is asked") {
    RelayWorld world([](conf::Config& config) {
      conf::Route news{"*", {tests::hop_to("mx.b.test")}};
      news.source = {"192.0.2.101"};
      config.delivery.tls = conf::TlsLevel::none;
      config.delivery.source = {"2001:db8::9"};
      config.routes = {news};
    });
    Host& six = world.host("2001:db8::1");
    Host& four = world.host("192.0.2.1");
    world.resolver.add_host("mx.b.test", {"2001:db8::1", "192.0.2.1"});
    for (int i = 0; i < 10; ++i) world.submit("", {"r@b.test"});
    REQUIRE(world.drained(10s));
    CHECK(six.connections == 0);
    CHECK(taken_from(four) == std::map<std::string, int>{{"192.0.2.101", 10}});
  }

  TEST_CASE("mail that had a limit goes at once after the reload that takes it away") {
    conf::OutLimit limit;
    limit.rate = conf::Rate{1, 86400s};
    RelayWorld world(from({"192.0.2.101"}, limit));
    Host& host = world.host("192.0.2.1");
    submit(world, 20);
    world.pass(1min);
    CHECK(host.taken.size() == 1);
    world.reload([](conf::Config& config) { config.delivery.limits.clear(); });
    REQUIRE(world.drained(5s));
  }
}

}  // namespace waypost::delivery
