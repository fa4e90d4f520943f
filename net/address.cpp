#include "net/address.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <arpa/inet.h>
#include <fmt/compile.h>

namespace waypost::net {

namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/// ::ffff:192.0.2.1 is 192.0.2.1 (RFC 4291 §2.5.5.2): one client must not have two names.
void unmap(Address& address) {
  if (!std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), address.bytes.begin())) return;
  std::array<std::uint8_t, 16> bytes{};
  std::copy_n(address.bytes.begin() + 12, 4, bytes.begin());
  address.bytes = bytes;
  address.family = 4;
}

}  // namespace

std::optional<Address> Address::parse(std::string_view host, std::uint16_t port) {
  char text[INET6_ADDRSTRLEN] = {};
  if (host.size() >= sizeof text || host.find('\0') != std::string_view::npos) return std::nullopt;
  std::copy(host.begin(), host.end(), text);

  Address address;
  address.port = port;
  if (inet_pton(AF_INET, text, address.bytes.data()) == 1) return address;
  address.family = 6;
  if (inet_pton(AF_INET6, text, address.bytes.data()) != 1) return std::nullopt;
  unmap(address);
  return address;
}

Address Address::of_ipv6(const std::array<std::uint8_t, 16>& bytes, std::uint16_t port) {
  Address address;
  address.family = 6;
  address.bytes = bytes;
  address.port = port;
  unmap(address);
  return address;
}

Address Address::local(std::string path) {
  Address address;
  address.family = kLocal;
  address.path = std::move(path);
  return address;
}

Address Address::of_user(std::uint32_t uid) {
  Address address = local("uid=" + std::to_string(uid));
  address.family = kUser;
  for (std::size_t i = 0; i < sizeof uid; ++i) address.bytes[i] = static_cast<std::uint8_t>(uid >> (24 - 8 * i));
  return address;
}

std::optional<std::uint32_t> Address::user() const {
  if (family != kUser) return std::nullopt;
  std::uint32_t uid = 0;
  for (std::size_t i = 0; i < sizeof uid; ++i) uid = uid << 8 | bytes[i];
  return uid;
}

std::string Address::host() const {
  if (is_local()) return path;
  if (family == 4) return fmt::format(FMT_COMPILE("{}.{}.{}.{}"), bytes[0], bytes[1], bytes[2], bytes[3]);
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(AF_INET6, bytes.data(), text, sizeof text);
  return text;
}

std::string Address::text() const {
  if (is_local()) return path;
  std::string name = family == 4 ? host() : "[" + host() + "]";
  return name + ":" + std::to_string(port);
}

bool Address::is_wildcard() const {
  return !is_local() && std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t byte) { return byte == 0; });
}

}  // namespace waypost::net
