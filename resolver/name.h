// resolver/name.h: domain names as text, as questions take them and answers give them. Pure.
#pragma once
#include <string>
#include <string_view>

#include "net/address.h"

namespace waypost::resolver {

/// Lower case, without the trailing dot: the form in which names are compared and kept. The root is "".
std::string canonical(std::string_view name);

/// True if the DNS can hold it as a host's or mail domain's name: labels of 1 to 63 octets, 253 in all, visible ASCII
/// without a backslash. A trailing dot is allowed; the root is no such name.
bool fits_dns(std::string_view name);

/// The labels of an address from its end: "1.2.0.192" of 192.0.2.1, 32 hex digits of IPv6. What lists of addresses are
/// asked for, before their own name (RFC 5782 §2).
std::string reversed(const net::Address& address);
/// Below in-addr.arpa or ip6.arpa (RFC 1035 §3.5, RFC 3596 §2.5).
std::string reverse_name(const net::Address& address);

}  // namespace waypost::resolver
