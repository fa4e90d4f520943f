#include "delivery/mail_text.h"

#include "base/escape.h"
#include "base/text.h"

namespace waypost::delivery {

std::string safe(std::string_view text, std::size_t max_octets) {
  std::string out(text.substr(0, max_octets));
  for (char& c : out) {
    if (c < ' ' || c > '~') c = '?';  // chars above 126 are negative here, or too large
  }
  return out;
}

std::string shown(std::string_view text) {
  if (is_ascii(text) || !is_utf8(text)) return safe(text);
  std::string out = escape(text, 512);
  // A backslash is part of a quoted string here.
  for (std::size_t at = out.find("\\\\"); at != std::string::npos; at = out.find("\\\\", at + 1)) out.erase(at, 1);
  return out;
}

void field(std::string& out, std::string_view name, std::string_view value) {
  std::string line = std::string(name) + ":";
  std::size_t at = 0;
  while (at < value.size()) {
    std::size_t end = value.find(' ', at);
    if (end == std::string_view::npos) end = value.size();
    const std::string_view word = value.substr(at, end - at);
    at = end + 1;
    if (line.size() + 1 + word.size() > 76 && line.size() > name.size() + 1) {
      out += line + "\r\n";
      line.clear();
    }
    if (line.empty() && word.empty()) continue;
    line += ' ';
    line += word;
  }
  if (!line.empty()) out += line + "\r\n";
}

void paragraph(std::string& out, std::string_view text, std::string_view indent, std::string_view first) {
  std::string line(first.empty() ? indent : first);
  bool empty = true;
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t end = text.find(' ', at);
    if (end == std::string_view::npos) end = text.size();
    const std::string_view word = text.substr(at, end - at);
    if (!empty && line.size() + 1 + word.size() > 72) {
      out += line + "\r\n";
      line = std::string(indent);
      empty = true;
    }
    if (!empty) line += ' ';
    line += word;
    empty = false;
    at = end + 1;
  }
  if (!empty) out += line + "\r\n";
}

}  // namespace waypost::delivery
