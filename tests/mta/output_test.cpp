#include "mta/output.h"

#include <doctest/doctest.h>

using namespace waypost;
using namespace waypost::mta;

TEST_SUITE("mta/output") {
  TEST_CASE("ages, sizes and numbers for people") {
    using std::chrono::seconds;
    CHECK(age_text(seconds(-5)) == "0s");
    CHECK(age_text(seconds(45)) == "45s");
    CHECK(age_text(seconds(60)) == "1m");
    CHECK(age_text(seconds(3600)) == "1h");
    CHECK(age_text(seconds(3 * 3600 + 12 * 60)) == "3h12m");
    CHECK(age_text(seconds(12 * 86400 + 4 * 3600)) == "12d4h");
    CHECK(octets_text(0) == "0 B");
    CHECK(octets_text(999) == "999 B");
    CHECK(octets_text(1000) == "1.0 KB");
    CHECK(octets_text(5120) == "5.1 KB");
    CHECK(octets_text(9960) == "10 KB");
    CHECK(octets_text(999'600) == "1.0 MB");
    CHECK(octets_text(212'000'000) == "212 MB");
    CHECK(octets_text(UINT64_MAX) == "18447 PB");
    CHECK(grouped(0) == "0");
    CHECK(grouped(999) == "999");
    CHECK(grouped(1204881) == "1 204 881");
    CHECK(counted(1, "message", "messages") == "1 message");
    CHECK(counted(1000, "message", "messages") == "1 000 messages");
  }

  TEST_CASE("times of the JSON, and what --since takes") {
    const net::WallTime now{std::chrono::seconds(1795341600)};
    CHECK(utc_seconds(now) == "2026-11-22T10:00:00Z");
    CHECK(time_of_json("2026-11-22T10:00:00.250Z") == now);
    CHECK(!time_of_json("now"));
    CHECK(!time_of_json(""));
    CHECK(*parse_when("2h", now) == now - std::chrono::hours(2));
    CHECK(*parse_when("2026-11-22T10:00:00Z", now) == now);
    CHECK(*parse_when("2026-11-22 10:00Z", now) == now);
    CHECK(*parse_when(local_time(now), now) == now);
    CHECK(local_time(*parse_when("2026-11-21", now)) == "2026-11-21 00:00:00");
    CHECK(utc_seconds(*parse_when("9999-12-31T23:59:59Z", now)) == "9999-12-31T23:59:59Z");
    CHECK(!utc_seconds(net::WallTime::max()).empty());
    for (const char* bad : {"", "yesterday", "2", "2026", "2026-13-01", "2026-11-22 10:00 x", "-2h"}) {
      CAPTURE(bad);
      CHECK(!parse_when(bad, now));
    }
  }

  TEST_CASE("times to come: the next time that it is so late, or a moment") {
    const net::WallTime now = *parse_when("2026-11-22 10:00", net::WallTime());
    const std::pair<const char*, const char*> table[] = {
        {"10:01", "2026-11-22 10:01:00"},
        {"23:59", "2026-11-22 23:59:00"},
        {"10:00", "2026-11-23 10:00:00"},
        {"08:00", "2026-11-23 08:00:00"},
        {"2026-11-28 08:00", "2026-11-28 08:00:00"},
        {"2026-11-23", "2026-11-23 00:00:00"},
    };
    for (const auto& [text, want] : table) {
      const Result<net::WallTime> until = parse_until(text, now);
      REQUIRE(until);
      CHECK(local_time(*until) == want);
    }
    CHECK(local_time(*parse_until("00:30", *parse_when("2026-12-31 23:00", now))) == "2027-01-01 00:30:00");
    for (const char* bad : {"", "2h", "24:61", "8", "2026-11-22 10:00", "2025-01-01", "tomorrow", "08:00 x"}) {
      CAPTURE(bad);
      CHECK(!parse_until(bad, now));
    }
    CHECK(*parse_seconds("90s") == std::chrono::seconds(90));
    for (const char* bad : {"0s", "999ms", "soon", ""}) CHECK(!parse_seconds(bad));
  }

  TEST_CASE("columns are as wide as their widest cell, counted in characters") {
    Table table;
    table.add({"a", "bb", "c"});
    table.add({"a\xc3\xa9\xc3\xa9", "b", ""});
    table.add({"x"});
    CHECK(table.text("  ") == "  a    bb  c\n  a\xc3\xa9\xc3\xa9  b\n  x\n");
  }

  TEST_CASE("peer text cannot move the cursor") {
    CHECK(shown_lines("a\tb\r\n\x1b[2Jc\nd") == "a\tb\n\\x1b[2Jc\nd\n");
    CHECK(shown_lines("") == "");
    CHECK(shown_lines("\r\n\r\n") == "\n\n");
  }
}
