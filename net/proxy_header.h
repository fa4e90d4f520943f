// net/proxy_header.h: what a load balancer says of a connection before it: the PROXY protocol, versions 1 and 2. Pure.
#pragma once
#include <cstddef>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "net/address.h"

namespace waypost::net {

/// The ends of the connection that the balancer took.
struct ProxyHeader {
  bool known = false;  ///< false: the balancer speaks for itself, or for what is neither TCP over IPv4 nor IPv6
  Address source, destination;
};

/// How many octets the header has beyond those that are here, as far as these tell: 0 once it is whole, or can be none.
/// Whoever reads just so many takes nothing of what follows it.
std::size_t proxy_header_lacks(std::string_view octets);

/// A whole header. Errors: protocol. What version 2 adds behind the addresses is not looked at.
Result<ProxyHeader> parse_proxy_header(std::string_view octets);

}  // namespace waypost::net
