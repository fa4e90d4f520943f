// tests/smtp/reference_body.h: dot-stuffing and line ends told a line at a time, slow and plain, to compare the real
// one with.
#pragma once
#include <algorithm>
#include <string>
#include <string_view>

#include "smtp/transparency.h"

namespace waypost::smtp::reference {

struct Decoded {
  std::string body;
  BodyNotes notes;
  bool ended = false;
  std::size_t consumed = 0;
};

inline void note_line(std::string_view line, BodyNotes& notes) {
  if (line.starts_with('.')) notes.has_dot_lines = true;
  notes.longest_line = std::max<std::uint64_t>(notes.longest_line, line.size());
  for (char c : line) {
    if (c == '\0') notes.nul = true;
    if (static_cast<unsigned char>(c) > 127) notes.eight_bit = true;
  }
}

/// All that comes after 354, in one piece; `after_crlf`: so DATA ended.
inline Decoded decode(std::string_view wire, bool after_crlf = true) {
  Decoded out;
  std::size_t at = 0;
  while (at < wire.size()) {
    std::size_t end = wire.find_first_of("\r\n", at);
    bool known = end != std::string_view::npos && (wire[end] == '\n' || end + 1 < wire.size());
    std::string line(wire.substr(at, end == std::string_view::npos ? end : end - at));
    if (!known) {  // the last line, of which the end has not come
      if (after_crlf && line.starts_with('.')) line.erase(0, 1);
      out.body += line;
      BodyNotes notes = out.notes;
      note_line(line, notes);
      notes.longest_line = out.notes.longest_line;
      out.notes = notes;
      break;
    }
    bool crlf = wire[end] == '\r' && wire[end + 1] == '\n';
    at = end + (crlf ? 2 : 1);
    if (after_crlf && line == "." && crlf) {
      out.ended = true;
      out.consumed = at;
      out.notes.octets = out.body.size();
      return out;
    }
    if (after_crlf && line.starts_with('.') && line != ".") line.erase(0, 1);
    out.body += line + "\r\n";
    note_line(line, out.notes);
    if (!crlf) out.notes.bare_line_end = true;
    after_crlf = crlf;
  }
  out.consumed = wire.size();
  out.notes.octets = out.body.size();
  return out;
}

/// All that came by BDAT, in one piece.
inline Decoded decode_counted(std::string_view octets) {
  Decoded out;
  out.ended = true;
  out.consumed = octets.size();
  while (!octets.empty()) {
    std::size_t end = octets.find_first_of("\r\n");
    std::string line(octets.substr(0, end));
    bool crlf = end != std::string_view::npos && octets.substr(end, 2) == "\r\n";
    if (end != std::string_view::npos && !crlf) out.notes.bare_line_end = true;
    octets.remove_prefix(std::min(octets.size(), end == std::string_view::npos ? end : end + (crlf ? 2 : 1)));
    out.body += line + "\r\n";
    note_line(line, out.notes);
  }
  out.notes.octets = out.body.size();
  return out;
}

/// A whole body -> what follows 354, with the end.
inline std::string encode(std::string_view body) {
  std::string lines;
  for (std::size_t i = 0; i < body.size(); ++i) {
    bool crlf = body[i] == '\r' && i + 1 < body.size() && body[i + 1] == '\n';
    if (crlf) ++i;
    if (body[i] == '\r' || body[i] == '\n')
      lines += "\r\n";
    else
      lines += body[i];
  }
  if (!lines.empty() && !lines.ends_with("\r\n")) lines += "\r\n";
  std::string out;
  for (std::size_t at = 0; at < lines.size();) {
    std::size_t end = lines.find("\r\n", at) + 2;
    if (lines[at] == '.') out += '.';
    out.append(lines, at, end - at);
    at = end;
  }
  return out + ".\r\n";
}

}  // namespace waypost::smtp::reference
