// smtp/path.h: reverse-path and forward-path (RFC 5321 §4.1.1.2, §4.1.1.3). No I/O.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"
#include "smtp/address.h"

namespace waypost::smtp {

/// A path without its source route, which is parsed and dropped (RFC 5321 §3.3, appendix C).
struct Path {
  Mailbox mailbox;
  /// `<>`: nobody is to be told about this message (RFC 5321 §4.5.5).
  bool is_null() const { return mailbox.local.empty() && mailbox.domain.empty(); }
  /// Without angle brackets; "" for the null path.
  std::string text() const { return is_null() ? std::string() : mailbox.text(); }
  /// `<a@b.example>`, `<>`.
  std::string bracketed() const { return "<" + text() + ">"; }
  bool operator==(const Path&) const = default;
};

struct PathRules {
  bool utf8 = false;            ///< SMTPUTF8 was given
  bool bare = false;            ///< no angle brackets needed (submission: old devices)
  bool null = false;            ///< `<>` is admitted: MAIL, not RCPT
  bool without_domain = false;  ///< a local part alone is admitted; `postmaster` always is (RFC 5321 §4.5.1)
};

/// Takes a path off the front of `text` (spaces before it are skipped) and leaves what follows it there.
/// Errors: invalid, saying what is wrong with it.
Result<Path> take_path(std::string_view& text, const PathRules& rules);

}  // namespace waypost::smtp
