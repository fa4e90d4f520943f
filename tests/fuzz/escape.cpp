// tests/fuzz/escape.cpp: peer text in logs and reports: one line of valid UTF-8, within its limit; and xtext there and
// back.
// Covers: base/escape.cpp
#include "base/escape.h"

#include <algorithm>

#include "smtp/parameters.h"
#include "tests/fuzz/input.h"

using namespace waypost;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  std::size_t max_octets = fuzz::take_octet(input);

  for (std::size_t max : {max_octets, std::size_t{1000}}) {
    std::string out = escape(input, max);
    fuzz::check(out.size() <= max, "the limit holds");
    fuzz::check(is_utf8(out), "it is valid UTF-8");
    auto control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7F; };
    fuzz::check(std::none_of(out.begin(), out.end(), control), "one line without controls");
    fuzz::check(out.find("\xE2\x80\xAE") == std::string::npos, "nothing turns the line round");
  }

  fuzz::check(*smtp::xtext_decode(smtp::xtext_encode(input)) == input, "xtext comes back");
  Result<std::string> decoded = smtp::xtext_decode(input);
  if (decoded)
    fuzz::check(*smtp::xtext_decode(smtp::xtext_encode(*decoded)) == *decoded, "what was read comes back, too");
  Result<std::string> character_by_character = smtp::utf8_xtext_decode(input);
  if (character_by_character) {
    fuzz::check(is_utf8(*character_by_character), "addresses come out in UTF-8");
    fuzz::check(*smtp::utf8_xtext_decode(smtp::utf8_xtext(*character_by_character)) == *character_by_character,
                "what was read comes back, in this form as well");
  }
  return 0;
}
