// smtp/scram.h: what both sides of SCRAM compute (RFC 5802, RFC 7677), and the parts of its messages. Pure.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace waypost::smtp::scram {

/// Of SCRAM-SHA-1, SCRAM-SHA-256.
enum class Hash { sha1, sha256 };

/// H() of RFC 5802 §2.2: 20 or 32 octets.
std::string digest(Hash hash, std::string_view octets);
/// HMAC(), as long as digest().
std::string hmac(Hash hash, std::string_view key, std::string_view octets);
/// Hi(): SaltedPassword, from 1 to 2^31 - 1 iterations. Takes as long as they do: not on a loop.
std::string salted(Hash hash, std::string_view password, std::string_view salt, std::uint32_t iterations);
/// XOR, of two of one length.
std::string exclusive_or(std::string_view a, std::string_view b);
/// True if they are the same. Takes as long wherever they differ; their lengths are no secret.
bool equal(std::string_view a, std::string_view b);

/// A login or a password as RFC 4013 prepares it, but for NFKC and the mapping of spaces: 1 to `longest` octets of
/// UTF-8 without control characters (C0, DEL, C1), compared octet by octet. False if this is none.
bool is_prepared(std::string_view text, std::size_t longest);

/// RFC 5802 §5.1: `=2C` is a comma, `=3D` an equals sign.
std::string saslname(std::string_view name);
/// nullopt: another `=`, or a comma.
std::optional<std::string> parse_saslname(std::string_view text);
/// 1 to `longest` octets, printable, without a space or a comma.
bool is_nonce(std::string_view text, std::size_t longest);
/// The value of `x=value` off the front of `text`, with the comma behind it. nullopt: another attribute, or none.
std::optional<std::string_view> take_attribute(std::string_view& text, char name);

}  // namespace waypost::smtp::scram
