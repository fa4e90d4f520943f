// mta/sasl.h: the server's side of SASL (RFC 4422): PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-256-PLUS, EXTERNAL.
// Pure: octets come in, already out of their base64, and steps go out; who may log in is asked of the caller.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mta/scram.h"

namespace waypost::mta::sasl {

constexpr std::size_t kLongestLogin = 255;     ///< octets (RFC 4616 §2 asks for as many)
constexpr std::size_t kLongestPassword = 255;  ///< octets
constexpr std::size_t kLongestNonce = 255;     ///< octets, of a client

/// A login or a password as RFC 4013 prepares it, but for NFKC and the mapping of spaces: 1 to `longest` octets of
/// UTF-8 without control characters (C0, DEL, C1), compared octet by octet. False if this is none.
bool is_prepared(std::string_view text, std::size_t longest);

/// Octets that name the TLS connection below, for channel binding (RFC 5056).
struct Binding {
  std::string type;  ///< tls-exporter (RFC 9266), tls-server-end-point (RFC 5929)
  std::string octets;
};

/// What an exchange is told of its connection and of the users.
struct Surroundings {
  std::function<ScramLookup(const std::string& login)> scram;
  std::string nonce;              ///< ours, for SCRAM: printable, without a comma, of this exchange alone
  std::vector<Binding> bindings;  ///< those there are; none: SCRAM-SHA-256-PLUS was not offered
  std::string external;           ///< whom the layer below has authenticated, for EXTERNAL; "": nobody
};

struct Challenge {
  std::string octets;  ///< to be sent; the response to it is awaited
};
struct Password {
  std::string login, password;  ///< the caller finds out whether they belong together
};
struct Accepted {
  std::string login;
};
struct Refused {
  std::string why;  ///< for the log: the client hears the same of all
};
struct Malformed {
  std::string what;  ///< what the client sent is not of the mechanism's grammar
};
using Step = std::variant<Challenge, Password, Accepted, Refused, Malformed>;

/// One exchange, from AUTH to its end: after any step but a challenge.
class Exchange {
 public:
  Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  virtual ~Exchange() = default;

  /// `initial`: the response that came with the command, if one did.
  Step begin(std::optional<std::string_view> initial);
  virtual Step on_response(std::string_view octets) = 0;
  /// Whose name the client says to have; "" until it said so in full.
  const std::string& login() const { return login_; }

 protected:
  virtual std::string first_challenge() const { return ""; }
  std::string login_;
};

/// `mechanism` in upper case. Null for one that is not of these, or cannot be in these surroundings.
std::unique_ptr<Exchange> make_exchange(std::string_view mechanism, Surroundings surroundings);

/// The mechanisms to offer, the best first.
std::vector<std::string> mechanisms(bool scram, bool channel_binding, bool external);

}  // namespace waypost::mta::sasl
