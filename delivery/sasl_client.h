// delivery/sasl_client.h: the client's side of AUTH (RFC 4954), for a host that wants a login of us: SCRAM-SHA-256
// (RFC 7677), SCRAM-SHA-1 (RFC 5802), PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login). Pure: the caller sends and
// receives. No error holds a secret; the lines to be sent do, and are not for a log.
//
// The way through: send command(); to each 334 send answer(), or `*` where that is an error; to 235 ask finished(), and
// leave the host if it is an error; any other reply is the host's no.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace waypost::delivery {

/// The strongest first. One with channel binding would stand at the front (RFC 5802 §6), one with a token (RFC 7628)
/// behind SCRAM.
enum class SaslMechanism { scram_sha_256, scram_sha_1, plain, login };

/// `SCRAM-SHA-256`: as in EHLO and AUTH.
std::string_view name(SaslMechanism mechanism);

/// The strongest that the host offers (smtp::Extensions::auth) and the configuration allows; `allowed` empty: all.
/// Names in any case. `is_private`: the session has TLS; without it no password is sent in the clear (RFC 4954 §4).
/// Errors: unsupported (none is offered, known and allowed), denied (it would have to be private); `what` says which.
Result<SaslMechanism> choose_mechanism(const std::vector<std::string>& offered, bool is_private,
                                       const std::vector<std::string>& allowed);

/// The line of AUTH without its CRLF. An initial response of no octets is `=`; one that makes the line longer than 512
/// octets with its CRLF is left out, and waits for the first challenge (RFC 4954 §4).
std::string auth_command(std::string_view mechanism, const std::optional<std::string>& initial);

struct Credentials {
  std::string user, password;
};

class SaslExchange;

/// One exchange. Of SCRAM, answer() takes as long as the host's iterations do: not on a loop (Runtime::offload()).
class SaslClient {
 public:
  static constexpr std::size_t kLongestUser = 255;          ///< octets (RFC 4616 §2 asks for as many)
  static constexpr std::size_t kLongestPassword = 4096;     ///< octets: some are keys
  static constexpr std::size_t kLongestChallenge = 12'282;  ///< of base64: a line of 12288 octets (RFC 4954 §4)
  static constexpr std::size_t kLongestNonce = 1024;        ///< octets, of both sides
  /// Fewer (RFC 7677 §4) would let a false host try out passwords cheaply, more (2 seconds) hold us up.
  static constexpr std::uint32_t kFewestIterations = 4096;
  static constexpr std::uint32_t kMostIterations = 2'000'000;

  /// `nonce`: for SCRAM, printable, without a comma, unpredictable, of this exchange alone.
  /// Errors: invalid (a user, password or nonce that cannot be sent).
  static Result<SaslClient> make(SaslMechanism mechanism, Credentials credentials, std::string nonce);
  SaslClient(SaslClient&&) noexcept;
  SaslClient& operator=(SaslClient&&) noexcept;
  ~SaslClient();

  /// `AUTH PLAIN AHRpbQB0YW5z...`, without its CRLF.
  const std::string& command() const { return command_; }

  /// The line that answers a 334, without its CRLF; may be "". `challenge`: the text of the reply.
  /// Errors: protocol (it is not of the mechanism), unsupported (iterations out of bounds, an extension), denied (the
  /// host says no, or does not know the password itself). After one: send `*`, and no other answer is made.
  Result<std::string> answer(std::string_view challenge);

  /// Whether a 235 may be believed: all was said, and a host of SCRAM has proved that it knows the password, too.
  /// Errors: protocol (it came too early), denied (after an error of answer()).
  Result<> finished() const;

 private:
  SaslClient(SaslMechanism mechanism, std::unique_ptr<SaslExchange> exchange);
  Result<std::string> respond(std::string_view challenge);

  std::string_view name_;
  std::unique_ptr<SaslExchange> exchange_;
  std::string command_;
  std::optional<std::string> waiting_;  ///< the initial response, where it is not in the command
  bool broken_ = false;
};

}  // namespace waypost::delivery
