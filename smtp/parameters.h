// smtp/parameters.h: ESMTP parameters of MAIL and RCPT (RFC 5321 §4.1.2), and xtext (RFC 3461 §4). No I/O.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

#include "base/result.h"
#include "smtp/envelope.h"
#include "smtp/extensions.h"
#include "smtp/reply.h"

namespace waypost::smtp {

struct MailParameters {
  std::optional<std::uint64_t> size;         ///< octets (RFC 1870)
  BodyType body = BodyType::seven_bit;       ///< RFC 6152, RFC 3030
  bool smtputf8 = false;                     ///< RFC 6531
  bool require_tls = false;                  ///< RFC 8689
  Ret ret = Ret::unspecified;                ///< RFC 3461 §4.3
  std::string envid;                         ///< as given, xtext, checked
  std::optional<std::string> authenticated;  ///< AUTH= (RFC 4954 §5), decoded: a mailbox, or "" for `<>`
  bool operator==(const MailParameters&) const = default;
};

struct RcptParameters {
  Notify notify;
  std::string orcpt;  ///< as given, checked: `rfc822;a+2Bb@c.example`; US-ASCII, also of a `utf-8;` that was not
  bool operator==(const RcptParameters&) const = default;
};

/// What follows the path, without it: " SIZE=100 BODY=8BITMIME". Keywords of extensions that are not in `offered` are
/// unknown ones. A Reply otherwise: 555 5.5.4 for an unknown keyword, 501 5.5.4 for a bad value or a keyword given
/// twice.
tl::expected<MailParameters, Reply> parse_mail_parameters(std::string_view text, const Extensions& offered);
tl::expected<RcptParameters, Reply> parse_rcpt_parameters(std::string_view text, const Extensions& offered);

/// As on the wire, each with a space before it; "" where there are none. The caller leaves out what the peer lacks.
std::string text(const MailParameters& parameters);
std::string text(const RcptParameters& parameters);

/// UTF-8 as utf-8-addr-xtext (RFC 6533 §3): `\x{E4}` for what is not printable US-ASCII, and for `+`, `=` and `\`.
std::string utf8_xtext(std::string_view utf8);
/// What such a text stands for; characters of UTF-8 stand for themselves. Errors: invalid.
Result<std::string> utf8_xtext_decode(std::string_view text);
/// The value of ORCPT for an address: `rfc822;a+2Bb@c.example`, `utf-8;j\x{FC}@c.example`.
std::string orcpt_of(std::string_view address);

/// Any octets as xtext: `+` and two upper-case hex digits for what is not printable US-ASCII, and for `+` and `=`.
std::string xtext_encode(std::string_view octets);
/// Errors: invalid (not printable, `=`, a `+` without two upper-case hex digits).
Result<std::string> xtext_decode(std::string_view xtext);

}  // namespace waypost::smtp
