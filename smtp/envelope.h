// smtp/envelope.h: the envelope of one mail transaction (RFC 5321 §2.3.1) with the parameters of its extensions.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "smtp/path.h"

namespace waypost::smtp {

enum class BodyType : std::uint8_t { seven_bit, eight_bit_mime, binary_mime };  ///< RFC 6152, RFC 3030
enum class Ret : std::uint8_t { unspecified, full, headers };                   ///< RFC 3461 §4.3

/// NOTIFY of RFC 3461 §4.1, as bits. No bit: not given.
struct Notify {
  static constexpr std::uint8_t kNever = 1, kSuccess = 2, kFailure = 4, kDelay = 8;
  /// None of the protocol's: this recipient came by an alias, which ORCPT names, and the sender is told of that alone.
  static constexpr std::uint8_t kByAlias = 16;
  std::uint8_t asked() const { return bits & (kNever | kSuccess | kFailure | kDelay); }
  std::uint8_t bits = 0;
  bool operator==(const Notify&) const = default;
};

struct EnvelopeRecipient {
  Path forward_path;
  Notify notify;
  std::string orcpt;  ///< as given, xtext and all: `rfc822;a@b.example`; "" if not given
};

struct Envelope {
  Path reverse_path;
  std::vector<EnvelopeRecipient> recipients;
  BodyType body = BodyType::seven_bit;
  std::optional<std::uint64_t> size;  ///< SIZE= of MAIL, octets (RFC 1870)
  bool smtputf8 = false;
  bool require_tls = false;  ///< RFC 8689
  Ret ret = Ret::unspecified;
  std::string envid;  ///< as given, xtext
};

}  // namespace waypost::smtp
