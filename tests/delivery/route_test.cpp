#include "delivery/route.h"

#include <functional>
#include <set>

#include <doctest/doctest.h>

#include "conf/load.h"
#include "smtp/address.h"

namespace waypost::delivery {
namespace {

conf::Config config() {
  const conf::Loaded loaded = conf::load_text(R"(
hostname = "relay.example.net"
[[listener]]
address = "127.0.0.1:2525"
[relay]
networks = ["127.0.0.0/8"]
[[domain]]
name = "local.example"
deliver = "maildir:/var/mail/{domain}/{local}"
[[route]]
match = "routed.example"
next_hop = "smtp:[192.0.2.1]:2525"
[[route]]
match = "*.example"
next_hop = ["smtp:hub.example.net", "smtp:[192.0.2.2]"]
[[route]]
match = "gone.test"
next_hop = "reject:5.1.6 moved away"
[[route]]
match = "hole.test"
next_hop = "discard:"
)",
                                              "t");
  CAPTURE(loaded.errors.empty() ? "" : loaded.errors.front().text());
  REQUIRE(loaded.errors.empty());
  return loaded.config;
}

}  // namespace

TEST_SUITE("delivery/route") {
  TEST_CASE("the domain's block, then the first route that matches, then MX [DESIGN 5]") {
    const conf::Config conf = config();
    struct Row {
      const char* destination;
      const char* want;
    };
    const Row rows[] = {
        {"local.example", "maildir:/var/mail/{domain}/{local}"},
        {"routed.example", "smtp:[192.0.2.1]:2525"},
        {"a.b.example", "smtp:hub.example.net"},
        {"gone.test", "reject:5.1.6 moved away"},
        {"hole.test", "discard:"},
        {"other.test", "smtp:other.test"},
        {"example", "smtp:example"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.destination);
      CHECK(route(conf, row.destination).next_hops.front().text() == row.want);
    }
    CHECK(route(conf, "a.b.example").next_hops.size() == 2);
    CHECK(route(conf, "other.test").next_hops.front().look_up_mx);
  }

  TEST_CASE("an address literal is its own host") {
    const conf::NextHop next_hop = route(config(), "[192.0.2.7]").next_hops.front();
    CHECK_FALSE(next_hop.look_up_mx);
    CHECK(next_hop.host.host == "192.0.2.7");
    CHECK(route(config(), "[IPv6:2001:db8::7]").next_hops.front().host.host == "2001:db8::7");
  }

  TEST_CASE("mail that a route takes because of its sender waits by itself") {
    conf::Config conf = config();
    const auto add = [&conf](const char* name, const char* match, std::vector<std::string> senders,
                             std::vector<std::string> logins, const char* host) {
      conf::Route route;
      route.name = name;
      route.match = match;
      route.senders = std::move(senders);
      route.logins = std::move(logins);
      conf::NextHop hop;
      hop.host.host = host;
      route.next_hops = {hop};
      conf.routes.insert(conf.routes.begin() + static_cast<std::ptrdiff_t>(conf.routes.size() - 4), route);
    };
    add("office", "*", {"@office.example", "boss@b.example"}, {}, "192.0.2.10");
    add("ann", "*.example", {}, {"ann", "*@c.example"}, "192.0.2.11");
    add("both", "d.test", {"@d.test"}, {"*"}, "192.0.2.12");
    add("bounces", "e.test", {"<>"}, {}, "192.0.2.13");
    struct Row {
      const char *from, *login, *domain, *want;
      const char* next_hop;
    };
    const Row rows[] = {
        {"x@office.example", "", "other.test", "other.test/office", "smtp:[192.0.2.10]"},
        {"X@Office.example", "ann", "a.example", "a.example/office", "smtp:[192.0.2.10]"},
        {"boss@b.example", "", "other.test", "other.test/office", "smtp:[192.0.2.10]"},
        {"ann@b.example", "", "other.test", "other.test", "smtp:other.test"},
        {"x@office.example", "", "local.example", "local.example", "maildir:/var/mail/{domain}/{local}"},
        {"x@b.example", "Ann", "a.example", "a.example/ann", "smtp:[192.0.2.11]"},
        {"x@b.example", "bob@c.example", "a.example", "a.example/ann", "smtp:[192.0.2.11]"},
        {"x@b.example", "bob", "a.example", "a.example", "smtp:hub.example.net"},
        {"x@b.example", "ann", "other.test", "other.test", "smtp:other.test"},
        {"x@d.test", "", "d.test", "d.test", "smtp:d.test"},
        {"x@d.test", "bob", "d.test", "d.test/both", "smtp:[192.0.2.12]"},
        {"x@e.test", "bob", "d.test", "d.test", "smtp:d.test"},
        {"", "", "e.test", "e.test/bounces", "smtp:[192.0.2.13]"},
        {"", "", "d.test", "d.test", "smtp:d.test"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.from);
      CAPTURE(row.login);
      CAPTURE(row.domain);
      smtp::Path path;
      if (*row.from != 0) path.mailbox = *smtp::parse_mailbox(row.from);
      const std::string destination = destination_of(conf, path, row.login, row.domain);
      CHECK(destination == row.want);
      CHECK(domain_of(destination) == row.domain);
      CHECK(route(conf, destination).next_hops.front().text() == row.next_hop);
    }

    // What waits elsewhere by now is told from what does not.
    auto info = std::make_shared<queue::MessageInfo>();
    info->reverse_path.mailbox = *smtp::parse_mailbox("x@office.example");
    std::vector<queue::Due> due(4);
    const char* names[] = {"a.test", "a.test/office", "a.test/gone", "local.example/office"};
    for (std::size_t i = 0; i < due.size(); ++i) {
      due[i].message = info;
      due[i].destination = names[i];
    }
    const std::vector<Redirected> moved = take_redirected(conf, due);
    REQUIRE(due.size() == 1);
    CHECK(due[0].destination == "a.test/office");
    REQUIRE(moved.size() == 3);
    CHECK(moved[0].from == "a.test");
    CHECK(moved[0].due.destination == "a.test/office");
    CHECK(moved[1].due.destination == "a.test/office");
    CHECK(moved[2].due.destination == "local.example");
    // Without any such route, all go back to their domains.
    conf::Config plain = config();
    std::vector<queue::Due> back(1);
    back[0].message = info;
    back[0].destination = "a.test/office";
    CHECK(take_redirected(plain, back).at(0).due.destination == "a.test");
  }

  TEST_CASE("whatever sends mail another way, or as somebody else, changes the fingerprint") {
    const conf::Config before = config();
    const std::function<void(conf::Route&)> changes[] = {
        [](conf::Route& route) { route.name = "x"; },
        [](conf::Route& route) { route.senders = {"@b.example"}; },
        [](conf::Route& route) { route.logins = {"@b.example"}; },
        [](conf::Route& route) { route.weights = {1}; },
        [](conf::Route& route) { route.source = {"192.0.2.1"}; },
        [](conf::Route& route) { route.ehlo = "a.example"; },
        [](conf::Route& route) {
          route.login = conf::HostLogin{"ann", "/p", "x", 1, {}};
        },
        [](conf::Route& route) {
          route.login = conf::HostLogin{"ann", "/p", "x", 2, {}};
        },
        [](conf::Route& route) {
          route.login = conf::HostLogin{"bob", "/p", "x", 1, {}};
        },
        [](conf::Route& route) {
          route.login = conf::HostLogin{"ann", "/p", "x", 1, {"PLAIN"}};
        },
    };
    std::set<std::uint64_t> seen{fingerprint_of_routes(before)};
    for (const auto& change : changes) {
      conf::Config after = before;
      change(after.routes[0]);
      CHECK(seen.insert(fingerprint_of_routes(after)).second);
    }
    conf::Config same = before;
    CHECK(seen.contains(fingerprint_of_routes(same)));
  }

  TEST_CASE("as whom a route has us come") {
    conf::Config conf = config();
    CHECK(route(conf, "routed.example").as == nullptr);
    conf.routes[0].source = {"192.0.2.10", "2001:db8::10"};
    CHECK(route(conf, "routed.example").as->name == "from 192.0.2.10 2001:db8::10");
    CHECK(route(conf, "routed.example").as->source.size() == 2);
    conf.routes[0].login = conf::HostLogin{"ann b", "/p", "secret", 1, {}};
    CHECK(route(conf, "routed.example").as->name == "as ann b");
    conf.routes[0].name = "hub";
    CHECK(route(conf, "routed.example").as->name == "hub");
    CHECK(route(conf, "routed.example").as->login->password == "secret");
    CHECK(route(conf, "local.example").as == nullptr);
  }
}

}  // namespace waypost::delivery
