#include "base/escape.h"

#include <doctest/doctest.h>

using namespace waypost;

TEST_SUITE("base/escape") {
  TEST_CASE("plain text and UTF-8 stay as they are") {
    CHECK(escape("550 5.1.1 <a@b>: \"no\" such user") == "550 5.1.1 <a@b>: \"no\" such user");
    CHECK(escape("Grüße, 世界, 🙂") == "Grüße, 世界, 🙂");
    CHECK(escape("").empty());
  }

  TEST_CASE("what would make another line, move a cursor or hide text is spelt out") {
    struct {
      std::string_view text, want;
    } cases[] = {
        {"a\r\nb", "a\\r\\nb"},
        {"a\tb", "a\\tb"},
        {std::string_view("a\0b", 3), "a\\x00b"},
        {"\x1b[2J", "\\x1b[2J"},
        {"\x7f", "\\x7f"},
        {"C:\\n", "C:\\\\n"},
        {"\xC2\x85", "\\u0085"},              // NEL, a C1 control
        {"\xE2\x80\xAE", "\\u202e"},          // right-to-left override
        {"\xE2\x81\xA6", "\\u2066"},          // left-to-right isolate
        {"\xE2\x80\xA8", "\\u2028"},          // line separator
        {"\xEF\xBB\xBF", "\\ufeff"},          // byte order mark
        {"\xF3\xA0\x81\x81", "\\U000e0041"},  // tag letter
    };
    for (const auto& c : cases) CHECK(escape(c.text) == c.want);
  }

  TEST_CASE("octets that are no UTF-8 are spelt out one by one [RFC 3629]") {
    struct {
      std::string_view text, want;
    } cases[] = {
        {"\xFF", "\\xff"},
        {"a\x80z", "a\\x80z"},
        {"\xC0\xAF", "\\xc0\\xaf"},                    // overlong
        {"\xE0\x80\xAF", "\\xe0\\x80\\xaf"},           // overlong
        {"\xF0\x80\x80\xAF", "\\xf0\\x80\\x80\\xaf"},  // overlong
        {"\xED\xA0\x80", "\\xed\\xa0\\x80"},           // surrogate
        {"\xF4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},  // over U+10FFFF
        {"\xC3", "\\xc3"},                             // cut off
        {"\xE4\xB8", "\\xe4\\xb8"},
        {"\xF0\x9F\x99", "\\xf0\\x9f\\x99"},
    };
    for (const auto& c : cases) {
      CHECK(escape(c.text) == c.want);
      CHECK_FALSE(is_utf8(c.text));
    }
    CHECK(is_utf8("a\xC3\xA9\xE4\xB8\x96\xF0\x9F\x99\x82"));
    CHECK(has_c1("a\xC2\x98"));
    CHECK(has_c1("\xC2\x80z"));
    CHECK_FALSE(has_c1("\xC2\xA0\xC3\x98\xE2\x82\x98"));
    CHECK(utf8_character("\xF4\x8F\xBF\xBF") == 4);
    CHECK(utf8_character("") == 0);
  }

  TEST_CASE("long text is cut with dots, between characters and between escapes") {
    CHECK(escape("abcdef", 6) == "abcdef");
    CHECK(escape("abcdefg", 6) == "abc...");
    CHECK(escape("ab\r\n\r\n", 6) == "ab...");
    CHECK(escape("a\xC3\xA9\xC3\xA9\xC3\xA9", 6) == "a\xC3\xA9...");
    CHECK(escape("abc", 2) == "..");
    CHECK(escape("abc", 0).empty());
    for (std::size_t max = 0; max < 40; ++max) CHECK(escape(std::string(50, '\n'), max).size() <= max);
    CHECK(escape(std::string(5000, 'x')).size() == 1000);
  }

  TEST_CASE("every octet alone gives printable text") {
    for (int octet = 0; octet < 256; ++octet) {
      char c = static_cast<char>(octet);
      for (char out : escape(std::string_view(&c, 1))) CHECK((out >= ' ' && out < 0x7F));
    }
  }
}
