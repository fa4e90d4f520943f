// mta/scram.h: the computations of SCRAM-SHA-256 (RFC 5802, RFC 7677), and its verifier as text. Pure.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace waypost::mta {

/// What is stored of a user, from which no password can be computed but by guessing.
struct ScramVerifier {
  std::uint32_t iterations = 0;
  std::string salt;        ///< octets
  std::string stored_key;  ///< 32 octets
  std::string server_key;  ///< 32 octets
  bool operator==(const ScramVerifier&) const = default;

  static constexpr std::uint32_t kMostIterations = 10'000'000;  ///< more is a mistake in the file
};

/// The verifier to check a login's proof with. Of a login that has none: one that looks as if it had.
struct ScramLookup {
  ScramVerifier verifier;
  bool known = false;
};

namespace scram {

/// 32 octets.
std::string sha256(std::string_view octets);
std::string hmac(std::string_view key, std::string_view octets);
/// True if they are the same. Takes as long wherever they differ; their lengths are no secret.
bool equal(std::string_view a, std::string_view b);

/// ClientKey (RFC 5802 §3), which a client proves to have. Takes as long as its iterations do: not on a loop.
std::string client_key(std::string_view password, std::string_view salt, std::uint32_t iterations);
/// As client_key().
ScramVerifier make_verifier(std::string_view password, std::string_view salt, std::uint32_t iterations);
/// True if the verifier was made of this password. As make_verifier().
bool matches(const ScramVerifier& verifier, std::string_view password);

/// Is `proof` the client's to this AuthMessage (RFC 5802 §3)?
bool proves(const ScramVerifier& verifier, std::string_view auth_message, std::string_view proof);
std::string server_signature(const ScramVerifier& verifier, std::string_view auth_message);

/// `{SCRAM-SHA-256}4096,c2FsdA==,...,...`: iterations, salt, StoredKey and ServerKey, as Dovecot writes it.
std::string text(const ScramVerifier& verifier);
/// Errors: invalid.
Result<ScramVerifier> parse_verifier(std::string_view text);

}  // namespace scram
}  // namespace waypost::mta
