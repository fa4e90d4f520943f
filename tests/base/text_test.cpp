#include "base/text.h"

#include <doctest/doctest.h>

using namespace waypost;

TEST_SUITE("base/text") {
  TEST_CASE("case is folded for ASCII letters alone") {
    CHECK(to_lower("AbZ@[`{\xC4") == "abz@[`{\xC4");
    CHECK(to_upper("aBz@[`{\xE4") == "ABZ@[`{\xE4");
    CHECK(equals_no_case("PipeLining", "PIPELINING"));
    CHECK_FALSE(equals_no_case("a", "ab"));
    CHECK_FALSE(equals_no_case("@", "`"));
    CHECK(starts_with_no_case("From:<>", "FROM:"));
    CHECK_FALSE(starts_with_no_case("FRO", "FROM:"));
    CHECK(ends_with_no_case("mx.Example", ".EXAMPLE"));
    CHECK_FALSE(ends_with_no_case("e", "ee"));
  }

  TEST_CASE("spaces and tabs are trimmed, nothing else") {
    CHECK(trim(" \t a b\t ") == "a b");
    CHECK(trim(" \t ").empty());
    CHECK(trim("\r\na\n") == "\r\na\n");
    CHECK(trim_front("  a ") == "a ");
    CHECK(trim_back(" a  ") == " a");
  }

  TEST_CASE("split gives empty parts, too") {
    CHECK(split("a,,b", ',') == std::vector<std::string_view>{"a", "", "b"});
    CHECK(split("", ',') == std::vector<std::string_view>{""});
    CHECK(split(",", ',') == std::vector<std::string_view>{"", ""});
    CHECK(split_once("SIZE=1=2", '=') == std::pair<std::string_view, std::string_view>("SIZE", "1=2"));
    CHECK(split_once("SIZE", '=') == std::pair<std::string_view, std::string_view>("SIZE", ""));
  }

  TEST_CASE("words are taken one after the other") {
    std::string_view text = " \tMAIL  FROM:<> ";
    CHECK(take_word(text) == "MAIL");
    CHECK(take_word(text) == "FROM:<>");
    CHECK(take_word(text).empty());
    CHECK(text.empty());
  }

  TEST_CASE("decimal numbers: digits that fit, or none") {
    CHECK(parse_decimal("0") == 0u);
    CHECK(parse_decimal("0012") == 12u);
    CHECK(parse_decimal("18446744073709551615") == UINT64_MAX);
    for (std::string_view bad :
         {"", "-1", "+1", " 1", "1 ", "0x1", "1e3", "18446744073709551616", "99999999999999999999"})
      CHECK_FALSE(parse_decimal(bad));
  }
}
