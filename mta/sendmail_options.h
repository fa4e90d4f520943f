// mta/sendmail_options.h: the command line that programs know from sendmail. sendmail(1). Pure.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "smtp/envelope.h"

namespace waypost::mta {

struct SendmailOptions {
  enum class Mode : std::uint8_t {
    deliver,  ///< a message on standard input
    session,  ///< -bs: SMTP on standard input and output
    queue,    ///< -bp, mailq
    aliases,  ///< -bi, -I, newaliases
    verify,   ///< -bv
    daemon,   ///< -bd
    retry,    ///< -q, -qI, -qR, -qS
    nothing,  ///< -bh, -bH: what this relay has none of
  };
  Mode mode = Mode::deliver;
  bool take_recipients = false;  ///< -t
  bool ignore_dots = false;      ///< -i, -oi
  bool verbose = false;
  std::optional<smtp::Path> sender;  ///< -f, -r; the null path for `<>` and ""
  std::string name;                  ///< -F
  std::optional<smtp::BodyType> body;
  smtp::Notify notify;
  smtp::Ret ret = smtp::Ret::unspecified;
  std::string envid;  ///< xtext
  bool smtputf8 = false, require_tls = false;
  std::string config;                  ///< -C; "": the usual one
  std::vector<std::string> filter;     ///< what -q is to retry, as `waypost queue retry` takes it; none: all
  std::vector<smtp::Path> recipients;  ///< of the command line
};

/// `program` is the name by which it was called, without folders. Errors: unsupported (what stands there is no usage
/// of this program: exit code 64), invalid (an address or a value that is none: 65).
Result<SendmailOptions> parse_sendmail_options(std::string_view program, std::span<const std::string> arguments);

}  // namespace waypost::mta
