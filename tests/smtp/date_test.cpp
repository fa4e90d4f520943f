#include "smtp/date.h"

#include <cstdint>

#include <doctest/doctest.h>

using namespace waypost::smtp;
using std::chrono::milliseconds;
using std::chrono::minutes;

TEST_SUITE("smtp/date") {
  TEST_CASE("dates in mail [RFC 5322 3.3] and in logs [RFC 3339]") {
    struct {
      std::int64_t at;
      int offset;
      std::string_view mail, iso;
    } cases[] = {
        {0, 0, "Thu, 01 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00.000Z"},
        {-1, 0, "Wed, 31 Dec 1969 23:59:59 +0000", "1969-12-31T23:59:59.999Z"},
        {1787209503250, 120, "Thu, 20 Aug 2026 09:05:03 +0200", "2026-08-20T09:05:03.250+02:00"},
        {1787209503250, -570, "Wed, 19 Aug 2026 21:35:03 -0930", "2026-08-19T21:35:03.250-09:30"},
        {1709164800000, 0, "Thu, 29 Feb 2024 00:00:00 +0000", "2024-02-29T00:00:00.000Z"},
        {1767225599999, 0, "Wed, 31 Dec 2025 23:59:59 +0000", "2025-12-31T23:59:59.999Z"},
        {1767225599999, 345, "Thu, 01 Jan 2026 05:44:59 +0545", "2026-01-01T05:44:59.999+05:45"},
        {253402300799000, 0, "Fri, 31 Dec 9999 23:59:59 +0000", "9999-12-31T23:59:59.000Z"},
        {253402300799000, 60, "Fri, 31 Dec 9999 23:59:59 +0100", "9999-12-31T23:59:59.999+01:00"},
        {INT64_MAX, 840, "Fri, 31 Dec 9999 23:59:59 +1400", "9999-12-31T23:59:59.999+14:00"},
        {INT64_MIN, -60, "Sat, 01 Jan 0000 00:00:00 -0100", "0000-01-01T00:00:00.000-01:00"},
    };
    for (const auto& c : cases) {
      Time at{milliseconds(c.at)};
      CHECK(rfc5322_date(at, minutes(c.offset)) == c.mail);
      CHECK(iso8601(at, minutes(c.offset)) == c.iso);
    }
  }
}
