#include "smtp/path.h"

#include <doctest/doctest.h>

using namespace waypost;
using namespace waypost::smtp;

TEST_SUITE("smtp/path") {
  TEST_CASE("a path is taken off the front, and the rest left [RFC 5321 4.1.2]") {
    struct {
      std::string_view text, path, rest;
    } cases[] = {
        {"<a@b.example>", "<a@b.example>", ""},
        {"<a@b.example> SIZE=1", "<a@b.example>", " SIZE=1"},
        {"   <a@b>", "<a@b>", ""},
        {"<a@b>SIZE=1", "<a@b>", "SIZE=1"},
        {"<>", "<>", ""},
        {"<> BODY=7BIT", "<>", " BODY=7BIT"},
        {"<\"a>b\"@c> x", "<\"a>b\"@c>", " x"},
        {"<\"a\\\">b\"@c>", "<\"a\\\">b\"@c>", ""},
        {"<@one,@two.example:user@three.example>", "<user@three.example>", ""},
        {"<@one:\"a:b\"@three>", "<\"a:b\"@three>", ""},
        {"<@one:a@[IPv6:::1]>", "<a@[IPv6:::1]>", ""},
        {"<Postmaster>", "<Postmaster>", ""},
        {"<\"postmaster\">", "<postmaster>", ""},
    };
    for (const auto& c : cases) {
      CAPTURE(c.text);
      std::string_view text = c.text;
      Result<Path> path = take_path(text, {.null = true});
      REQUIRE(path);
      CHECK(path->bracketed() == c.path);
      CHECK(text == c.rest);
    }
  }

  TEST_CASE("what is no path is refused, and nothing taken") {
    for (std::string_view text :
         {"",       "a@b",     "<a@b",           "<",           "a@b>",    "<a>",        "<a@>",
          "<@b>",   "<@one:>", "<@one,two:a@b>", "<@one,:a@b>", "<@:a@b>", "<@one a@b>", "<@[1.2.3.4]:a@b>",
          "< a@b>", "<a@b >",  "<<a@b>>",        "<\"a@b>",     "<\"\">",  "<\"\"@>",    "<a@b\r\n>"}) {
      CAPTURE(text);
      std::string_view rest = text;
      CHECK_FALSE(take_path(rest, {.null = true}));
      CHECK(rest == text);
    }
  }

  TEST_CASE("the null path only where it is admitted") {
    std::string_view text = "<>";
    CHECK_FALSE(take_path(text, {}));
    Result<Path> path = take_path(text, {.null = true});
    REQUIRE(path);
    CHECK(path->is_null());
    CHECK(path->text().empty());
    CHECK(path->bracketed() == "<>");
  }

  TEST_CASE("without angle brackets where the rules say so: old devices") {
    std::string_view text = " a@b.example SIZE=1";
    CHECK_FALSE(take_path(text, {}));
    Result<Path> path = take_path(text, {.bare = true});
    REQUIRE(path);
    CHECK(path->text() == "a@b.example");
    CHECK(text == " SIZE=1");
    text = "\"a b\"@c x";
    path = take_path(text, {.bare = true});
    REQUIRE(path);
    CHECK(path->text() == "\"a b\"@c");
    text = "";
    CHECK_FALSE(take_path(text, {.bare = true, .null = true}));
    text = "a@b>";
    CHECK_FALSE(take_path(text, {.bare = true}));
  }

  TEST_CASE("a local part alone where the rules say so") {
    std::string_view text = "<root>";
    CHECK_FALSE(take_path(text, {}));
    Result<Path> path = take_path(text, {.without_domain = true});
    REQUIRE(path);
    CHECK(path->mailbox == Mailbox{"root", ""});
    text = "<\"\">";
    CHECK_FALSE(take_path(text, {.null = true, .without_domain = true}));
  }
}
