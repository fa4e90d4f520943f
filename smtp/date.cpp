#include "smtp/date.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/compile.h>

namespace waypost::smtp {
namespace {

struct Civil {
  int year = 0;
  unsigned month = 0, day = 0, weekday = 0;
  int hour = 0, minute = 0, second = 0, millisecond = 0;
};

// The years of four digits, 0000 to 9999: what is beyond, as a damaged row may hold it, is written as the nearest.
constexpr Time kFirst{std::chrono::milliseconds(-62'167'219'200'000)};
constexpr Time kLast{std::chrono::milliseconds(253'402'300'799'999)};

Civil civil(Time at, std::chrono::minutes utc_offset) {
  Time local = std::clamp(std::clamp(at, kFirst, kLast) + utc_offset, kFirst, kLast);
  auto midnight = std::chrono::floor<std::chrono::days>(local);
  std::chrono::year_month_day date(midnight);
  std::chrono::hh_mm_ss time(local - midnight);
  Civil out;
  out.year = static_cast<int>(date.year());
  out.month = static_cast<unsigned>(date.month());
  out.day = static_cast<unsigned>(date.day());
  out.weekday = std::chrono::weekday(midnight).c_encoding();
  out.hour = static_cast<int>(time.hours().count());
  out.minute = static_cast<int>(time.minutes().count());
  out.second = static_cast<int>(time.seconds().count());
  out.millisecond = static_cast<int>(time.subseconds().count());
  return out;
}

/// `+0200`, or with a colon.
std::string zone(std::chrono::minutes utc_offset, std::string_view between) {
  long minutes = static_cast<long>(utc_offset.count());
  char sign = minutes < 0 ? '-' : '+';
  minutes = minutes < 0 ? -minutes : minutes;
  return fmt::format(FMT_COMPILE("{}{:02}{}{:02}"), sign, minutes / 60 % 100, between, minutes % 60);
}

}  // namespace

std::string rfc5322_date(Time at, std::chrono::minutes utc_offset) {
  static constexpr std::array<const char*, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  Civil t = civil(at, utc_offset);
  return fmt::format(FMT_COMPILE("{}, {:02} {} {:04} {:02}:{:02}:{:02} {}"), kDays[t.weekday], t.day,
                     kMonths[t.month - 1], t.year, t.hour, t.minute, t.second, zone(utc_offset, ""));
}

std::string iso8601(Time at, std::chrono::minutes utc_offset) {
  Civil t = civil(at, utc_offset);
  return fmt::format(FMT_COMPILE("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}{}"), t.year, t.month, t.day, t.hour,
                     t.minute, t.second, t.millisecond, utc_offset.count() == 0 ? "Z" : zone(utc_offset, ":"));
}

}  // namespace waypost::smtp
