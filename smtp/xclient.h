// smtp/xclient.h: XCLIENT, as Postfix has it: what a proxy that is trusted says of its client. No I/O.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "smtp/reply.h"

namespace waypost::smtp {

/// What was not said stays as it was; "" is what the proxy does not know.
struct Xclient {
  std::optional<std::string> name;      ///< of the client, by reverse DNS
  std::optional<std::string> address;   ///< numeric
  std::optional<std::string> port;      ///< decimal; so is local_port
  std::optional<std::string> protocol;  ///< SMTP or ESMTP
  std::optional<std::string> helo;
  std::optional<std::string> login;          ///< SASL's user name
  std::optional<std::string> local_address;  ///< numeric: which the client reached
  std::optional<std::string> local_port;
  bool operator==(const Xclient&) const = default;
};

/// What the keyword of EHLO lists.
inline constexpr std::string_view kXclientAttributes = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

/// `NAME=mx.a.example ADDR=IPV6:2001:db8::1`, values in xtext. 501 5.5.4 otherwise: unknown names, none at all, values
/// that are no xtext, no address, no port, no protocol, or have control characters.
tl::expected<Xclient, Reply> parse_xclient(std::string_view arguments);
/// With a space before each. parse_xclient() of it is the same again.
std::string text(const Xclient& xclient);

}  // namespace waypost::smtp
