#include "base/base64.h"

#include <doctest/doctest.h>

namespace waypost {
namespace {

using namespace std::string_view_literals;

TEST_SUITE("base/base64") {
  TEST_CASE("both ways [RFC 4648 10]") {
    struct {
      std::string_view octets;
      std::string_view text;
    } const table[] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\0\0\0"sv, "AAAA"},
        {"\xff\xff\xff", "////"},
        {"\xfb\xef\xbe", "++++"},
        {"\0"sv, "AA=="},
        {"\xff", "/w=="},
        {"\xff\xff", "//8="},
    };
    for (const auto& [octets, text] : table) {
      CAPTURE(text);
      CHECK(base64_encode(octets) == text);
      CHECK(base64_decode(text) == std::string(octets));
    }
  }

  TEST_CASE("what is not strict base64 is refused") {
    for (std::string_view text :
         {"="sv,    "A"sv,     "AA"sv,     "AAA"sv,      "A==="sv,       "===="sv, "AA=A"sv, "=AAA"sv,
          "A=AA"sv, "AAAAA"sv, "AAAA="sv,  "AA==AAAA"sv, "AAA=AAAA"sv,   "AB=="sv, "AAB="sv, "AA-_"sv,
          " AAA"sv, "AAA "sv,  "AA\r\n"sv, "AA\0="sv,    "A\xff\xff="sv, "AA*="sv}) {
      CAPTURE(text);
      CHECK_FALSE(base64_decode(text).has_value());
    }
  }

  TEST_CASE("every length comes back") {
    std::string octets;
    for (int i = 0; i < 300; ++i) {
      CHECK(base64_decode(base64_encode(octets)) == octets);
      octets += static_cast<char>(i * 37);
    }
  }
}

}  // namespace
}  // namespace waypost
