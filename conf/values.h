// conf/values.h: the strings of waypost.toml that mean more than text: addresses, networks, names, next hops. Pure.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "conf/config.h"

namespace waypost::conf {

// Every error here is `invalid`; its text begins with what was given, in quotes, and says how it is written.

bool is_control(char c);                      ///< of ASCII
std::string quoted(const std::string& text);  ///< in double quotes, escaped and cut short

/// A numeric address as a network of that address alone; IPv4-mapped IPv6 becomes IPv4. nullopt: it is none.
std::optional<Network> parse_address(const std::string& text);
/// The address without its prefix length.
std::string address_text(const Network& network);

/// "10.0.0.0/8", "::1/128"; a bare address is that address alone. Bits beyond the prefix must be zero.
Result<Network> parse_network(const std::string& text);

/// "127.0.0.1:25", "[::1]:25": a numeric address, in its usual text form, with a port.
Result<HostPort> parse_listen_address(const std::string& text);
/// The same where the port may be left out; it is 53 then.
Result<HostPort> parse_name_server(const std::string& text);
/// A numeric address alone, in its usual text form.
Result<std::string> parse_source(const std::string& text);

/// A domain name (RFC 5321 section 2.3.5), in lower case: letters, digits, hyphens. IDNs come as A-labels.
Result<std::string> parse_domain(const std::string& text);
/// A domain, or the absolute path of a file that has one.
Result<std::string> parse_origin(const std::string& text);
/// A domain name, "*.example" or "*".
Result<std::string> parse_pattern(const std::string& text);
/// The part of an address before the "@", as it is written without quotes.
Result<std::string> parse_local_part(const std::string& text);
/// "postmaster@example.com"; the domain in lower case.
Result<std::string> parse_mailbox(const std::string& text);
/// A sender rule (smtp/sender_rule.h): an address, "@example.com", "<>" or "*".
Result<std::string> parse_sender_rule(const std::string& text);
/// "ann@example.com", "ann", "*@example.com", "*"; in lower case.
Result<std::string> parse_login_pattern(const std::string& text);
/// A name alone, as it is.
Result<std::string> parse_login(const std::string& text);
/// "sha256:" and 64 hex digits, or a domain name; in lower case.
Result<std::string> parse_certificate(const std::string& text);
/// "sha256:" and 64 hex digits; in lower case.
Result<std::string> parse_fingerprint(const std::string& text);
/// As parse_pattern(), but "*".
Result<std::string> parse_tls_name(const std::string& text);
/// As parse_pattern(), or a numeric address.
Result<std::string> parse_host_pattern(const std::string& text);
/// "smarthost-2": letters, digits, "-", "_" and ".", at most 64; in lower case.
Result<std::string> parse_route_name(const std::string& text);
/// A mechanism of SASL that a client can use here; in upper case.
Result<std::string> parse_mechanism(const std::string& text);
/// Whom to log in as at a next hop: no control characters, at most 255 octets.
Result<std::string> parse_host_user(const std::string& text);
/// "500/1d", "30/1m": at least one, in a second to a year.
Result<Rate> parse_rate(const std::string& text);
/// An absolute path of a file or folder.
Result<std::string> parse_path(const std::string& text);

/// All forms of a next hop; which of them a key admits is the caller's to say.
Result<NextHop> parse_next_hop(const std::string& text);

}  // namespace waypost::conf
