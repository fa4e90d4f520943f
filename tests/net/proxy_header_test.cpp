#include "net/proxy_header.h"

#include <string>
#include <string_view>

#include <doctest/doctest.h>

namespace waypost::net {
namespace {

using namespace std::string_view_literals;

const std::string kSignature("\r\n\r\n\0\r\nQUIT\n", 12);

std::string version2(char command, char family, std::string_view rest) {
  std::string out = kSignature + command + family;
  out += static_cast<char>(rest.size() >> 8);
  out += static_cast<char>(rest.size() & 0xff);
  return out + std::string(rest);
}

const std::string kFour("\xc0\x00\x02\x01\xcb\x00\x71\x19\x9c\x40\x00\x19", 12);
const std::string kSix = std::string("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16) +
                         std::string("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02", 16) +
                         std::string("\x9c\x40\x00\x19", 4);

/// Read as a session reads it; "" if it is none, and how much was taken.
std::string read(std::string_view stream, std::size_t& taken) {
  std::string header;
  while (const std::size_t lacks = proxy_header_lacks(header)) {
    if (stream.size() - header.size() < lacks) return "short";
    header += stream.substr(header.size(), lacks);
  }
  taken = header.size();
  const Result<ProxyHeader> parsed = parse_proxy_header(header);
  if (!parsed) return "wrong";
  if (!parsed->known) return "unknown";
  return parsed->source.text() + " " + parsed->destination.text();
}

}  // namespace

TEST_SUITE("net/proxy_header") {
  TEST_CASE("both versions, and nothing of what follows is taken") {
    struct {
      std::string header, want;
    } const table[] = {
        {"PROXY TCP4 192.0.2.1 203.0.113.25 40000 25\r\n", "192.0.2.1:40000 203.0.113.25:25"},
        {"PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n", "[2001:db8::1]:40000 [2001:db8::2]:25"},
        {"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n", "192.0.2.1:1 192.0.2.2:2"},
        {"PROXY UNKNOWN\r\n", "unknown"},
        {"PROXY UNKNOWN ffff:f:f:f:f:f:f:f ffff:f:f:f:f:f:f:f 65535 65535\r\n", "unknown"},
        {version2(0x21, 0x11, kFour), "192.0.2.1:40000 203.0.113.25:25"},
        {version2(0x21, 0x11, kFour + std::string("\x04\x00\x01x", 4)), "192.0.2.1:40000 203.0.113.25:25"},
        {version2(0x21, 0x21, kSix), "[2001:db8::1]:40000 [2001:db8::2]:25"},
        {version2(0x20, 0x00, ""), "unknown"},
        {version2(0x20, 0x11, kFour), "unknown"},
        {version2(0x21, 0x31, std::string(216, 'x')), "unknown"},
        {version2(0x21, 0x00, ""), "unknown"},
    };
    for (const auto& row : table) {
      CAPTURE(row.header);
      for (const std::string_view behind : {"EHLO c.example\r\n"sv, "\x16\x03\x01"sv, "PROXY "sv, ""sv}) {
        std::size_t taken = 0;
        CHECK(read(row.header + std::string(behind), taken) == row.want);
        CHECK(taken == row.header.size());
      }
      for (std::size_t size = 0; size < row.header.size(); ++size) {
        std::size_t taken = 0;
        CHECK(read(std::string_view(row.header).substr(0, size), taken) == "short");
        CHECK_FALSE(parse_proxy_header(std::string_view(row.header).substr(0, size)));
      }
    }
  }

  TEST_CASE("what is none") {
    const std::string long_line = "PROXY TCP4 " + std::string(200, '1') + "\r\n";
    for (const std::string& header :
         {std::string("EHLO client.example\r\nRSET\r\n"), std::string("PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n"),
          std::string("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n"), std::string("PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n"),
          std::string("PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n"), std::string("PROXY TCP4 1.1.1.1 2.2.2.256 1 2\r\n"),
          std::string("PROXY TCP4 ::1 ::2 1 2\r\n"), std::string("PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n"),
          std::string("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n"), std::string("PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n"),
          std::string("proxy UNKNOWN\r\n"), long_line, version2(0x11, 0x11, kFour), version2(0x22, 0x11, kFour),
          version2(0x21, 0x11, kFour.substr(1)), version2(0x21, 0x21, kFour),
          version2(0x21, 0x11, std::string(5000, 'x')), std::string(64, '\0')}) {
      CAPTURE(header);
      std::size_t taken = 0;
      CHECK(read(header, taken) == "wrong");
      CHECK(taken <= 107);
    }
  }
}

}  // namespace waypost::net
