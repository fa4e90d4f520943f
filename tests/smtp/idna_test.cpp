#include "smtp/idna.h"

#include <string>

#include <doctest/doctest.h>

namespace waypost::smtp {

TEST_SUITE("smtp/idna") {
  TEST_CASE("names in the form of the DNS [RFC 5891 5]") {
    struct {
      const char* given;
      const char* want;  // "": none
    } const table[] = {
        {"", ""},
        {"a.example", "a.example"},
        {"A_B.Example", "A_B.Example"},
        {"[192.0.2.1]", "[192.0.2.1]"},
        {"b\xc3\xbc"
         "cher.example",
         "xn--bcher-kva.example"},
        {"B\xc3\x9c"
         "CHER.Example",
         "xn--bcher-kva.example"},
        {"bu\xcc\x88"
         "cher.example",
         "xn--bcher-kva.example"},
        {"fa\xc3\x9f.example", "xn--fa-hia.example"},
        {"\xe4\xbe\x8b\xe3\x81\x88.example", "xn--r8jz45g.example"},
        {"\xe2\x80\x8b.example", nullptr},
        {"\xff.example", nullptr},
        {"-\xc3\xbc.example", nullptr},
        {"\xc3\xbc..example", nullptr},
    };
    for (const auto& row : table) {
      CAPTURE(row.given);
      const Result<std::string> domain = ascii_domain(row.given);
      CHECK(domain.has_value() == (row.want != nullptr));
      if (domain && row.want != nullptr) CHECK(*domain == row.want);
    }
    CHECK_FALSE(ascii_domain(std::string(300, 'x') + "\xc3\xbc"));
    CHECK_FALSE(ascii_domain("\xc3\xbc" + std::string(70, 'x') + ".example"));
  }
}

}  // namespace waypost::smtp
