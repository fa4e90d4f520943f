// tests/fuzz/reply.cpp: a server's lines. Replies stay within their limits; what is written again is read as the same.
// Covers: smtp/reply_parser.cpp smtp/reply.cpp smtp/extensions.cpp
#include "smtp/reply.h"

#include <algorithm>

#include "base/text.h"
#include "smtp/extensions.h"
#include "smtp/reply_parser.h"
#include "tests/fuzz/input.h"

using namespace waypost;

namespace {

/// All replies up to the first error.
std::vector<smtp::Reply> read(std::string_view wire) {
  std::vector<smtp::Reply> out;
  smtp::ReplyParser parser;
  for (std::string_view line : split(wire, '\n')) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    Result<std::optional<smtp::Reply>> reply = parser.on_line(line);
    if (!reply) return out;
    if (*reply) out.push_back(**std::move(reply));
  }
  return out;
}

/// Short and without controls: then nothing is cut or replaced in writing it.
bool is_plain(const smtp::Reply& reply) {
  return std::all_of(reply.lines.begin(), reply.lines.end(), [](const std::string& line) {
    auto control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7F; };
    return line.size() < 480 && std::none_of(line.begin(), line.end(), control);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const smtp::Reply& reply : read(fuzz::view(data, size))) {
    fuzz::check(reply.code >= 200 && reply.code <= 599, "a code is 200 to 599");
    fuzz::check(!reply.lines.empty() && reply.lines.size() <= smtp::ReplyParser::kMaxLines, "1 to 128 lines are kept");
    for (const std::string& line : reply.lines)
      fuzz::check(line.size() <= smtp::ReplyParser::kMaxLineOctets, "512 octets of a line are kept");

    std::vector<smtp::Reply> again = read(reply.wire());
    fuzz::check(again.size() == 1 && again[0].code == reply.code, "a reply is written as one reply");
    fuzz::check(again[0].lines.size() == reply.lines.size(), "of as many lines");
    if (is_plain(reply)) {
      fuzz::check(again[0].enhanced == reply.enhanced, "with the same enhanced code");
      fuzz::check(again[0].lines == reply.lines, "and the same text");
    }

    smtp::Extensions peer = smtp::parse_extensions(reply);
    smtp::Reply ehlo = smtp::reply::ehlo("h", smtp::ehlo_keywords(peer));
    fuzz::check(smtp::parse_extensions(ehlo) == peer, "extensions are written as they are read");
  }
  return 0;
}
