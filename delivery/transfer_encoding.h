// delivery/transfer_encoding.h: octets in pieces -> quoted-printable (RFC 2045 §6.7) and base64 (§6.8), in lines of at
// most 76 octets. Pure.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace waypost::delivery {

/// Text: its line ends stay line ends, all else that is not printable ASCII is encoded, a bare CR or LF as well, and
/// white space where a line ends. No line begins with a hyphen: none becomes a delimiter of what the text is in.
class QuotedPrintableEncoder {
 public:
  /// Octets of a line, without its CRLF.
  void text(std::string_view run, std::string& out);
  void line_end(std::string& out);
  /// The end of the text, where no line end is.
  void finish(std::string& out);

 private:
  void put(char octet, bool encoded, std::string& out);
  void put_space(bool encoded, std::string& out);

  std::size_t column_ = 0;
  char space_ = 0;  ///< a space or tab, not yet written: what follows says how
};

/// Data: a line end is two octets of it.
class Base64Encoder {
 public:
  void feed(std::string_view run, std::string& out);
  /// Writes the last line, without a CRLF.
  void finish(std::string& out);

 private:
  void put_line(std::string& out);

  std::string line_;      ///< octets that are not written yet: less than one line of them
  bool written_ = false;  ///< a line was, whose CRLF goes out before the next one
};

}  // namespace waypost::delivery
