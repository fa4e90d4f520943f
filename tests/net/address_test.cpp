#include "net/address.h"

#include <doctest/doctest.h>

using namespace waypost;
using net::Address;

TEST_SUITE("net/address") {
  TEST_CASE("numeric text is parsed and written back [RFC 5952]") {
    struct Row {
      const char* input;
      int family;
      const char* text;
    };
    for (const Row& row : {
             Row{"192.0.2.1", 4, "192.0.2.1:25"},
             Row{"0.0.0.0", 4, "0.0.0.0:25"},
             Row{"2001:DB8:0:0::1", 6, "[2001:db8::1]:25"},
             Row{"::", 6, "[::]:25"},
             Row{"::ffff:192.0.2.1", 4, "192.0.2.1:25"},
             Row{"::ffff:c000:201", 4, "192.0.2.1:25"},
         }) {
      CAPTURE(row.input);
      std::optional<Address> address = Address::parse(row.input, 25);
      REQUIRE(address.has_value());
      CHECK(address->family == row.family);
      CHECK(address->text() == row.text);
    }
  }

  TEST_CASE("a user of this machine is no address, and no other user") {
    const Address ann = Address::of_user(4'123'456'789);
    CHECK(ann.user() == 4'123'456'789);
    CHECK(ann.text() == "uid=4123456789");
    CHECK(ann.host() == "uid=4123456789");
    CHECK(ann.is_local());
    CHECK_FALSE(ann.same_host(Address::of_user(1000)));
    CHECK_FALSE(Address::of_user(0).is_wildcard());
    CHECK_FALSE(Address::local("/run/x").user());
    CHECK_FALSE(Address::local("uid=1000").user());
    CHECK_FALSE(Address::parse("192.0.2.1", 25)->user());
  }

  TEST_CASE("what is no number is no address") {
    using namespace std::string_view_literals;
    for (std::string_view input : {""sv, "localhost"sv, "192.0.2"sv, "192.0.2.256"sv, "192.0.2.1 "sv, "[::1]"sv,
                                   "fe80::1%eth0"sv, "192.0.2.1\0x"sv, "1:2:3:4:5:6:7:8:9"sv}) {
      CAPTURE(input);
      CHECK_FALSE(Address::parse(input, 25).has_value());
    }
    CHECK_FALSE(Address::parse(std::string(1000, '1'), 25).has_value());
  }

  TEST_CASE("wildcards, order, hosts") {
    CHECK(Address::parse("0.0.0.0", 25)->is_wildcard());
    CHECK(Address::parse("::", 25)->is_wildcard());
    CHECK_FALSE(Address::parse("::1", 25)->is_wildcard());
    CHECK(Address::parse("192.0.2.1", 25)->same_host(*Address::parse("::ffff:192.0.2.1", 2525)));
    CHECK(Address::parse("192.0.2.1", 25) != Address::parse("192.0.2.1", 26));
    CHECK(Address::of_ipv6(Address::parse("::1", 0)->bytes, 1).text() == "[::1]:1");
  }
}
