#include "smtp/scram.h"

#include <algorithm>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "base/escape.h"

namespace waypost::smtp::scram {
namespace {

const EVP_MD* method(Hash hash) {
  return hash == Hash::sha1 ? EVP_sha1() : EVP_sha256();
}

std::string zeros(Hash hash) {
  return std::string(hash == Hash::sha1 ? SHA_DIGEST_LENGTH : SHA256_DIGEST_LENGTH, '\0');
}

const unsigned char* octets_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

unsigned char* octets_of(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

bool is_control(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7F;
  return character.size() == 2 && first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
}

}  // namespace

std::string digest(Hash hash, std::string_view octets) {
  std::string out = zeros(hash);
  if (hash == Hash::sha1)
    SHA1(octets_of(octets), octets.size(), octets_of(out));
  else
    SHA256(octets_of(octets), octets.size(), octets_of(out));
  return out;
}

std::string hmac(Hash hash, std::string_view key, std::string_view octets) {
  std::string out = zeros(hash);
  unsigned int length = 0;
  HMAC(method(hash), key.data(), static_cast<int>(key.size()), octets_of(octets), octets.size(), octets_of(out),
       &length);
  return out;
}

std::string salted(Hash hash, std::string_view password, std::string_view salt, std::uint32_t iterations) {
  std::string out = zeros(hash);
  PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), octets_of(salt), static_cast<int>(salt.size()),
                    static_cast<int>(iterations), method(hash), static_cast<int>(out.size()), octets_of(out));
  return out;
}

std::string exclusive_or(std::string_view a, std::string_view b) {
  std::string out(a);
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<char>(out[i] ^ b[i]);
  return out;
}

bool equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

bool is_prepared(std::string_view text, std::size_t longest) {
  if (text.empty() || text.size() > longest) return false;
  while (!text.empty()) {
    const std::size_t octets = utf8_character(text);
    if (octets == 0 || is_control(text.substr(0, octets))) return false;
    text.remove_prefix(octets);
  }
  return true;
}

std::string saslname(std::string_view name) {
  std::string out;
  for (char c : name) {
    if (c == ',')
      out += "=2C";
    else if (c == '=')
      out += "=3D";
    else
      out += c;
  }
  return out;
}

std::optional<std::string> parse_saslname(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    char c = text.front();
    if (c == ',') return std::nullopt;
    if (c == '=') {
      if (text.starts_with("=2C"))
        c = ',';
      else if (text.starts_with("=3D"))
        c = '=';
      else
        return std::nullopt;
      text.remove_prefix(2);
    }
    out += c;
    text.remove_prefix(1);
  }
  return out;
}

bool is_nonce(std::string_view text, std::size_t longest) {
  return !text.empty() && text.size() <= longest &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7F && c != ','; });
}

std::optional<std::string_view> take_attribute(std::string_view& text, char name) {
  if (text.size() < 2 || text[0] != name || text[1] != '=') return std::nullopt;
  const std::size_t end = text.find(',');
  const std::string_view value = text.substr(2, end == std::string_view::npos ? end : end - 2);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return value;
}

}  // namespace waypost::smtp::scram
