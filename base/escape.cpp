#include "base/escape.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace waypost {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";

unsigned char octet(std::string_view text, std::size_t at) {
  return static_cast<unsigned char>(text[at]);
}

bool is_continuation(std::string_view text, std::size_t at) {
  return at < text.size() && (octet(text, at) & 0xC0) == 0x80;
}

std::uint32_t code_point(std::string_view character) {
  if (character.size() == 1) return octet(character, 0);
  std::uint32_t value = octet(character, 0) & (0xFFU >> (character.size() + 1));
  for (std::size_t i = 1; i < character.size(); ++i) value = value << 6 | (octet(character, i) & 0x3FU);
  return value;
}

/// What a terminal or a reader would not see, or would see elsewhere than it stands.
bool is_hidden(std::uint32_t c) {
  struct Range {
    std::uint32_t first, last;
  };
  static constexpr std::array<Range, 11> kHidden = {{
      {0x80, 0x9F},        // C1
      {0xAD, 0xAD},        // soft hyphen
      {0x061C, 0x061C},    // Arabic letter mark
      {0x180E, 0x180E},    // Mongolian vowel separator
      {0x200B, 0x200F},    // zero width, left-to-right and right-to-left marks
      {0x2028, 0x202E},    // line and paragraph separators, embeddings and overrides
      {0x2060, 0x206F},    // word joiner, isolates, deprecated format characters
      {0xFEFF, 0xFEFF},    // byte order mark
      {0xFFF9, 0xFFFB},    // interlinear annotation
      {0x1D173, 0x1D17A},  // musical formatting
      {0xE0000, 0xE0FFF},  // tags, variation selectors
  }};
  for (const Range& range : kHidden)
    if (c >= range.first && c <= range.last) return true;
  return false;
}

std::string hex(std::uint32_t value, int digits) {
  std::string out;
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) out += kHex[value >> shift & 0xF];
  return out;
}

/// What stands in the result for one character, or for one octet that is none.
std::string escaped(std::string_view character, bool valid) {
  if (!valid) return "\\x" + hex(octet(character, 0), 2);
  std::uint32_t c = code_point(character);
  if (c == '\\') return "\\\\";
  if (c == '\t') return "\\t";
  if (c == '\r') return "\\r";
  if (c == '\n') return "\\n";
  if (c < 0x20 || c == 0x7F) return "\\x" + hex(c, 2);
  if (is_hidden(c)) return c > 0xFFFF ? "\\U" + hex(c, 8) : "\\u" + hex(c, 4);
  return std::string(character);
}

bool stands_for_itself(char c) {
  return c >= 0x20 && c < 0x7F && c != '\\';
}

}  // namespace

std::size_t utf8_character(std::string_view text) {
  if (text.empty()) return 0;
  unsigned char first = octet(text, 0);
  if (first < 0x80) return 1;
  if (first < 0xC2) return 0;  // a continuation, or an overlong form
  if (first < 0xE0) return is_continuation(text, 1) ? 2 : 0;
  if (first < 0xF0) {
    if (!is_continuation(text, 1) || !is_continuation(text, 2)) return 0;
    if (first == 0xE0 && octet(text, 1) < 0xA0) return 0;   // overlong
    if (first == 0xED && octet(text, 1) >= 0xA0) return 0;  // surrogates
    return 3;
  }
  if (first > 0xF4) return 0;
  if (!is_continuation(text, 1) || !is_continuation(text, 2) || !is_continuation(text, 3)) return 0;
  if (first == 0xF0 && octet(text, 1) < 0x90) return 0;   // overlong
  if (first == 0xF4 && octet(text, 1) >= 0x90) return 0;  // over U+10FFFF
  return 4;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    std::size_t length = utf8_character(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

bool has_c1(std::string_view text) {
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    if (text[i] != '\xC2') continue;
    if (octet(text, i + 1) < 0xA0) return true;
  }
  return false;
}

std::string escape(std::string_view text, std::size_t max_octets) {
  // As nearly all that is logged.
  if (text.size() <= max_octets && std::all_of(text.begin(), text.end(), stands_for_itself)) return std::string(text);
  constexpr std::string_view kCut = "...";
  std::string out;
  std::size_t cut_at = 0;  // the last boundary at which kCut would still fit
  while (!text.empty()) {
    std::size_t length = utf8_character(text);
    std::string piece = escaped(text.substr(0, length == 0 ? 1 : length), length != 0);
    if (out.size() + piece.size() > max_octets) {
      out.resize(cut_at);
      out += kCut.substr(0, max_octets);
      return out;
    }
    out += piece;
    if (out.size() + kCut.size() <= max_octets) cut_at = out.size();
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

}  // namespace waypost
