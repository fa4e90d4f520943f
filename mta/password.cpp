#include "mta/password.h"

#include <array>
#include <memory>
#include <string>

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "mta/sasl.h"

namespace waypost::mta {
namespace {

constexpr std::size_t kSalt = 16;
constexpr std::uint32_t kIterations = 100'000;  // the client's to compute, once a login
constexpr const char* kMethod = "$y$";          // yescrypt, at the cost that the library deems right

/// "" where crypt(3) fails.
std::string hashed(const std::string& password, const std::string& setting) {
  const auto data = std::make_unique<crypt_data>();  // 32 KiB
  const char* hash = crypt_r(password.c_str(), setting.c_str(), data.get());
  std::string out = hash != nullptr && hash[0] != '*' ? hash : "";
  OPENSSL_cleanse(data.get(), sizeof(crypt_data));
  return out;
}

}  // namespace

bool matches(const Credentials& credentials, std::string_view password) {
  if (credentials.has_hash()) {
    const std::string made = hashed(std::string(password), credentials.hash);
    return !made.empty() && scram::equal(made, credentials.hash);
  }
  return credentials.has_scram() && scram::matches(*credentials.scram, password);
}

Result<Credentials> make_credentials(std::string_view password) {
  if (!sasl::is_prepared(password, sasl::kLongestPassword))
    return fail(Errc::invalid, "a password has 1 to 255 octets of UTF-8, without controls");
  std::array<char, CRYPT_GENSALT_OUTPUT_SIZE> setting{};
  std::array<unsigned char, kSalt> salt{};
  const bool made =
      crypt_gensalt_rn(kMethod, 0, nullptr, 0, setting.data(), static_cast<int>(setting.size())) != nullptr;
  if (!made || RAND_bytes(salt.data(), static_cast<int>(salt.size())) != 1)
    return fail(Errc::internal, "no salt is to be had from the system");
  Credentials out;
  out.hash = hashed(std::string(password), setting.data());
  if (out.hash.empty()) return fail(Errc::internal, "crypt(3) made no hash");
  const std::string octets(salt.begin(), salt.end());
  out.scram = scram::make_verifier(password, octets, kIterations);
  return out;
}

}  // namespace waypost::mta
