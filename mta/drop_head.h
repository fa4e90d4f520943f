// mta/drop_head.h: the front of a file in the drop folder. Pure.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace waypost::mta {

/// What stands before the content of a file, which is batch SMTP (RFC 2442): one MAIL, some RCPT, DATA.
struct DropHead {
  static constexpr std::size_t kMaxOctets = 1 << 20;
  std::string mail;                     ///< without line ends, as the other ones
  std::vector<std::string> recipients;  ///< at least one
  std::size_t octets = 0;               ///< where the content begins
};

/// From the beginning of a file. nullopt: it goes on. Errors: invalid (another command, a line that is too long or does
/// not end with CRLF, a head over kMaxOctets). What the commands say is the session's to judge.
Result<std::optional<DropHead>> parse_drop_head(std::string_view text);

}  // namespace waypost::mta
