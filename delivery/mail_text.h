// delivery/mail_text.h: the lines of mail that Waypost itself writes. No text of a peer, whatever is in it, makes a
// field or a line of its own. Pure.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace waypost::delivery {

/// One line for certain, in US-ASCII: what a field of a machine-readable part may hold.
std::string safe(std::string_view text, std::size_t max_octets = 512);

/// One line for certain, in UTF-8 where it is that: for people, and addresses in a header section (RFC 6533 §4).
std::string shown(std::string_view text);

/// `Name: value`, folded at spaces before column 76 where there are any. A line that continues it is never blank: many
/// readers take that for the end of the section.
void field(std::string& out, std::string_view name, std::string_view value);

/// Text for people at 72 columns. The first line begins with `first`, the others are indented; "": as these.
void paragraph(std::string& out, std::string_view text, std::string_view indent, std::string_view first = "");

}  // namespace waypost::delivery
