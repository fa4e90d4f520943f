#include "smtp/xclient.h"

#include <string>

#include <doctest/doctest.h>

namespace waypost::smtp {

TEST_SUITE("smtp/xclient") {
  TEST_CASE("attributes in any order and case, written the same again") {
    struct {
      const char* given;
      const char* want;
    } const table[] = {
        {"NAME=mx.a.example ADDR=192.0.2.1", " NAME=mx.a.example ADDR=192.0.2.1"},
        {" addr=192.0.2.1  name=mx.a.example ", " NAME=mx.a.example ADDR=192.0.2.1"},
        {"ADDR=IPV6:2001:db8::1 PORT=40000", " ADDR=IPV6:2001:db8::1 PORT=40000"},
        {"ADDR=2001:db8::1", " ADDR=IPV6:2001:db8::1"},
        {"NAME=[UNAVAILABLE] ADDR=[TEMPUNAVAIL] LOGIN=[unavailable]",
         " NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] LOGIN=[UNAVAILABLE]"},
        {"PROTO=esmtp HELO=c.example", " PROTO=ESMTP HELO=c.example"},
        {"LOGIN=ann+20b@a.example", " LOGIN=ann+20b@a.example"},
        {"DESTADDR=203.0.113.25 DESTPORT=25", " DESTADDR=203.0.113.25 DESTPORT=25"},
        {"NAME=a NAME=b", " NAME=b"},
    };
    for (const auto& row : table) {
      CAPTURE(row.given);
      const auto parsed = parse_xclient(row.given);
      REQUIRE(parsed);
      CHECK(text(*parsed) == row.want);
      CHECK(*parse_xclient(text(*parsed)) == *parsed);
    }
    CHECK(parse_xclient("LOGIN=ann+20b")->login == "ann b");
    CHECK(parse_xclient("ADDR=IPV6:2001:db8::1")->address == "2001:db8::1");
    CHECK_FALSE(parse_xclient("ADDR=192.0.2.1")->name);
  }

  TEST_CASE("what is refused") {
    for (const char* given :
         {"", "  ", "NAME", "NAMES=x", "=x", "ADDR=x", "ADDR=192.0.2.256", "ADDR=[192.0.2.1]", "PORT=x", "PORT=65536",
          "PROTO=LMTP", "NAME=a+0Ab", "NAME=a+zz", "HELO=a+20b", "LOGIN=a+0D+0A", "ADDR=192.0.2.1 X=y"}) {
      CAPTURE(given);
      const auto parsed = parse_xclient(given);
      REQUIRE_FALSE(parsed);
      CHECK(parsed.error().code == 501);
      CHECK(parsed.error().enhanced->text() == "5.5.4");
    }
    CHECK_FALSE(parse_xclient("NAME=" + std::string(256, 'x')));
  }
}

}  // namespace waypost::smtp
