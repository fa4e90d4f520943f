#include "conf/units.h"

#include <array>
#include <limits>
#include <optional>
#include <string_view>

#include "base/text.h"
#include "conf/values.h"

namespace waypost::conf {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::array<Unit, 5> kDurations{{{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1000}, {"ms", 1}}};
constexpr std::array<Unit, 8> kSizes{{{"GiB", 1ULL << 30},
                                      {"MiB", 1ULL << 20},
                                      {"KiB", 1ULL << 10},
                                      {"GB", 1'000'000'000},
                                      {"MB", 1'000'000},
                                      {"KB", 1000},
                                      {"kB", 1000},
                                      {"", 1}}};
constexpr std::uint64_t kLongest = 100ULL * 366 * 86'400'000;

struct Split {
  std::uint64_t number = 0;
  std::string_view unit;
};

std::optional<Split> number_and_unit(std::string_view text) {
  std::size_t digits = 0;
  while (digits < text.size() && is_digit(text[digits])) ++digits;
  std::optional<std::uint64_t> number = parse_decimal(text.substr(0, digits));
  if (!number) return std::nullopt;
  return Split{*number, text.substr(digits)};
}

template <std::size_t N>
std::optional<std::uint64_t> factor_of(const std::array<Unit, N>& units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return unit.factor;
  }
  return std::nullopt;
}

}  // namespace

Result<std::chrono::milliseconds> parse_duration(const std::string& text) {
  std::optional<Split> parts = number_and_unit(text);
  if (!parts) return fail(Errc::invalid, quoted(text) + " is not a duration such as \"90s\", \"5m\", \"4h\" or \"5d\"");
  std::optional<std::uint64_t> factor = factor_of(kDurations, parts->unit);
  if (!factor) {
    std::string why = parts->unit.empty() ? "has no unit" : "has an unknown unit";
    return fail(Errc::invalid,
                quoted(text) + " " + why + ": a whole number and one of ms, s, m, h, d makes a duration");
  }
  if (parts->number > kLongest / *factor) return fail(Errc::invalid, quoted(text) + " is longer than 100 years");
  return std::chrono::milliseconds(static_cast<std::int64_t>(parts->number * *factor));
}

Result<std::uint64_t> parse_size(const std::string& text) {
  std::optional<Split> parts = number_and_unit(text);
  if (!parts)
    return fail(Errc::invalid, quoted(text) + " is not a size such as 65536, \"64KiB\", \"50MiB\" or \"5MB\"");
  std::optional<std::uint64_t> factor = factor_of(kSizes, parts->unit);
  if (!factor) {
    return fail(Errc::invalid,
                quoted(text) + " has an unknown unit: KiB, MiB, GiB are powers of 1024, KB, MB, GB of 1000");
  }
  if (parts->number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / *factor) {
    return fail(Errc::invalid, quoted(text) + " is too large");
  }
  return parts->number * *factor;
}

std::string duration_text(std::chrono::milliseconds duration) {
  auto count = static_cast<std::uint64_t>(duration.count());
  if (count == 0) return "0s";
  for (const Unit& unit : kDurations) {
    if (count % unit.factor == 0) return std::to_string(count / unit.factor) + std::string(unit.name);
  }
  return std::to_string(count) + "ms";
}

std::string size_text(std::uint64_t octets) {
  for (const Unit& unit : kSizes) {
    bool binary = unit.name.ends_with("iB");
    if (binary && octets != 0 && octets % unit.factor == 0)
      return std::to_string(octets / unit.factor) + std::string(unit.name);
  }
  return std::to_string(octets);
}

}  // namespace waypost::conf
