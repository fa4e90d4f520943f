#include "queue/filter.h"

#include <doctest/doctest.h>

#include "queue/filter_sql.h"

using namespace waypost;
using namespace waypost::queue;

TEST_SUITE("queue/filter") {
  using Field = Term::Field;
  using Compare = Term::Compare;

  TEST_CASE("one term: field, comparison, value") {
    struct {
      const char* text;
      Field field;
      bool negated;
      Compare compare;
      const char* value;
      std::uint64_t number;
    } const table[] = {
        {"01JD8Q2M3XK7", Field::id, false, Compare::equal, "01JD8Q2M3XK7", 0},
        {"id:01jd8q2m3xk7", Field::id, false, Compare::equal, "01JD8Q2M3XK7", 0},
        {"-01JD8Q2M3XK7", Field::id, true, Compare::equal, "01JD8Q2M3XK7", 0},
        {"from:*@shop.example", Field::from, false, Compare::equal, "*@shop.example", 0},
        {"FROM:a@b", Field::from, false, Compare::equal, "a@b", 0},
        {"from:<>", Field::from, false, Compare::equal, "<>", 0},
        {"from:<a@b.example>", Field::from, false, Compare::equal, "a@b.example", 0},
        {"from:\"\"", Field::from, false, Compare::equal, "", 0},
        {"to:\"a b\"@c.example", Field::to, false, Compare::equal, "a b@c.example", 0},
        {"to:\"\\\"a b\\\"@c.example\"", Field::to, false, Compare::equal, "\"a b\"@c.example", 0},
        {"-to:@gmail.com", Field::to, true, Compare::equal, "@gmail.com", 0},
        {"dest:b.example", Field::destination, false, Compare::equal, "b.example", 0},
        {"destination:b.example", Field::destination, false, Compare::equal, "b.example", 0},
        {"age:>2h", Field::age, false, Compare::greater, "", 7200},
        {"age:>=90s", Field::age, false, Compare::greater_equal, "", 90},
        {"age:<5d", Field::age, false, Compare::less, "", 432000},
        {"size:>5MB", Field::size, false, Compare::greater, "", 5'000'000},
        {"size:<=64KiB", Field::size, false, Compare::less_equal, "", 65536},
        {"tries:3", Field::tries, false, Compare::equal, "", 3},
        {"tries:=3", Field::tries, false, Compare::equal, "", 3},
        {"tries:>=3", Field::tries, false, Compare::greater_equal, "", 3},
        {"error:\"421 4.7\"", Field::error, false, Compare::equal, "421 4.7", 0},
        {"error:421", Field::error, false, Compare::equal, "421", 0},
        {"state:Held", Field::state, false, Compare::equal, "held", 0},
        {"state:active", Field::state, false, Compare::equal, "active", 0},
        {"user:ann", Field::user, false, Compare::equal, "ann", 0},
        {"client:192.0.2.*", Field::client, false, Compare::equal, "192.0.2.*", 0},
        {"client:IPv6:2001:db8::1", Field::client, false, Compare::equal, "IPv6:2001:db8::1", 0},
    };
    for (const auto& row : table) {
      CAPTURE(row.text);
      Result<Filter> filter = parse_filter(row.text);
      REQUIRE_MESSAGE(filter, (filter ? std::string() : filter.error().what));
      REQUIRE(filter->terms.size() == 1);
      const Term& term = filter->terms[0];
      CHECK(term.field == row.field);
      CHECK(term.negated == row.negated);
      CHECK(term.compare == row.compare);
      CHECK(term.text == row.value);
      CHECK(term.number == row.number);
    }
  }

  TEST_CASE("several terms, and none") {
    CHECK(parse_filter("")->terms.empty());
    CHECK(parse_filter("  \t ")->terms.empty());
    CHECK(parse_filter("from:*@shop.example  to:@gmail.com age:>2h size:>5MB tries:>=3 error:\"421\" state:deferred")
              ->terms.size() == 7);
  }

  TEST_CASE("what is wrong is said") {
    struct {
      const char* text;
      const char* says;
    } const table[] = {
        {"hello", "no queue id"},       {"from:", "lacks a value"},    {"frm:a@b", "no field \"frm\""},
        {"id:xyz", "no queue id"},      {"age:2h", "needs > or <"},    {"age:>2", "unit"},
        {"size:5MB", "needs > or <"},   {"size:>x", "is not a size"},  {"tries:>=many", "not a number"},
        {"state:sleeping", "no state"}, {"error:\"421", "not closed"}, {"-", "no queue id"},
        {"tries:>=-1", "not a number"}, {":x", "no queue id"},         {"a:b:c", "no field"},
        {"to~x", "for error alone"},    {"error~(", "missing )"},      {"error~", "lacks a value"},
    };
    for (const auto& row : table) {
      CAPTURE(row.text);
      Result<Filter> filter = parse_filter(row.text);
      REQUIRE_FALSE(filter);
      CHECK(filter.error().code == Errc::invalid);
      CAPTURE(filter.error().what);
      CHECK(filter.error().what.find(row.says) != std::string::npos);
    }
  }

  TEST_CASE("a thousand ids are admitted, ten thousand patterns are not") {
    std::string ids, patterns;
    for (int i = 0; i < 1000; ++i) ids += "01JD8Q2M3XK7 ";
    for (int i = 0; i < 10000; ++i) patterns += "to:a@b ";
    CHECK(parse_filter(ids));
    CHECK_FALSE(parse_filter(patterns));
  }

  TEST_CASE("in words, for who is asked whether to go on") {
    struct {
      const char* text;
      const char* words;
    } const table[] = {
        {"", "all messages"},
        {"from:*@shop.example age:>2h", "messages from *@shop.example, older than 2h"},
        {"to:a@b to:c@d", "messages to a@b or to c@d"},
        {"-to:a@b from:<>", "messages from <>, not to a@b"},
        {"age:>1h age:<2h", "messages older than 1h, younger than 2h"},
        {"state:held tries:>=3", "messages with tries from 3, that are held"},
        {"01JD8Q2M3XK7", "messages 01JD8Q2M3XK7"},
    };
    for (const auto& row : table) {
      Result<Filter> filter = parse_filter(row.text);
      REQUIRE(filter);
      CHECK(in_words(*filter) == row.words);
    }
  }

  TEST_CASE("no word of a filter becomes part of a statement (C1)") {
    Result<Filter> filter = parse_filter("from:x');DROP(TABLE,message;-- error:\"' OR '1'='1\" user:%_\\\\");
    REQUIRE(filter);
    Conditions conditions = conditions_of(*filter, net::WallTime());
    std::string all = conditions.message + conditions.recipient;
    for (const char* word : {"DROP", "x'", "1'='1", "%_"}) CHECK(all.find(word) == std::string::npos);
    CHECK(conditions.values.size() == 3);
  }

  TEST_CASE("patterns") {
    CHECK(like_pattern("*@b.example") == "%@b.example");
    CHECK(like_pattern("@b.example") == "%@b.example");
    CHECK(like_pattern("a_b%c\\d") == "a\\_b\\%c\\\\d");
    CHECK(like_pattern("") == "");
  }
}
