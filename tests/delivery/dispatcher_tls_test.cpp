// TLS policy from the configuration to the hosts: the fall-back, sites, REQUIRETLS, the history.
#include <doctest/doctest.h>

#include "tests/delivery/relay_world.h"
#include "tests/delivery/tls_pki.h"

using namespace waypost;
using namespace waypost::delivery;
using namespace std::chrono_literals;
using tests::Host;
using tests::RelayWorld;
using tests::TlsPki;
using Level = conf::TlsLevel;

namespace {

struct World : RelayWorld {
  explicit World(Level level = Level::opportunistic) {
    tls_client = TlsPki::get().client();
    adjust([level](conf::Config& of_world) { of_world.delivery.tls = level; });
    own_host("a.test", "192.0.2.100");
  }
  Host& own_host(const std::string& domain, const std::string& address) {
    resolver.add_mx(domain, {{10, "mx." + domain}});
    resolver.add_host("mx." + domain, {address});
    return host(address);
  }
  Host& secure(Host& one, const std::string& name) {
    one.tls = Host::Tls::good;
    one.tls_server = TlsPki::get().server(name);
    return one;
  }
  /// Of the events of a message.
  std::vector<std::string> evidence(queue::Id id) {
    queue::HistoryQuery query;
    query.id = id;
    const Result<std::vector<queue::HistoryEvent>> events = history().find(query);
    std::vector<std::string> out;
    REQUIRE(events);
    for (const queue::HistoryEvent& event : *events)
      if (!event.tls.empty()) out.push_back(event.tls);
    return out;
  }
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_SUITE("delivery/dispatcher_tls") {
  TEST_CASE("opportunistic: TLS where it is offered, with whatever certificate; the history says so") {
    World world;
    Host& host = world.secure(world.own_host("b.test", "192.0.2.1"), "elsewhere.test");
    const queue::Id id = world.submit("s@a.test", {"r@b.test"});
    REQUIRE(world.drained(5s));
    CHECK(host.taken.size() == 1);
    CHECK_FALSE(has(host.in_clear, "MAIL"));
    REQUIRE(world.evidence(id).size() == 1);
    CHECK(has(world.evidence(id)[0], " trusted; opportunistic by delivery.tls; for elsewhere.test"));
  }

  TEST_CASE("opportunistic: TLS fails, the same host is asked in clear at once, and for three days") {
    for (const Host::Tls how : {Host::Tls::refused, Host::Tls::broken}) {
      World world;
      Host& host = world.own_host("b.test", "192.0.2.1");
      host.tls = how;
      const queue::Id id = world.submit("s@a.test", {"r@b.test"});
      REQUIRE(world.drained(5s));
      CHECK(host.taken.size() == 1);
      CHECK(host.connections == 2);
      CHECK(world.evidence(id).back() == "none: handshakes have failed before; opportunistic by delivery.tls");
      world.secure(host, "mx.b.test");  // mended, which nobody knows
      host.in_clear.clear();
      world.pass(1min);
      world.submit("s@a.test", {"r@b.test"});
      REQUIRE(world.drained(5s));
      CHECK(has(host.in_clear, "MAIL"));
      host.in_clear.clear();
      world.step = 1min;
      world.pass(72h);
      world.submit("s@a.test", {"r@b.test"});
      REQUIRE(world.drained(2min));
      CHECK(host.taken.size() == 3);
      CHECK_FALSE(has(host.in_clear, "MAIL"));
    }
  }

  TEST_CASE("tls_retry = 2: the first failure defers, the second goes in clear") {
    World world;
    world.adjust([](conf::Config& config) { config.delivery.tls_retry = 2; });
    Host& host = world.own_host("b.test", "192.0.2.1");
    host.tls = Host::Tls::broken;
    world.submit("s@a.test", {"r@b.test"});
    CHECK_FALSE(world.drained(1min));
    CHECK(host.connections == 1);
    CHECK_FALSE(has(host.in_clear, "MAIL"));
    REQUIRE(world.drained(10min));
    CHECK(host.connections == 3);
    CHECK(host.taken.size() == 1);
  }

  TEST_CASE("encrypt and verify: no mail in clear, whatever the host does; the next host is tried") {
    for (const Level level : {Level::encrypt, Level::verify}) {
      for (const Host::Tls how : {Host::Tls::none, Host::Tls::refused, Host::Tls::broken}) {
        World world(level);
        world.resolver.add_mx("b.test", {{10, "mx1.b.test"}, {20, "mx2.b.test"}});
        world.resolver.add_host("mx1.b.test", {"192.0.2.1"});
        world.resolver.add_host("mx2.b.test", {"192.0.2.2"});
        Host& first = world.host("192.0.2.1");
        first.tls = how;
        Host& second = world.host("192.0.2.2");
        world.submit("s@a.test", {"r@b.test"});
        CHECK_FALSE(world.drained(20min));
        CHECK(first.taken.empty());
        CHECK(second.taken.empty());
        CHECK(second.connections >= 3);
        CHECK_FALSE(has(first.in_clear + second.in_clear, "MAIL"));
        world.secure(second, "mx2.b.test");
        REQUIRE(world.drained(20min));
        CHECK(second.taken.size() == 1);
        CHECK_FALSE(has(first.in_clear + second.in_clear, "MAIL"));
      }
    }
  }

  TEST_CASE("a route without a next hop has the way of DNS and its own TLS; the others of its site keep theirs") {
    World world;
    world.adjust([](conf::Config& config) {
      conf::Route route;
      route.match = "bank.test";
      route.tls.level = Level::verify;
      config.routes = {route};
    });
    for (const char* name : {"b.test", "bank.test"}) world.resolver.add_mx(name, {{10, "mx.shared.test"}});
    world.resolver.add_host("mx.shared.test", {"192.0.2.1"});
    Host& host = world.secure(world.host("192.0.2.1"), "mx.shared.test");
    const queue::Id plain = world.submit("s@a.test", {"r@b.test"});
    const queue::Id bank = world.submit("s@a.test", {"r@bank.test"});
    CHECK_FALSE(world.drained(1min));
    CHECK(host.taken.size() == 1);
    CHECK(has(world.evidence(plain)[0], " trusted; opportunistic by delivery.tls"));
    world.reload([](conf::Config& config) { config.routes[0].tls.names = {"*.shared.test"}; });
    REQUIRE(world.drained(20min));
    CHECK(has(world.evidence(bank).back(), " verified; verify by route 1; for mx.shared.test"));
    CHECK_FALSE(has(host.in_clear, "MAIL"));
  }

  TEST_CASE("REQUIRETLS: not over a kept session that is not verified, and other mail does not wait with it") {
    World world;
    Host& host = world.secure(world.own_host("b.test", "192.0.2.1"), "elsewhere.test");
    host.require_tls = true;
    world.submit("s@a.test", {"r@b.test"});
    REQUIRE(world.drained(1s));
    world.require_tls = true;
    const queue::Id id = world.submit("s@a.test", {"q@b.test"});
    CHECK_FALSE(world.drained(2s));
    CHECK(host.connections == 2);
    REQUIRE(world.evidence(id).size() == 1);
    CHECK(has(world.evidence(id)[0], "untrusted: hostname mismatch; verify by requiretls; for elsewhere.test"));
    world.require_tls = false;
    world.submit("s@a.test", {"r@b.test"});
    world.pass(2s);
    CHECK(host.taken.size() == 2);  // no back-off of the destination
    world.secure(host, "mx.b.test");
    REQUIRE(world.drained(10min));
    CHECK(host.taken.size() == 3);
    CHECK(has(world.evidence(id).back(), " verified; verify by requiretls; for mx.b.test"));
  }
}
