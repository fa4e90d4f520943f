// smtp/reply_parser.h: a server's replies, line by line, for the client side. No I/O.
#pragma once
#include <cstddef>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "smtp/reply.h"

namespace waypost::smtp {

/// Assembles one reply of one or more lines (RFC 5321 §4.2). Reusable after each reply.
class ReplyParser {
 public:
  static constexpr std::size_t kMaxLineOctets =
      512;                                       ///< of a line are kept, unless keep() says so; the rest is dropped
  static constexpr std::size_t kMaxLines = 128;  ///< are kept; those after them are read and dropped
  static constexpr std::size_t kMaxLinesRead = 10'000;

  /// Takes a line without its line end, of any length.
  /// Returns the reply if this was its last line, nullopt while more are due. The first enhanced status code among its
  /// lines is in Reply::enhanced, and those at the fronts of lines are taken off the text. Errors: protocol (no code of
  /// 200 to 599, one unlike the first line's, no end of lines); drop the connection then.
  Result<std::optional<Reply>> on_line(std::string_view line);

  /// True in the middle of a reply.
  bool pending() const { return lines_read_ > 0; }
  void reset();
  void keep(std::size_t line_octets) { kept_ = line_octets; }

 private:
  Reply reply_;
  std::size_t lines_read_ = 0;
  std::size_t kept_ = kMaxLineOctets;
};

}  // namespace waypost::smtp
