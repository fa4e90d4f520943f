#include "conf/config.h"

#include <string>

#include <doctest/doctest.h>

#include "conf/values.h"

using namespace waypost;
using namespace waypost::conf;

namespace {

Network network(const std::string& text) {
  Result<Network> parsed = parse_network(text);
  REQUIRE(parsed);
  return *parsed;
}

}  // namespace

TEST_SUITE("conf/config") {
  TEST_CASE("a network contains its addresses and no other, of either family") {
    struct Row {
      std::string network, address;
      bool want;
    };
    const Row rows[] = {
        {"127.0.0.0/8", "127.0.0.1", true},
        {"127.0.0.0/8", "127.255.255.255", true},
        {"127.0.0.0/8", "128.0.0.1", false},
        {"192.0.2.0/25", "192.0.2.127", true},
        {"192.0.2.0/25", "192.0.2.128", false},
        {"192.0.2.7", "192.0.2.7", true},
        {"192.0.2.7", "192.0.2.8", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"::/0", "203.0.113.9", false},
        {"::1/128", "::1", true},
        {"::1/128", "0:0:0:0:0:0:0:1", true},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"192.0.2.0/24", "::ffff:192.0.2.5", true},
        {"::ffff:192.0.2.0/120", "192.0.2.5", true},
        {"192.0.2.0/24", "::ffff:192.0.3.5", false},
        {"192.0.2.0/24", "", false},
        {"192.0.2.0/24", "192.0.2", false},
        {"192.0.2.0/24", "192.0.2.1:25", false},
        {"192.0.2.0/24", "[192.0.2.1]", false},
        {"0.0.0.0/0", "localhost", false},
    };
    for (const Row& row : rows) {
      CAPTURE(row.network);
      CAPTURE(row.address);
      CHECK(network(row.network).contains(row.address) == row.want);
    }
  }

  TEST_CASE("a pattern covers a domain, all below one, or everything") {
    struct Row {
      std::string pattern, domain;
      bool want;
    };
    const Row rows[] = {
        {"a.example", "a.example", true},
        {"a.example", "A.Example", true},
        {"A.Example", "a.example", true},
        {"a.example", "b.a.example", false},
        {"a.example", "xa.example", false},
        {"*.example", "a.example", true},
        {"*.example", "b.a.example", true},
        {"*.example", "example", false},
        {"*.example", ".example", false},
        {"*.EXAMPLE", "a.example", true},
        {"*.a.example", "xa.example", false},
        {"*.a.example", "x.a.example", true},
        {"*", "a.example", true},
        {"*", "", true},
        {"a.example", "", false},
        {"*.example", "", false},
    };
    for (const Row& row : rows) {
      CAPTURE(row.pattern);
      CAPTURE(row.domain);
      CHECK(matches(row.pattern, row.domain) == row.want);
    }
  }

  TEST_CASE("a domain's block is found in any case") {
    Config config;
    config.domains.resize(2);
    config.domains[0].name = "a.example";
    config.domains[1].name = "b.example";
    CHECK(config.find_domain("B.Example") == &config.domains[1]);
    CHECK(config.find_domain("a.example") == &config.domains[0]);
    CHECK(config.find_domain("x.a.example") == nullptr);
    CHECK(config.find_domain("") == nullptr);
  }

  TEST_CASE("text forms are those of the file") {
    CHECK(HostPort{"192.0.2.1", 25}.text() == "192.0.2.1:25");
    CHECK(HostPort{"2001:db8::1", 25}.text() == "[2001:db8::1]:25");
    CHECK(HostPort{"mx.example", 0}.text() == "mx.example");
    CHECK(HostPort{"::1", 0}.text() == "[::1]");
    CHECK(network("10.0.0.0/8").text() == "10.0.0.0/8");
    CHECK(network("192.0.2.1").text() == "192.0.2.1/32");
    CHECK(network("2001:DB8:0::/32").text() == "2001:db8::/32");
    CHECK(network("::ffff:10.0.0.0/104").text() == "10.0.0.0/8");
  }
}
