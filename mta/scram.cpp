#include "mta/scram.h"

#include <array>
#include <optional>
#include <vector>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "base/base64.h"
#include "base/text.h"

namespace waypost::mta::scram {
namespace {

constexpr std::size_t kOctets = SHA256_DIGEST_LENGTH;
constexpr std::size_t kLongestSalt = 256;
constexpr std::string_view kScheme = "{SCRAM-SHA-256}";

using Digest = std::array<unsigned char, kOctets>;

const unsigned char* octets_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string string_of(const Digest& digest) {
  return std::string(digest.begin(), digest.end());
}

std::string salted(std::string_view password, std::string_view salt, std::uint32_t iterations) {
  Digest out{};
  PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), octets_of(salt), static_cast<int>(salt.size()),
                    static_cast<int>(iterations), EVP_sha256(), static_cast<int>(out.size()), out.data());
  return string_of(out);
}

}  // namespace

std::string sha256(std::string_view octets) {
  Digest out{};
  SHA256(octets_of(octets), octets.size(), out.data());
  return string_of(out);
}

std::string hmac(std::string_view key, std::string_view octets) {
  Digest out{};
  unsigned int length = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), octets_of(octets), octets.size(), out.data(), &length);
  return string_of(out);
}

bool equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string client_key(std::string_view password, std::string_view salt, std::uint32_t iterations) {
  return hmac(salted(password, salt, iterations), "Client Key");
}

ScramVerifier make_verifier(std::string_view password, std::string_view salt, std::uint32_t iterations) {
  const std::string key = salted(password, salt, iterations);
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
  std::string client_key = hmac(verifier.stored_key, auth_message);
  for (std::size_t i = 0; i < kOctets; ++i) client_key[i] = static_cast<char>(client_key[i] ^ proof[i]);
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
