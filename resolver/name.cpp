#include "resolver/name.h"

#include <algorithm>

#include "base/text.h"

namespace waypost::resolver {

namespace {

std::string_view without_dot(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  return name;
}

}  // namespace

std::string canonical(std::string_view name) {
  return to_lower(without_dot(name));
}

bool fits_dns(std::string_view name) {
  name = without_dot(name);
  if (name.empty() || name.size() > 253) return false;
  bool visible = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f && c != '\\'; });
  if (!visible) return false;
  for (std::string_view label : split(name, '.'))
    if (label.empty() || label.size() > 63) return false;
  return true;
}

std::string reversed(const net::Address& address) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (std::size_t i = address.family == 4 ? 4 : 16; i-- > 0;) {
    const std::uint8_t octet = address.bytes[i];
    if (!out.empty()) out += '.';
    if (address.family == 4)
      out += std::to_string(octet);
    else
      out += {kDigits[octet & 0xf], '.', kDigits[octet >> 4]};
  }
  return out;
}

std::string reverse_name(const net::Address& address) {
  return reversed(address) + (address.family == 4 ? ".in-addr.arpa" : ".ip6.arpa");
}

}  // namespace waypost::resolver
