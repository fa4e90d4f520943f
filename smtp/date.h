// smtp/date.h: a point in time as mail and logs write it. Pure: time and UTC offset are arguments.
#pragma once
#include <chrono>
#include <string>

namespace waypost::smtp {

/// net::WallTime, and what std::chrono::system_clock::now() converts to by time_point_cast.
using Time = std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds>;

/// `Thu, 20 Aug 2026 09:05:03 +0200` (RFC 5322 §3.3), in the zone of that offset east of Greenwich. Of any time: one
/// before the year 0 or after 9999 is written as the nearest that is not.
std::string rfc5322_date(Time at, std::chrono::minutes utc_offset = std::chrono::minutes(0));

/// `2026-08-20T07:05:03.250Z`, `2026-08-20T09:05:03.250+02:00` (RFC 3339).
std::string iso8601(Time at, std::chrono::minutes utc_offset = std::chrono::minutes(0));

}  // namespace waypost::smtp
