// net/address.h: an IP address and port, as numbers. Pure.
#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace waypost::net {

/// IPv4 or IPv6 address with a port. An IPv4-mapped IPv6 address is turned into IPv4 when it is made.
struct Address {
  std::uint8_t family = 4;               ///< 4 or 6
  std::array<std::uint8_t, 16> bytes{};  ///< network order; IPv4 in the first four
  std::uint16_t port = 0;

  /// Numeric text only: "192.0.2.1", "2001:db8::1" (no brackets, no zone).
  static std::optional<Address> parse(std::string_view host, std::uint16_t port);
  /// Sixteen octets in network order, as a socket or a AAAA record has them.
  static Address of_ipv6(const std::array<std::uint8_t, 16>& bytes, std::uint16_t port);
  std::string host() const;  ///< "192.0.2.1", "2001:db8::1"
  std::string text() const;  ///< "192.0.2.1:25", "[2001:db8::1]:25"
  bool is_wildcard() const;
  bool same_host(const Address& other) const { return family == other.family && bytes == other.bytes; }
  auto operator<=>(const Address&) const = default;
};

}  // namespace waypost::net
