// Routes by sender and by login: mail for one domain that goes several ways.
#include <algorithm>
#include <set>

#include <doctest/doctest.h>

#include "delivery/dispatcher.h"
#include "tests/delivery/relay_world.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;
using tests::hop_to;
using tests::Host;
using tests::queue_without_delivery;
using tests::recipients_of;
using tests::RelayWorld;

/// Office's mail goes to one smarthost, the rest to another.
void two_ways(conf::Config& config) {
  config.delivery.tls = conf::TlsLevel::none;
  conf::Route office{"*", {hop_to("192.0.2.1")}};
  office.name = "office";
  office.senders = {"@office.test"};
  config.routes = {office, {"*", {hop_to("192.0.2.2")}}};
}

std::set<std::string> destinations(RelayWorld& world) {
  std::set<std::string> out;
  for (const queue::MessageRow& row : world.rows()) out.insert(row.recipients[0].destination);
  return out;
}

}  // namespace

TEST_SUITE("delivery/dispatcher_route") {
  TEST_CASE("a dead smarthost of one sender holds up nobody else's mail for the same domain") {
    RelayWorld world([](conf::Config& config) {
      two_ways(config);
      config.queue.retry = {10min};
    });
    Host& office = world.host("192.0.2.1");
    Host& rest = world.host("192.0.2.2");
    office.banner = "421 4.3.2 closed";
    for (int i = 0; i < 50; ++i) {
      world.submit("a@office.test", {"r@b.test"});
      world.submit("a@other.test", {"r@b.test"});
    }
    world.pass(30s);
    CHECK(rest.taken.size() == 50);
    CHECK(world.counts().messages == 50);
    CHECK(destinations(world) == std::set<std::string>{"b.test/office"});
    for (const queue::MessageRow& row : world.rows())
      CHECK(row.recipients[0].reply.find("closed") != std::string::npos);
    const int before = office.connections;
    world.pass(22min);
    CHECK(office.connections - before <= 3);  // one a retry, whatever waits
    world.submit("a@other.test", {"r@b.test"});
    world.pass(1s);
    CHECK(rest.taken.size() == 51);
    office.banner = "220 smarthost";
    REQUIRE(world.drained(12min));
    CHECK(office.taken.size() == 50);
  }

  TEST_CASE("a session is for mail of its own route alone, also at the same host") {
    RelayWorld world([](conf::Config& config) {
      config.delivery.tls = conf::TlsLevel::none;
      config.delivery.concurrency = 1;
      conf::Route news{"*", {hop_to("192.0.2.1")}};
      news.name = "news";
      news.logins = {"editor"};
      news.ehlo = "news.test";
      news.source = {"192.0.2.101"};
      config.routes = {news, {"*", {hop_to("192.0.2.1")}}};
    });
    Host& host = world.host("192.0.2.1");
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 40; ++i) {
        world.login = i % 2 == 0 ? "Editor" : "ann";
        world.submit(i % 2 == 0 ? "even@a.test" : "odd@a.test", {"r@b.test"});
      }
    });
    REQUIRE(world.drained(30s));
    REQUIRE(host.taken.size() == 40);
    for (const Host::Taken& taken : host.taken) {
      const bool even = taken.from.find("even") != std::string::npos;
      CHECK(taken.ehlo == (even ? "news.test" : "relay.test"));
      CHECK((taken.source == "192.0.2.101") == even);
    }
    CHECK(host.connections == 2);
  }

  TEST_CASE("a login that is refused is our trouble: it waits, with the reason, and goes when it is mended") {
    RelayWorld world([](conf::Config& config) {
      two_ways(config);
      config.queue.retry = {10min};
      config.queue.expire = 2h;
      config.routes[0].login = conf::HostLogin{"relay", "/p", "wrong", 1, {}};
      config.routes[0].tls.level = conf::TlsLevel::none;
    });
    Host& office = world.host("192.0.2.1");
    world.host("192.0.2.2");
    office.auth_reply = "535 5.7.8 bad credentials";
    for (int i = 0; i < 20; ++i) world.submit("a@office.test", {"r@b.test"});
    world.pass(1min);
    CHECK(office.taken.empty());
    CHECK(office.connections <= 5);  // those that were under way together
    CHECK(world.counts().messages == 20);
    for (const queue::MessageRow& row : world.rows()) {
      CHECK(row.recipients[0].status == "4.7.8");
      CHECK(row.recipients[0].reply == "login as relay was refused: 535 5.7.8 bad credentials");
    }
    // Without AUTH it takes mail; that the password is another one tells that it may be tried at once.
    office.auth_reply = "";
    world.reload([](conf::Config& config) { config.routes[0].login.reset(); });
    REQUIRE(world.drained(5s));
    CHECK(office.taken.size() == 20);
  }

  TEST_CASE("a new password is tried at once") {
    RelayWorld world([](conf::Config& config) {
      two_ways(config);
      config.queue.retry = {20min};
      config.routes[0].login = conf::HostLogin{"relay", "/p", "wrong", 1, {}};
      config.routes[0].tls.level = conf::TlsLevel::none;
    });
    Host& office = world.host("192.0.2.1");
    office.auth_reply = "535 5.7.8 bad credentials";
    world.submit("a@office.test", {"r@b.test"});
    world.pass(1min);
    const int before = office.connections;
    world.reload([](conf::Config& config) { config.routes[0].login->password_changed = 2; });
    world.pass(1s);
    CHECK(office.connections == before + 1);
  }

  TEST_CASE("mail that waits takes the way of the routes that there are now, also after a restart") {
    for (const bool restart : {false, true}) {
      CAPTURE(restart);
      RelayWorld world([](conf::Config& config) {
        two_ways(config);
        config.queue.retry = {50min};
      });
      Host& office = world.host("192.0.2.1");
      Host& rest = world.host("192.0.2.2");
      office.banner = "421 4.3.2 closed";
      for (int i = 0; i < 30; ++i) world.submit("a@office.test", {"r@b.test", "s@c.test"});
      world.pass(1min);
      CHECK(rest.taken.empty());
      const auto without = [](conf::Config& config) { config.routes.erase(config.routes.begin()); };
      if (restart) {
        world.shut();
        world.adjust(without);
        world.open();
      } else {
        world.reload(without);
      }
      REQUIRE(world.drained(10s));
      CHECK(recipients_of(rest) == 60);
      CHECK(office.taken.empty());
    }
  }

  TEST_CASE("what came in before a route was there goes by it") {
    RelayWorld world([](conf::Config& config) {
      config.delivery.tls = conf::TlsLevel::none;
      config.queue.retry = {50min};
      config.routes = {{"*", {hop_to("192.0.2.2")}}};
    });
    Host& office = world.host("192.0.2.1");
    Host& rest = world.host("192.0.2.2");
    rest.banner = "421 4.3.2 closed";
    for (int i = 0; i < 30; ++i) {
      world.submit("a@office.test", {"r@b.test"});
      world.submit("a@other.test", {"r@b.test"});
    }
    world.pass(1min);
    world.reload(two_ways);
    REQUIRE(world.until([&] { return office.taken.size() == 30; }, 10s));
    CHECK(world.counts().messages == 30);
    CHECK(destinations(world) == std::set<std::string>{"b.test"});
    rest.banner = "220 back";
    REQUIRE(world.drained(70min));
    CHECK(rest.taken.size() == 30);
  }

  TEST_CASE("a new route takes all of a backlog, though other mail for the domain waits on") {
    RelayWorld world(
        [](conf::Config& config) {
          config.delivery.tls = conf::TlsLevel::none;
          config.queue.retry = {50min};
          config.routes = {{"*", {hop_to("192.0.2.2")}}};
        },
        {200, 50});
    Host& office = world.host("192.0.2.1");
    Host& rest = world.host("192.0.2.2");
    rest.banner = "421 4.3.2 closed";
    for (int i = 0; i < 600; ++i) world.submit(i % 25 == 0 ? "a@other.test" : "a@office.test", {"r@b.test"});
    world.pass(1min);
    world.reload(two_ways);
    REQUIRE(world.until([&] { return office.taken.size() == 576; }, 30s));
    CHECK(world.counts().messages == 24);
    CHECK(destinations(world) == std::set<std::string>{"b.test"});
  }

  TEST_CASE("a bounce goes by the route of the null reverse-path") {
    RelayWorld world([](conf::Config& config) {
      two_ways(config);
      conf::Route bounces{"*", {hop_to("192.0.2.3")}};
      bounces.name = "bounces";
      bounces.senders = {"<>"};
      config.routes.insert(config.routes.begin(), bounces);
    });
    Host& rest = world.host("192.0.2.2");
    Host& bounces = world.host("192.0.2.3");
    rest.on_rcpt = [](const std::string&) { return "550 5.1.1 nobody"; };
    world.submit("a@other.test", {"r@b.test"});
    REQUIRE(world.drained(5s));
    REQUIRE(bounces.taken.size() == 1);
    CHECK(bounces.taken[0].from == "<>");
  }
}

}  // namespace waypost::delivery
