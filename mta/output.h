// mta/output.h: what the tool prints for people: local times, sizes, ages, aligned columns. No colour. Pure but for the
// zone of the machine.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/clock.h"

namespace waypost::mta {

/// "2026-11-22 09:14:02", in the zone of this machine.
std::string local_time(net::WallTime time);
/// Of "2026-11-22T09:14:02.250Z", as the JSON has it.
std::optional<net::WallTime> time_of_json(const std::string& text);
/// `2h` (ago), `2026-11-22`, `2026-11-22 09:14`, `2026-11-22T09:14:02` (local), `...Z` (UTC). Errors: invalid.
Result<net::WallTime> parse_when(const std::string& text, net::WallTime now);
/// As conf::parse_duration(), whole seconds. Errors: invalid, less than one too.
Result<std::chrono::seconds> parse_seconds(const std::string& text);
/// The next such moment: `08:00`, or as parse_when() takes a time. Errors: invalid, one that is over too.
Result<net::WallTime> parse_until(const std::string& text, net::WallTime now);
/// "2026-11-22T09:14:02Z".
std::string utc_seconds(net::WallTime time);

/// "45s", "3h12m", "12d4h".
std::string age_text(std::chrono::seconds age);
/// "512 B", "5.1 KB", "212 MB": powers of 1000, as disks are sold.
std::string octets_text(std::uint64_t octets);
/// From now on octets_text() is exact: "223 872 B". Before the first thread begins.
void show_exact_octets();
/// "1 message", "1 204 881 messages".
std::string counted(std::uint64_t count, std::string_view singular, std::string_view plural);
/// "1 204 881".
std::string grouped(std::uint64_t number);

/// Peer text of several lines, fit for a terminal: each line escaped, tabs kept.
std::string shown_lines(std::string_view text);

/// Rows of cells in columns that are as wide as their widest cell; the last one is as long as it is.
class Table {
 public:
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  std::string text(std::string_view indent = "") const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace waypost::mta
