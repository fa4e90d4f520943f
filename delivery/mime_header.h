// delivery/mime_header.h: what a conversion has to know of the header section of a MIME entity (RFC 2045). Pure.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "smtp/transparency.h"

namespace waypost::delivery {

/// What a Content-Transfer-Encoding field says (RFC 2045 §6.1). `none`: there is no such field.
enum class TransferEncoding : std::uint8_t { none, seven_bit, eight_bit, binary, quoted_printable, base64, unknown };

/// One field of a header section.
struct MimeField {
  std::string_view name;  ///< without spaces before the colon
  std::string_view raw;   ///< all of it: name, value and line ends

  /// Without line ends, and without white space around it.
  std::string value() const;
};

/// Name of the field that begins with this line (RFC 5322 §2.2, and spaces before the colon: §4.5); "" if none does.
std::string_view field_name(std::string_view line);

/// Takes the first field off a header section that is not empty, and of which each line is a field or continues one.
MimeField take_field(std::string_view& section);

TransferEncoding parse_transfer_encoding(std::string_view value);

/// "text/plain" of RFC 2045 §5.1, in lower case. Of a value without a type and a subtype: text/plain (§5.2).
std::string parse_content_type(std::string_view value);

/// The boundary of a Content-Type value: a quoted string or a token, comments around it passed over; without spaces at
/// its end, which no delimiter line has. nullopt if there is none, or none that a 7-bit line of kMaxBoundary can hold.
std::optional<std::string> parse_boundary(std::string_view value);
inline constexpr std::size_t kMaxBoundary = 900;

struct MimeHeader {
  enum class Kind : std::uint8_t {
    text,       ///< text/*, and those of message/* that hold no message
    data,       ///< other leaves
    seven_bit,  ///< message/partial and message/external-body: 7bit whatever they hold (RFC 2046 §5.2.2, §5.2.3)
    broken,     ///< multipart/* without a boundary
    multipart,
    message,  ///< message/rfc822 and message/global, not encoded: the body is an entity of its own
  };

  std::string section;  ///< as it came, without the blank line
  std::string type;     ///< "text/plain"
  std::string boundary;
  Kind kind = Kind::text;
  TransferEncoding encoding = TransferEncoding::none;  ///< of the first such field
  bool has_mime_version = false;
  bool has_content_type = false;
  bool eight_bit = false;       ///< an octet over 127
  bool bare_line_end = false;   ///< a CR or LF that is not CRLF
  bool not_7bit = false;        ///< these, a NUL or a line over 998 octets, in other fields than the next
  bool label_not_7bit = false;  ///< such in a Content-Transfer-Encoding field
  bool blank_line = false;      ///< one came after it
};

/// `default_type`: of an entity without Content-Type: text/plain, or message/rfc822 in multipart/digest.
MimeHeader parse_mime_header(std::string section, bool blank_line, std::string_view default_type);

/// What is not 7bit data (RFC 2045 §2.7) in a run of octets; a CR or LF in it is bare.
struct OctetNotes {
  bool eight_bit = false;
  bool nul = false;
  bool line_end = false;
  bool plain() const { return !eight_bit && !nul && !line_end; }
};
OctetNotes note_octets(std::string_view run);

}  // namespace waypost::delivery
