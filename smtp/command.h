// smtp/command.h: one command line of a client (RFC 5321 §4.1) -> Command, or the Reply that says what is wrong. No
// I/O.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include <tl/expected.hpp>

#include "smtp/extensions.h"
#include "smtp/parameters.h"
#include "smtp/path.h"
#include "smtp/reply.h"
#include "smtp/xclient.h"

namespace waypost::smtp {

struct Helo {
  std::string name;  ///< as given: a domain, an address literal, or what real clients say instead (command.cpp)
  bool operator==(const Helo&) const = default;
};
struct Ehlo {
  std::string name;
  bool operator==(const Ehlo&) const = default;
};
struct Mail {
  Path reverse_path;  ///< its domain in ASCII (smtp/idna.h)
  MailParameters parameters;
  bool operator==(const Mail&) const = default;
};
struct Rcpt {
  Path forward_path;  ///< its domain in ASCII
  RcptParameters parameters;
  bool operator==(const Rcpt&) const = default;
};
struct Data {
  bool operator==(const Data&) const = default;
};
struct Rset {
  bool operator==(const Rset&) const = default;
};
struct Noop {
  bool operator==(const Noop&) const = default;
};
struct Quit {
  bool operator==(const Quit&) const = default;
};
struct Vrfy {
  std::string text;
  bool operator==(const Vrfy&) const = default;
};
struct Expn {
  std::string text;
  bool operator==(const Expn&) const = default;
};
struct Help {
  std::string topic;  ///< "" for none
  bool operator==(const Help&) const = default;
};
/// RFC 1985.
struct Etrn {
  std::string domain;
  bool below = false;  ///< and what is below the domain
  bool operator==(const Etrn&) const = default;
};
/// RFC 3207.
struct StartTls {
  bool operator==(const StartTls&) const = default;
};
/// RFC 4954.
struct Auth {
  std::string mechanism;                        ///< upper case
  std::optional<std::string> initial_response;  ///< base64 as given, not decoded; `=` is the empty one
  bool operator==(const Auth&) const = default;
};
/// RFC 3030: that many octets follow the line.
struct Bdat {
  std::uint64_t octets = 0;
  bool last = false;
  bool operator==(const Bdat&) const = default;
};
/// A verb that this server does not know: 500 5.5.2.
struct Unknown {
  std::string verb;  ///< upper case, at most 16 octets, not escaped
  bool operator==(const Unknown&) const = default;
};

using Command = std::variant<Helo, Ehlo, Mail, Rcpt, Data, Rset, Noop, Quit, Vrfy, Expn, Help, Etrn, StartTls, Auth,
                             Bdat, Xclient, Unknown>;

struct CommandRules {
  /// A path needs no angle brackets: submission, where old devices leave them out. A space after the colon may always
  /// be.
  bool bare_path = false;
  /// A local part alone is a path; `postmaster` always is.
  bool path_without_domain = false;
  /// This transaction's MAIL said SMTPUTF8, so RCPT may have non-ASCII addresses.
  bool utf8_transaction = false;
  /// What the EHLO reply offered: other parameters are unknown (555), and the arguments of other verbs are not looked
  /// at.
  Extensions offered;
};

/// `line` without its CRLF. A verb that is known but not in `rules.offered` (STARTTLS, AUTH, BDAT, ETRN, XCLIENT) or
/// never is (EXPN) comes as its Command all the same, for 502 5.5.1; its arguments are then not checked. The Reply
/// otherwise: 501 5.5.2 for a NUL or bad syntax, 501 5.1.7 and 501 5.1.3 for bad addresses, 501 5.5.4 for missing angle
/// brackets or an argument where none may be, 553 5.6.7 for non-ASCII addresses without SMTPUTF8, and what
/// smtp/parameters.h says.
tl::expected<Command, Reply> parse_command(std::string_view line, const CommandRules& rules);

/// The command as a client sends it, without CRLF. parse_command() of it is the command again.
std::string text(const Command& command);

/// The verb for logs and replies: `MAIL`; of Unknown what was given.
std::string_view verb(const Command& command);

/// A command line as others may see it, ours to an LMTP server among them: what AUTH says is left out, and what is no
/// command, since it may be a password that came too late, or a line of a body whose DATA was refused. Not escaped.
std::string shown_command(std::string_view line);

/// "HTTP" or "TLS" if the first octets of a connection, or a line of it, are of that protocol: an HTTP request line or
/// Host field, a TLS ClientHello record. Such a peer is sent away (554 5.5.0); it is somebody's browser, or an attack
/// by way of one.
std::optional<std::string_view> foreign_protocol(std::string_view line);

}  // namespace waypost::smtp
