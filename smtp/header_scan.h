// smtp/header_scan.h: what a relay has to know of a header section (RFC 5322 §2.2), with no full parse. No I/O.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace waypost::smtp {

struct HeaderNotes {
  int hops = 0;                           ///< Received fields (RFC 5321 §6.3)
  int own_hops = 0;                       ///< those with `by` our own host
  int fields = 0;                         ///< in all
  std::vector<std::string> delivered_to;  ///< values, the first HeaderScan::kMaxDeliveredTo of them
  std::string message_id;                 ///< of the first Message-ID, trimmed, cut at kMaxValue; not escaped
  std::uint64_t octets = 0;               ///< of its fields with their line ends
  bool has_date = false;
  bool has_message_id = false;
  bool has_from = false;
  bool non_ascii = false;  ///< an octet over 127 in the value of a field
  bool not_text = false;   ///< a NUL in a field, or a CR or LF that is not part of a CRLF
  bool cut_short = false;  ///< a line that is no field ended the section: there may be fields behind it
  bool operator==(const HeaderNotes&) const = default;
};

/// Reads the front of a body (CRLF line ends) up to the blank line, or to the first line that is neither a field nor a
/// continuation of one. A first line `From ` of a mailbox file is passed over, as readers do. Memory is bounded
/// whatever comes.
class HeaderScan {
 public:
  static constexpr std::size_t kMaxName = 64;     ///< longer field names are none that are looked for
  static constexpr std::size_t kMaxValue = 1024;  ///< of a value, unfolded, are looked at
  static constexpr std::size_t kMaxDeliveredTo = 100;

  /// `own_host`: the name in our Received lines, for HeaderNotes::own_hops; "" counts none.
  explicit HeaderScan(std::string own_host = {}) : own_host_(std::move(own_host)) {}

  /// True once it wants no more; further chunks are passed over.
  bool feed(std::string_view chunk);
  /// The body ends here: a header section without a blank line after it is one too.
  void finish();
  const HeaderNotes& notes() const { return notes_; }

 private:
  enum class State : std::uint8_t { line_start, name, after_name, value, passed_over, end };
  enum class Field : std::uint8_t { other, received, delivered_to, message_id };

  void on_char(char c);
  void begin_value();
  void end_field();
  void stop();
  void no_field();
  void look_at(std::string_view part, bool line_ends);

  std::string own_host_;
  HeaderNotes notes_;
  std::string name_;
  std::string value_;
  std::uint64_t line_octets_ = 0;  // of the line so far
  State state_ = State::line_start;
  Field field_ = Field::other;
  bool in_field_ = false;
  bool first_line_ = true;
  bool after_cr_ = false;  // in a value
};

}  // namespace waypost::smtp
