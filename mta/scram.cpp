#include "mta/scram.h"

#include <optional>
#include <vector>

#include "base/base64.h"
#include "base/text.h"
#include "smtp/scram.h"

namespace waypost::mta::scram {
namespace {

namespace shared = smtp::scram;

constexpr shared::Hash kHash = shared::Hash::sha256;
constexpr std::size_t kOctets = 32;  // of its digests
constexpr std::size_t kLongestSalt = 256;
constexpr std::string_view kScheme = "{SCRAM-SHA-256}";

}  // namespace

std::string sha256(std::string_view octets) {
  return shared::digest(kHash, octets);
}

std::string hmac(std::string_view key, std::string_view octets) {
  return shared::hmac(kHash, key, octets);
}

bool equal(std::string_view a, std::string_view b) {
  return shared::equal(a, b);
}

std::string client_key(std::string_view password, std::string_view salt, std::uint32_t iterations) {
  return hmac(shared::salted(kHash, password, salt, iterations), "Client Key");
}

ScramVerifier make_verifier(std::string_view password, std::string_view salt, std::uint32_t iterations) {
  const std::string key = shared::salted(kHash, password, salt, iterations);
  ScramVerifier verifier;
  verifier.iterations = iterations;
  verifier.salt = salt;
  verifier.stored_key = sha256(hmac(key, "Client Key"));
  verifier.server_key = hmac(key, "Server Key");
  return verifier;
}

bool matches(const ScramVerifier& verifier, std::string_view password) {
  const ScramVerifier made = make_verifier(password, verifier.salt, verifier.iterations);
  return equal(made.stored_key, verifier.stored_key);
}

bool proves(const ScramVerifier& verifier, std::string_view auth_message, std::string_view proof) {
  if (proof.size() != kOctets) return false;
  const std::string client_key = shared::exclusive_or(hmac(verifier.stored_key, auth_message), proof);
  return equal(sha256(client_key), verifier.stored_key);
}

std::string server_signature(const ScramVerifier& verifier, std::string_view auth_message) {
  return hmac(verifier.server_key, auth_message);
}

std::string text(const ScramVerifier& verifier) {
  return std::string(kScheme) + std::to_string(verifier.iterations) + ',' + base64_encode(verifier.salt) + ',' +
         base64_encode(verifier.stored_key) + ',' + base64_encode(verifier.server_key);
}

Result<ScramVerifier> parse_verifier(std::string_view text) {
  if (!text.starts_with(kScheme)) return fail(Errc::invalid, "no verifier of the form {SCRAM-SHA-256}...");
  const std::vector<std::string_view> parts = split(text.substr(kScheme.size()), ',');
  if (parts.size() != 4) return fail(Errc::invalid, "a verifier has iterations, salt, StoredKey and ServerKey");
  const std::optional<std::uint64_t> iterations = parse_decimal(parts[0]);
  if (!iterations || *iterations == 0 || *iterations > ScramVerifier::kMostIterations)
    return fail(Errc::invalid, "the verifier's iterations are no number from 1 to 10000000");
  const std::optional<std::string> salt = base64_decode(parts[1]);
  if (!salt || salt->empty() || salt->size() > kLongestSalt)
    return fail(Errc::invalid, "the verifier's salt is not base64 of 1 to 256 octets");
  const std::optional<std::string> stored = base64_decode(parts[2]);
  const std::optional<std::string> server = base64_decode(parts[3]);
  if (!stored || stored->size() != kOctets || !server || server->size() != kOctets)
    return fail(Errc::invalid, "a key of the verifier is not base64 of 32 octets");
  return ScramVerifier{static_cast<std::uint32_t>(*iterations), *salt, *stored, *server};
}

}  // namespace waypost::mta::scram
