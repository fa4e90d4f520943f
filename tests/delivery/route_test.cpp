#include "delivery/route.h"

#include <doctest/doctest.h>

#include "conf/load.h"

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
      CHECK(route(conf, row.destination).front().text() == row.want);
    }
    CHECK(route(conf, "a.b.example").size() == 2);
    CHECK(route(conf, "other.test").front().look_up_mx);
  }

  TEST_CASE("an address literal is its own host") {
    const conf::NextHop next_hop = route(config(), "[192.0.2.7]").front();
    CHECK_FALSE(next_hop.look_up_mx);
    CHECK(next_hop.host.host == "192.0.2.7");
    CHECK(route(config(), "[IPv6:2001:db8::7]").front().host.host == "2001:db8::7");
  }
}

}  // namespace waypost::delivery
