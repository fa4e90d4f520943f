// net/address.h: where a connection ends: an IP address and port, as numbers, a local socket, or a user of this
// machine. Pure.
#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace waypost::net {

/// IPv4 or IPv6 address with a port, or the path of a Unix socket, or who connected to one. An IPv4-mapped IPv6 address
/// is turned into IPv4 when it is made.
struct Address {
  static constexpr std::uint8_t kLocal = 1, kUser = 2;
  std::uint8_t family = 4;               ///< 4, 6, kLocal or kUser
  std::array<std::uint8_t, 16> bytes{};  ///< network order; IPv4, or a user's number, in the first four
  std::uint16_t port = 0;
  std::string path;  ///< of a local one; "uid=1000" of a user

  /// Numeric text only: "192.0.2.1", "2001:db8::1" (no brackets, no zone).
  static std::optional<Address> parse(std::string_view host, std::uint16_t port);
  /// Sixteen octets in network order, as a socket or a AAAA record has them.
  static Address of_ipv6(const std::array<std::uint8_t, 16>& bytes, std::uint16_t port);
  static Address local(std::string path);
  /// Its end of a Unix socket has no name: the client is known by its user.
  static Address of_user(std::uint32_t uid);
  std::optional<std::uint32_t> user() const;
  bool is_local() const { return family == kLocal || family == kUser; }
  std::string host() const;  ///< "192.0.2.1", "2001:db8::1", "/run/dovecot/lmtp", "uid=1000"
  std::string text() const;  ///< "192.0.2.1:25", "[2001:db8::1]:25", "/run/dovecot/lmtp", "uid=1000"
  bool is_wildcard() const;
  bool same_host(const Address& other) const {
    return family == other.family && bytes == other.bytes && path == other.path;
  }
  auto operator<=>(const Address&) const = default;
};

}  // namespace waypost::net
