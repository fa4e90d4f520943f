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
