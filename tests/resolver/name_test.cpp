#include "resolver/name.h"

#include <doctest/doctest.h>

namespace waypost::resolver {

TEST_SUITE("resolver/name") {
  TEST_CASE("lower case, without the trailing dot") {
    CHECK(canonical("MX.A.Example.") == "mx.a.example");
    CHECK(canonical("mx") == "mx");
    CHECK(canonical(".") == "");
    CHECK(canonical("") == "");
  }

  TEST_CASE("names of addresses [RFC 1035 3.5, RFC 3596 2.5, RFC 5782 2]") {
    CHECK(reverse_name(*net::Address::parse("192.0.2.1", 25)) == "1.2.0.192.in-addr.arpa");
    CHECK(reversed(*net::Address::parse("198.51.100.7", 25)) == "7.100.51.198");
    CHECK(reverse_name(*net::Address::parse("2001:db8::567:89ab", 25)) ==
          "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
  }

  TEST_CASE("what the DNS can hold [RFC 1035 2.3.4]") {
    std::string label(63, 'x');
    std::string longest = label + '.' + label + '.' + label + '.' + std::string(61, 'x');
    struct {
      std::string name;
      bool want;
    } cases[] = {{"a.example", true},
                 {"a.example.", true},
                 {"localhost", true},
                 {"_dmarc.a.example", true},
                 {"a_b.example", true},
                 {"xn--p1ai", true},
                 {longest, true},
                 {longest + '.', true},
                 {longest + 'x', false},
                 {label + 'x', false},
                 {"", false},
                 {".", false},
                 {"a..example", false},
                 {".a.example", false},
                 {"a.example..", false},
                 {"a b.example", false},
                 {"a\\.example", false},
                 {"\xc3\xa4.example", false},
                 {std::string("a\0b", 3), false},
                 {"a\nb", false}};
    for (const auto& one : cases) {
      CAPTURE(one.name);
      CHECK(fits_dns(one.name) == one.want);
    }
  }
}

}  // namespace waypost::resolver
