// tests/support/scram_client.h: the client's side of SCRAM-SHA-256, for tests. Its primitives are held to RFC 7677 by
// tests/mta/scram_test.cpp.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "base/base64.h"
#include "base/text.h"
#include "mta/scram.h"

namespace waypost::tests {

struct ScramClient {
  std::string login;  ///< as a saslname: `=2C` for a comma
  std::string password;
  std::string gs2 = "n,,";
  std::string binding;  ///< octets
  std::string nonce = "rOprNGfwEbeRWgbNEkqO";
  std::string message, signature;  ///< AuthMessage, and what the server has to say to it

  std::string bare() const { return "n=" + login + ",r=" + nonce; }
  std::string first() const { return gs2 + bare(); }

  /// nullopt: the challenge is none of SCRAM.
  std::optional<std::string> proof(std::string_view challenge) {
    std::string_view r, s, i;
    for (std::string_view part : split(challenge, ',')) {
      if (part.starts_with("r=")) r = part.substr(2);
      if (part.starts_with("s=")) s = part.substr(2);
      if (part.starts_with("i=")) i = part.substr(2);
    }
    std::optional<std::string> salt = base64_decode(s);
    std::optional<std::uint64_t> iterations = parse_decimal(i);
    if (!salt || !iterations || !r.starts_with(nonce)) return std::nullopt;
    mta::ScramVerifier made = mta::scram::make_verifier(password, *salt, static_cast<std::uint32_t>(*iterations));
    std::string without = "c=" + base64_encode(gs2 + binding) + ",r=" + std::string(r);
    message = bare() + ',' + std::string(challenge) + ',' + without;
    signature = "v=" + base64_encode(mta::scram::server_signature(made, message));
    std::string key = mta::scram::client_key(password, *salt, static_cast<std::uint32_t>(*iterations));
    std::string mask = mta::scram::hmac(made.stored_key, message);
    for (std::size_t at = 0; at < key.size(); ++at) key[at] = static_cast<char>(key[at] ^ mask[at]);
    return without + ",p=" + base64_encode(key);
  }
};

}  // namespace waypost::tests
