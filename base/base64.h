// base/base64.h: base64 (RFC 4648 §4), strict. Pure.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace waypost {

/// With padding, on one line.
std::string base64_encode(std::string_view octets);

/// The octets, or nullopt for all that base64_encode() would not write: another alphabet, white space, padding that
/// lacks or stands elsewhere than at the end, bits behind the last octet. "" is "".
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace waypost
