// smtp/extensions.h: the service extensions of an EHLO reply (RFC 5321 §4.1.1.1), both ways. No I/O.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "smtp/reply.h"

namespace waypost::smtp {

/// LIMITS (RFC 9422).
struct Limits {
  std::optional<std::uint64_t> mail_max;         ///< transactions a connection
  std::optional<std::uint64_t> rcpt_max;         ///< recipients a transaction
  std::optional<std::uint64_t> rcpt_domain_max;  ///< domains among them
  bool any() const { return mail_max || rcpt_max || rcpt_domain_max; }
  bool operator==(const Limits&) const = default;
};

/// What a server offers: ours to a client, or a peer's to us. Nothing by default.
struct Extensions {
  bool pipelining = false;                  ///< RFC 2920
  bool size = false;                        ///< RFC 1870
  std::optional<std::uint64_t> size_limit;  ///< octets; not given, or 0 on the wire: no fixed limit
  bool eight_bit_mime = false;              ///< RFC 6152
  bool enhanced_status_codes = false;       ///< RFC 2034
  bool dsn = false;                         ///< RFC 3461
  bool smtputf8 = false;                    ///< RFC 6531
  bool starttls = false;                    ///< RFC 3207
  bool chunking = false;                    ///< RFC 3030
  bool binary_mime = false;                 ///< RFC 3030
  bool require_tls = false;                 ///< RFC 8689
  bool vrfy = false;                        ///< VRFY, EXPN, HELP, ETRN as keywords: told, of no other effect
  bool expn = false;
  bool help = false;
  bool etrn = false;
  bool xclient = false;  ///< Postfix's, for proxies
  std::vector<std::string> auth;  ///< mechanisms, upper case (RFC 4954); none: AUTH is not offered
  Limits limits;

  bool has_auth(std::string_view mechanism) const;
  bool operator==(const Extensions&) const = default;
};

/// The keyword lines of our EHLO reply, for reply::ehlo().
std::vector<std::string> ehlo_keywords(const Extensions& offered);

/// What a peer's 250 to EHLO offers: its lines after the first. Unknown keywords and bad values are passed over; the
/// old form `AUTH=LOGIN` is understood.
Extensions parse_extensions(const Reply& ehlo);

}  // namespace waypost::smtp
