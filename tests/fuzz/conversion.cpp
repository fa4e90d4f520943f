// tests/fuzz/conversion.cpp: a message in pieces of any size, converted to 7bit, beside a plain reference that takes
// it apart and decodes it. Covers: delivery/conversion.cpp delivery/mime_walk.cpp delivery/mime_header.cpp
// delivery/transfer_encoding.cpp
#include "delivery/conversion.h"

#include <string>

#include "tests/delivery/reference_mime.h"
#include "tests/fuzz/input.h"

using namespace waypost;
using delivery::Conversion;

namespace {

Conversion scan(std::string_view message, std::size_t chunk) {
  delivery::ConversionScan scan;
  for (std::size_t at = 0; at < message.size(); at += chunk) scan.feed(message.substr(at, chunk));
  return scan.finish();
}

std::string convert(std::string_view message, const Conversion& conversion, std::size_t chunk) {
  delivery::Converter converter(conversion);
  std::string out;
  for (std::size_t at = 0; at < message.size(); at += chunk) converter.feed(message.substr(at, chunk), out);
  converter.finish(out);
  fuzz::check(converter.octets() == out.size(), "octets are counted");
  return out;
}

bool same(const Conversion& a, const Conversion& b) {
  return a.verdict == b.verdict && a.eight_bit_header == b.eight_bit_header && a.octets_left == b.octets_left &&
         a.entities == b.entities;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  std::size_t chunk = fuzz::take_octet(input) + std::size_t{1};

  Conversion conversion = scan(input, input.size() + 1);
  fuzz::check(same(scan(input, chunk), conversion), "chunks make no difference to the scan");
  std::string converted = convert(input, conversion, input.size() + 1);
  fuzz::check(convert(input, conversion, chunk) == converted, "nor to what is converted");

  bool changed = conversion.verdict == Conversion::Verdict::convertible;
  fuzz::check((converted != input) == changed, "a convertible message changes, and no other");
  bool whole = changed || conversion.verdict == Conversion::Verdict::unneeded;
  if (!whole) return 0;
  if (!conversion.octets_left) fuzz::check(delivery::reference::is_7bit(converted), "the bodies are 7bit");
  std::string wrong = delivery::reference::compare(input, converted);
  fuzz::check(wrong.empty(), wrong.c_str());
  Conversion again = scan(converted, chunk);
  fuzz::check(again.verdict == Conversion::Verdict::unneeded, "a second conversion changes nothing");
  fuzz::check(again.octets_left == conversion.octets_left, "and leaves what the first one left");
  return 0;
}
