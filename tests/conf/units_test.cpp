#include "conf/units.h"

#include <chrono>
#include <cstdint>
#include <string>

#include <doctest/doctest.h>

using namespace waypost;
using namespace waypost::conf;
using namespace std::chrono_literals;

TEST_SUITE("conf/units") {
  TEST_CASE("a duration is a whole number and one unit") {
    struct Row {
      std::string text;
      std::chrono::milliseconds want;
    };
    const Row rows[] = {{"0s", 0ms}, {"250ms", 250ms}, {"90s", 90s},        {"5m", 5min},
                        {"4h", 4h},  {"5d", 120h},     {"36500d", 876000h}, {"007s", 7s}};
    for (const Row& row : rows) {
      CAPTURE(row.text);
      Result<std::chrono::milliseconds> got = parse_duration(row.text);
      REQUIRE(got);
      CHECK(*got == row.want);
    }
  }

  TEST_CASE("what is no duration says how one is written") {
    const std::string rows[] = {"",
                                "5",
                                "m",
                                "-5m",
                                "+5m",
                                "5 m",
                                " 5m",
                                "5m ",
                                "1.5h",
                                "1h30m",
                                "5min",
                                "5M",
                                "5S",
                                "5w",
                                "0x5s",
                                "5,5s",
                                "five",
                                "36601d",
                                "99999999999999999999s"};
    for (const std::string& row : rows) {
      CAPTURE(row);
      Result<std::chrono::milliseconds> got = parse_duration(row);
      REQUIRE_FALSE(got);
      CHECK(got.error().code == Errc::invalid);
      CHECK(got.error().what.find("\"" + row + "\"") == 0);
    }
  }

  TEST_CASE("a size is a number of octets, or of units of 1024 or 1000") {
    struct Row {
      std::string text;
      std::uint64_t want;
    };
    const Row rows[] = {{"0", 0},
                        {"65536", 65536},
                        {"1KiB", 1024},
                        {"64KiB", 65536},
                        {"50MiB", 52428800},
                        {"1GiB", 1073741824},
                        {"5KB", 5000},
                        {"5kB", 5000},
                        {"5MB", 5000000},
                        {"2GB", 2000000000},
                        {"9223372036854775807", 9223372036854775807ULL}};
    for (const Row& row : rows) {
      CAPTURE(row.text);
      Result<std::uint64_t> got = parse_size(row.text);
      REQUIRE(got);
      CHECK(*got == row.want);
    }
  }

  TEST_CASE("what is no size says how one is written") {
    const std::string rows[] = {
        "", "KiB", "-1", "5M", "5K", "5 MB", "5mb", "1.5MiB", "5MiBs", "9223372036854775808", "8589934592GiB"};
    for (const std::string& row : rows) {
      CAPTURE(row);
      Result<std::uint64_t> got = parse_size(row);
      REQUIRE_FALSE(got);
      CHECK(got.error().code == Errc::invalid);
      CHECK(got.error().what.find("\"" + row + "\"") == 0);
    }
  }

  TEST_CASE("the way back takes the largest unit that is exact") {
    CHECK(duration_text(0ms) == "0s");
    CHECK(duration_text(1500ms) == "1500ms");
    CHECK(duration_text(90s) == "90s");
    CHECK(duration_text(300s) == "5m");
    CHECK(duration_text(24h) == "1d");
    CHECK(size_text(0) == "0");
    CHECK(size_text(1000) == "1000");
    CHECK(size_text(65536) == "64KiB");
    CHECK(size_text(52428800) == "50MiB");
    CHECK(size_text(5000000) == "5000000");
  }
}
