#include "net/proxy_header.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "base/text.h"

namespace waypost::net {
namespace {

constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::string_view kVersion1 = "PROXY ";
constexpr std::size_t kFirst = 15;  // no header is shorter: "PROXY UNKNOWN\r\n"
constexpr std::size_t kFixed = 16;  // of version 2
constexpr std::size_t kLongest1 = 107;
constexpr std::size_t kLongest2 = 4096;  // with what it adds; such as a client's certificate

tl::unexpected<Error> wrong(const char* what) {
  return fail(Errc::protocol, what);
}

std::uint8_t octet(std::string_view octets, std::size_t at) {
  return static_cast<std::uint8_t>(octets[at]);
}
std::uint16_t number(std::string_view octets, std::size_t at) {
  return static_cast<std::uint16_t>(octet(octets, at) << 8 | octet(octets, at + 1));
}

bool is_version2(std::string_view octets) {
  return octets.starts_with(kSignature);
}

std::optional<Address> text_address(std::string_view host, std::string_view port, bool six) {
  const std::optional<std::uint64_t> decimal = parse_decimal(port);
  const bool as_said = (host.find(':') != std::string_view::npos) == six;
  if (!decimal || *decimal > 65535 || !as_said) return std::nullopt;
  return Address::parse(host, static_cast<std::uint16_t>(*decimal));
}

Result<ProxyHeader> parse_version1(std::string_view line) {
  if (!line.ends_with("\r\n")) return wrong("a PROXY line does not end with CR LF");
  line.remove_suffix(2);
  line.remove_prefix(kVersion1.size());
  const std::vector<std::string_view> words = split(line, ' ');
  if (words.front() == "UNKNOWN") return ProxyHeader();
  const bool six = words.front() == "TCP6";
  if (words.size() != 5 || (!six && words.front() != "TCP4")) return wrong("a PROXY line is malformed");
  const std::optional<Address> source = text_address(words[1], words[3], six);
  const std::optional<Address> destination = text_address(words[2], words[4], six);
  if (!source || !destination) return wrong("a PROXY line has a bad address");
  return ProxyHeader{true, *source, *destination};
}

Address binary_address(std::string_view octets, std::size_t at, std::size_t port_at, std::size_t size) {
  std::array<std::uint8_t, 16> bytes{};
  for (std::size_t i = 0; i < size; ++i) bytes[i] = octet(octets, at + i);
  if (size == bytes.size()) return Address::of_ipv6(bytes, number(octets, port_at));
  Address out;
  out.bytes = bytes;
  out.port = number(octets, port_at);
  return out;
}

Result<ProxyHeader> parse_version2(std::string_view octets) {
  const std::uint8_t command = octet(octets, 12);
  if (command == 0x20) return ProxyHeader();  // LOCAL: the balancer looks whether we live
  if (command != 0x21) return wrong("a PROXY header has an unknown version or command");
  const std::uint8_t family = octet(octets, 13);
  if (family != 0x11 && family != 0x21) return ProxyHeader();
  const std::size_t size = family == 0x11 ? 4 : 16;
  if (octets.size() < kFixed + 2 * size + 4) return wrong("a PROXY header is too short for its addresses");
  const std::size_t ports = kFixed + 2 * size;
  return ProxyHeader{true, binary_address(octets, kFixed, ports, size),
                     binary_address(octets, kFixed + size, ports + 2, size)};
}

}  // namespace

std::size_t proxy_header_lacks(std::string_view octets) {
  if (octets.size() < kFirst) return kFirst - octets.size();
  if (is_version2(octets)) {
    if (octets.size() < kFixed) return kFixed - octets.size();
    const std::size_t whole = kFixed + number(octets, 14);
    return whole <= kLongest2 ? whole - std::min(whole, octets.size()) : 0;
  }
  const bool goes_on = octets.starts_with(kVersion1) && !octets.ends_with('\n') && octets.size() < kLongest1;
  return goes_on ? 1 : 0;
}

Result<ProxyHeader> parse_proxy_header(std::string_view octets) {
  if (octets.size() < kFirst || proxy_header_lacks(octets) != 0) return wrong("a PROXY header is not whole");
  if (octets.starts_with(kVersion1)) return parse_version1(octets);
  if (!is_version2(octets) || octets.size() != kFixed + number(octets, 14)) return wrong("there is no PROXY header");
  return parse_version2(octets);
}

}  // namespace waypost::net
