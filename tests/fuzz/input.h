// tests/fuzz/input.h: what fuzz targets share: octets taken off the input, and a check that ends the run.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace waypost::fuzz {

/// Ends the process if `good` is false, so that libFuzzer keeps the input.
inline void check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

inline std::string_view view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// The first octet, taken off; 0 when there is none.
inline std::uint8_t take_octet(std::string_view& input) {
  if (input.empty()) return 0;
  std::uint8_t octet = static_cast<std::uint8_t>(input.front());
  input.remove_prefix(1);
  return octet;
}

/// What stands before the next US (0x1F), which is taken off too: so that seeds can be read, and a mutation moves what
/// is beside it from one field to another.
inline std::string_view take_field(std::string_view& input) {
  std::size_t end = input.find('\x1F');
  std::string_view field = input.substr(0, end);
  input.remove_prefix(end == std::string_view::npos ? input.size() : end + 1);
  return field;
}

/// No octet that ends or begins a line.
inline bool is_one_line(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

}  // namespace waypost::fuzz
