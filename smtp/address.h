// smtp/address.h: mailboxes, domains and address literals (RFC 5321 §4.1.2, §4.1.3; UTF-8 as RFC 6531 §3.3). No I/O.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"

namespace waypost::smtp {

/// Local-part@domain. `<Postmaster>` has a local part and no domain; the null reverse-path has neither (smtp/path.h).
struct Mailbox {
  std::string local;  ///< without the quotes and backslashes that the wire form may have: `a b` for `"a b"@c`
  std::string
      domain;  ///< as received, without a trailing dot; a literal with its brackets: `[192.0.2.1]`, `[IPv6:::1]`

  /// The wire form, quoted where the grammar asks for it: `"a b"@c.example`; `postmaster` where there is no domain.
  std::string text() const;
  bool is_literal() const { return !domain.empty() && domain.front() == '['; }
  /// Domains are compared without case, local parts octet by octet (but for `postmaster`, RFC 5321 §4.5.1).
  bool operator==(const Mailbox& other) const;
};

/// True for `postmaster` in any case, whatever the domain.
bool is_postmaster(const Mailbox& mailbox);

/// `local@domain` without angle brackets. `utf8` admits non-ASCII (SMTPUTF8).
/// Errors: invalid. Limits: local part 255 octets (64 is what RFC 5321 §4.5.3.1 asks for, VERP and SRS need more),
/// domain 255, label 63.
Result<Mailbox> parse_mailbox(std::string_view text, bool utf8 = false);

/// A local part alone: dot-string or quoted-string -> what Mailbox::local holds. Errors: invalid.
Result<std::string> parse_local_part(std::string_view text, bool utf8 = false);

/// A domain name of letter-digit-hyphen labels (underscore admitted: such hosts exist). No trailing dot, no literal.
bool is_domain(std::string_view text, bool utf8 = false);

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]`, brackets included.
bool is_address_literal(std::string_view text);

/// The address in a literal, as inet_ntop writes it, or "" if the text is no literal.
std::string literal_address(std::string_view literal);

/// Lower case for ASCII letters: the form in which domains are kept as keys and compared.
std::string domain_key(std::string_view domain);

}  // namespace waypost::smtp
