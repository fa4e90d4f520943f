#include "base/base64.h"

#include <array>
#include <cstdint>

namespace waypost {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t kNone = 255;

constexpr std::array<std::uint8_t, 256> kValues = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNone);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i)
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
  return values;
}();

}  // namespace

std::string base64_encode(std::string_view octets) {
  std::string out;
  out.reserve((octets.size() + 2) / 3 * 4);
  while (!octets.empty()) {
    std::size_t given = octets.size() < 3 ? octets.size() : 3;
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i) group = group << 8 | (i < given ? static_cast<unsigned char>(octets[i]) : 0U);
    for (std::size_t i = 0; i < 4; ++i) out += i <= given ? kAlphabet[group >> (18 - 6 * i) & 63] : '=';
    octets.remove_prefix(given);
  }
  return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  while (!text.empty()) {
    std::string_view quartet = text.substr(0, 4);
    text.remove_prefix(4);
    std::size_t digits = 4;
    while (text.empty() && digits > 2 && quartet[digits - 1] == '=') --digits;
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      std::uint8_t value = i < digits ? kValues[static_cast<unsigned char>(quartet[i])] : std::uint8_t{0};
      if (value == kNone) return std::nullopt;
      group = group << 6 | value;
    }
    // What stands behind the last octet is zero, so that each text has one form alone.
    if (digits < 4 && (group & (digits == 3 ? 0xFFU : 0xFFFFU)) != 0) return std::nullopt;
    for (std::size_t i = 0; i + 1 < digits; ++i) out += static_cast<char>(group >> (16 - 8 * i) & 0xFF);
  }
  return out;
}

}  // namespace waypost
