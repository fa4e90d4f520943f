// conf/units.h: durations and sizes as waypost.toml writes them. Pure.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace waypost::conf {

/// "250ms", "90s", "5m", "4h", "5d": a whole number and one unit.
/// Errors: invalid (no number, no unit or an unknown one, more than 100 years); the text says how it is written.
Result<std::chrono::milliseconds> parse_duration(const std::string& text);

/// Octets: "65536", "64KiB", "50MiB", "1GiB" (powers of 1024), "64KB", "5MB", "1GB" (powers of 1000).
/// Errors: invalid (no number, an unknown unit, more than 2^63).
Result<std::uint64_t> parse_size(const std::string& text);

/// The way back, in the largest unit that is exact: "5m", "1500ms", "64KiB", "5000000".
std::string duration_text(std::chrono::milliseconds duration);
std::string size_text(std::uint64_t octets);

}  // namespace waypost::conf
