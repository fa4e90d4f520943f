// base/escape.h: peer text made fit for a log line, a terminal, a reply of ours. No peer gets a second line.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace waypost {

/// One line of valid UTF-8 whatever comes in. Escaped as `\xNN`: C0 and DEL (but `\t`, `\r`, `\n` by these names), and
/// each octet that is no valid UTF-8; as `\uNNNN`: C1, bidirectional controls, line and paragraph separators, and other
/// characters that are not seen. A backslash becomes two. Cut with `...` where the result would be over `max_octets`,
/// never inside a character or an escape.
std::string escape(std::string_view text, std::size_t max_octets = 1000);

/// Length of the valid UTF-8 character (RFC 3629) at the front of `text`: 1 to 4, or 0 if there is none.
std::size_t utf8_character(std::string_view text);

/// True if all of it is valid UTF-8 (RFC 3629: no overlong forms, no surrogates).
bool is_utf8(std::string_view text);

/// True if a C1 control (U+0080 to U+009F), which no address has use for, is in valid UTF-8.
bool has_c1(std::string_view text);

}  // namespace waypost
