// mta/dovecot_auth.h: asking Dovecot whether a password is somebody's: the client's side of its authentication
// protocol, version 1, with the mechanism PLAIN. Pure: lines of the server come in, lines for it go out.
//
//     S: VERSION 1 2, MECH PLAIN plaintext, SPID 7, CUID 1, COOKIE 00ff, DONE        (tabs between the words)
//     C: VERSION 1 1, CPID 1234567890
//     C: AUTH 1 PLAIN service=smtp nologin secured lip=192.0.2.1 rip=192.0.2.7 resp=AGFubgBzZWNyZXQ=
//     S: OK 1 user=ann@b.example      or      FAIL 1 user=ann temp
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/address.h"

namespace waypost::mta::dovecot {

constexpr std::size_t kLongestLine = 8192;  ///< octets; what Dovecot's own clients take
constexpr int kMostLines = 256;             ///< of the server, in one exchange

/// What is asked, and what Dovecot's own rules may go by.
struct Question {
  std::string login, password;  ///< neither has a NUL
  net::Address client, local;   ///< both ends of the SMTP session
  bool secured = false;         ///< the client spoke under TLS
};

struct Answer {
  std::string login;  ///< whose password it is, by the name that Dovecot has for the user; "": nobody's
  std::string why;    ///< of that, one line for the log
};

/// One question on a connection of its own.
class Dialogue {
 public:
  /// `number` tells this connection from all others that Dovecot has.
  Dialogue(std::uint32_t number, Question question) : number_(number), question_(std::move(question)) {}

  /// What is to be written now, taken off; at the beginning the client's greeting.
  std::string take_output();
  /// A line of the server without its end. The answer, or nullopt while more lines are due. After an error or an answer
  /// the dialogue is over.
  /// Errors: protocol; unsupported (there is no PLAIN); busy (the server has trouble that passes).
  Result<std::optional<Answer>> on_line(std::string_view line);

 private:
  Result<> on_greeting(std::string_view command, std::string_view rest);
  std::string request() const;

  const std::uint32_t number_;
  const Question question_;
  std::string out_;
  bool greeted_ = false;  // the client's greeting was taken
  bool asked_ = false;
  bool has_version_ = false, has_plain_ = false;
  int lines_ = 0;
};

/// Text as it may stand between tabs, and back; a lone escape at the end is dropped.
std::string escaped(std::string_view text);
std::string unescaped(std::string_view text);

}  // namespace waypost::mta::dovecot
