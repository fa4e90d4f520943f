#include "mta/output.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <iomanip>
#include <sstream>

#include "base/escape.h"
#include "base/text.h"
#include "conf/units.h"
#include "smtp/date.h"

namespace waypost::mta {
namespace {

// Not by system_clock's own conversions: their nanoseconds end in 2262, and a time may come from a damaged row.
net::WallTime from_seconds(std::time_t seconds) {
  return net::WallTime(std::chrono::seconds(seconds));
}
std::time_t to_seconds(net::WallTime time) {
  return std::chrono::floor<std::chrono::seconds>(time.time_since_epoch()).count();
}

std::string formatted(const std::tm& parts, const char* format) {
  std::ostringstream out;
  out << std::put_time(&parts, format);
  return out.str();
}

/// Columns on a terminal, near enough: characters, not octets.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

std::string local_time(net::WallTime time) {
  const std::time_t seconds = to_seconds(time);
  std::tm parts{};
  localtime_r(&seconds, &parts);
  return formatted(parts, "%Y-%m-%d %H:%M:%S");
}

std::string utc_seconds(net::WallTime time) {
  const std::time_t seconds = to_seconds(time);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return formatted(parts, "%Y-%m-%dT%H:%M:%SZ");
}

std::optional<net::WallTime> time_of_json(const std::string& text) {
  std::tm parts{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return std::nullopt;
  return from_seconds(timegm(&parts));
}

Result<net::WallTime> parse_when(const std::string& text, net::WallTime now) {
  const Result<std::chrono::milliseconds> ago = conf::parse_duration(text);
  if (ago) return now - std::chrono::duration_cast<net::WallTime::duration>(*ago);
  for (const char* format :
       {"%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"}) {
    std::tm parts{};
    const char* rest = strptime(text.c_str(), format, &parts);
    if (rest == nullptr) continue;
    if (std::string_view(rest) == "Z") return from_seconds(timegm(&parts));
    parts.tm_isdst = -1;
    if (*rest == '\0') return from_seconds(mktime(&parts));
  }
  return fail(Errc::invalid,
              "\"" + escape(text, 60) + "\" is neither a duration such as 2h nor a time such as 2026-11-22 09:14");
}

Result<std::chrono::seconds> parse_seconds(const std::string& text) {
  const Result<std::chrono::milliseconds> time = conf::parse_duration(text);
  if (!time) return fail(time.error());
  if (*time < std::chrono::seconds(1)) return fail(Errc::invalid, "at least 1s");
  return std::chrono::duration_cast<std::chrono::seconds>(*time);
}

Result<net::WallTime> parse_until(const std::string& text, net::WallTime now) {
  std::tm parts{};
  const char* rest = strptime(text.c_str(), "%H:%M", &parts);
  if (rest != nullptr && *rest == '\0') {
    const int hour = parts.tm_hour, minute = parts.tm_min;
    const std::time_t today = to_seconds(now);
    localtime_r(&today, &parts);
    parts.tm_hour = hour;
    parts.tm_min = minute;
    parts.tm_sec = 0;
    const auto moment = [&parts] {
      std::tm filled = parts;  // which mktime() changes
      filled.tm_isdst = -1;
      return from_seconds(mktime(&filled));
    };
    if (moment() <= now) ++parts.tm_mday;
    return moment();
  }
  const bool is_age = conf::parse_duration(text).has_value();
  const Result<net::WallTime> time = parse_when(text, now);
  if (is_age || !time)
    return fail(Errc::invalid, "\"" + escape(text, 60) + "\" is no time such as 08:00 or 2026-11-22 09:14");
  if (*time <= now) return fail(Errc::invalid, "\"" + escape(text, 60) + "\" is over");
  return time;
}

std::string age_text(std::chrono::seconds age) {
  const auto seconds = std::max<std::int64_t>(age.count(), 0);
  if (seconds < 60) return std::to_string(seconds) + "s";
  if (seconds < 3600) return std::to_string(seconds / 60) + "m";
  const auto pair = [](std::int64_t large, const char* unit, std::int64_t small, const char* small_unit) {
    return std::to_string(large) + unit + (small == 0 ? "" : std::to_string(small) + small_unit);
  };
  if (seconds < 86400) return pair(seconds / 3600, "h", seconds % 3600 / 60, "m");
  return pair(seconds / 86400, "d", seconds % 86400 / 3600, "h");
}

namespace {
bool exact_octets = false;
}

void show_exact_octets() {
  exact_octets = true;
}

std::string octets_text(std::uint64_t octets) {
  if (exact_octets) return grouped(octets) + " B";
  constexpr const char* kUnits[] = {"KB", "MB", "GB", "TB", "PB"};
  if (octets < 1000) return std::to_string(octets) + " B";
  double value = static_cast<double>(octets) / 1000;
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  char text[40];
  std::snprintf(text, sizeof text, value < 9.95 ? "%.1f %s" : "%.0f %s", value, kUnits[unit]);
  return text;
}

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, " ");
  return text;
}

std::string counted(std::uint64_t count, std::string_view singular, std::string_view plural) {
  return grouped(count) + " " + std::string(count == 1 ? singular : plural);
}

std::string shown_lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    bool first = true;
    for (const std::string_view part : split(line, '\t')) {
      if (!first) out += '\t';
      first = false;
      out += escape(part, SIZE_MAX);
    }
    out += '\n';
  }
  return out;
}

std::string Table::text(std::string_view indent) const {
  std::vector<std::size_t> widths;
  for (const std::vector<std::string>& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i + 1 < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string out;
  for (const std::vector<std::string>& row : rows_) {
    std::string line(indent);
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line += std::string(widths[i] - width(row[i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

}  // namespace waypost::mta
