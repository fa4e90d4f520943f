// smtp/transparency.h: the body between DATA and its end: dot-stuffing (RFC 5321 §4.5.2) and line ends, both ways. No
// I/O.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace waypost::smtp {

/// The longest line of text, without CRLF (RFC 5321 §4.5.3.1.6).
inline constexpr std::size_t kMaxTextLine = 998;

/// What reception learnt about a body, so that sending need not read it again.
struct BodyNotes {
  std::uint64_t octets = 0;        ///< of the decoded body
  std::uint64_t longest_line = 0;  ///< octets, without CRLF
  bool has_dot_lines = false;      ///< a decoded line begins with a dot: it must be stuffed when sent on
  bool eight_bit = false;          ///< an octet over 127
  bool nul = false;                ///< a NUL, kept in the body
  bool bare_line_end = false;      ///< a CR or LF that was not CRLF; it is CRLF in the body, but in a binary one
  bool is_text() const { return !nul && !bare_line_end && longest_line <= kMaxTextLine; }
  bool operator==(const BodyNotes&) const = default;
};

/// What follows 354, or BDAT, in chunks as they come -> the body with CRLF line ends and without stuffed dots.
///
/// The end is CRLF.CRLF on the wire and nothing else; a `.` CRLF at the very start ends an empty body, if the command
/// before it ended with CRLF. A bare CR or LF becomes CRLF in the body, but ends no line as far as the dot is concerned:
/// a line `.` before or after it is content, and a dot after it is not taken off (a client that stuffs does so after
/// CRLF). So no peer's idea of a line smuggles a message past us.
class BodyDecoder {
 public:
  /// `counted`: by BDAT (RFC 3030 §2): no dot means anything, and finish() tells of the end. `binary`: likewise, with
  /// BODY=BINARYMIME (§3): every octet is kept as it is, and only noted.
  enum class Framing : std::uint8_t { dot, counted, binary };
  explicit BodyDecoder(Framing framing = Framing::dot, bool after_crlf = true)
      : framing_(framing), state_(after_crlf ? State::line_start : State::text) {}

  struct Step {
    std::size_t consumed =
        0;  ///< octets of the chunk; all of it unless it held the end, what follows being the next command
    bool ended = false;
  };
  /// Appends the decoded octets to `out`. After the end it consumes nothing.
  Step feed(std::string_view chunk, std::string& out);

  /// The end of a counted body: appends what is missing of its last line.
  void finish(std::string& out);

  /// Of what was decoded so far; a CR or a dot whose meaning hangs on the next chunk is not in it.
  const BodyNotes& notes() const { return notes_; }
  bool ended() const { return state_ == State::end; }
  Framing framing() const { return framing_; }

 private:
  enum class State : std::uint8_t { line_start, dot, dot_cr, text, cr, end };

  void slow(char c, std::string& out);
  void take_binary(std::string_view chunk, std::string& out);
  void keep(std::string_view run, std::string& out);
  void end_line(std::string& out);

  BodyNotes notes_;
  Framing framing_;
  std::uint64_t line_octets_ = 0;  // of the decoded line so far
  State state_;
};

/// A body, in chunks -> what follows 354 or BDAT on the wire. A bare CR or LF becomes CRLF here too, whatever the store
/// holds. Not needed for a body that came through BodyDecoder without has_dot_lines: it can be sent as it is, then
/// kEndOfData.
class BodyEncoder {
 public:
  /// `dots`: a dot at the beginning of a line is stuffed, and finish() appends kEndOfData; else, for BDAT, neither.
  explicit BodyEncoder(bool dots = true) : dots_(dots) {}
  void feed(std::string_view chunk, std::string& out);
  /// Appends the end: a CRLF if the body has no final one, and `.` CRLF.
  void finish(std::string& out);
  void reset() { *this = BodyEncoder(dots_); }

 private:
  bool dots_;
  bool line_start_ = true;
  bool cr_ = false;  // a CR at the end of the last chunk, not yet written
};

/// After a body that is empty or ends with CRLF.
inline constexpr std::string_view kEndOfData = ".\r\n";

}  // namespace waypost::smtp
