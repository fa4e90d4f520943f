// mta/checks.h: what is found out about a client that nobody vouches for, and what follows from it. Pure.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "conf/config.h"
#include "net/address.h"
#include "resolver/records.h"
#include "smtp/reply.h"

namespace waypost::mta {

/// The answers as far as they came in time. What did not come refuses nobody.
struct ClientFindings {
  net::Address client;
  std::string helo;
  std::vector<resolver::Answer<net::Address>> lists;  ///< in the order of Checks::lists
  /// Of the client's reverse name, and the addresses of the first few names there; nullopt: not asked, or none in time.
  std::optional<resolver::Answer<std::string>> names;
  std::vector<resolver::Answer<net::Address>> addresses;       ///< in the order of `names`
  std::vector<resolver::Answer<net::Address>> helo_addresses;  ///< of either family; none: not asked
};

inline constexpr std::size_t kMostNames = 5;  ///< of a client that are looked at

/// The name that leads to the client's address and back; "" if there is none.
std::string confirmed_name(const ClientFindings& findings);

/// Why mail of the client is refused, or nullopt: 554 5.7.1 (lists), 550 5.7.25 and 450 4.7.25 (no reverse DNS),
/// 550 5.7.1 (EHLO).
std::optional<smtp::Reply> refusal(const conf::Config::Checks& checks, const ClientFindings& findings);

/// Why mail to the domain is refused whose MX were asked for: 550 5.1.2, 556 5.1.10 (RFC 7505).
std::optional<smtp::Reply> recipient_refusal(const std::string& domain, const resolver::Answer<resolver::Mx>& answer);
/// The same of a sender's: 550 5.1.8, 550 5.7.27.
std::optional<smtp::Reply> sender_refusal(const std::string& domain, const resolver::Answer<resolver::Mx>& answer);

}  // namespace waypost::mta
