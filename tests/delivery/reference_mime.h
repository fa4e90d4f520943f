// tests/delivery/reference_mime.h: a MIME message taken apart and decoded a line at a time, the whole of it in memory,
// slow and plain, to compare the conversion with.
#pragma once
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/base64.h"
#include "base/text.h"
#include "delivery/mime_header.h"

namespace waypost::delivery::reference {

struct Leaf {
  std::string type;
  TransferEncoding encoding = TransferEncoding::none;
  std::string raw;  ///< as it stands in the message
};

struct Parsed {
  std::vector<std::string> headers;  ///< header sections, in order
  std::vector<Leaf> leaves;
  std::vector<std::string> lines;  ///< all that are in no header section, without CRLF
};

struct Line {
  std::string text;
  bool crlf = false;
};

inline std::vector<Line> lines_of(std::string_view message) {
  std::vector<Line> lines;
  while (!message.empty()) {
    std::size_t end = message.find("\r\n");
    bool crlf = end != std::string_view::npos;
    lines.push_back(Line{std::string(message.substr(0, end)), crlf});
    message.remove_prefix(crlf ? end + 2 : message.size());
  }
  return lines;
}

class Parser {
 public:
  explicit Parser(std::string_view message) : lines_(lines_of(message)) {}

  Parsed parse() {
    entity("text/plain");
    return std::move(out_);
  }

 private:
  struct Boundary {
    std::string text;
    bool closed = false;
  };

  /// The level that the current line is a delimiter of.
  std::optional<std::size_t> delimiter() const {
    std::string_view line = trim_back(lines_[at_].text);
    if (lines_[at_].text.size() > smtp::kMaxTextLine) return std::nullopt;
    for (std::size_t level = stack_.size(); level-- > 0;) {
      std::string begin = "--" + stack_[level].text;
      if (!stack_[level].closed && (line == begin || line == begin + "--")) return level;
    }
    return std::nullopt;
  }

  bool goes_on() const { return at_ < lines_.size() && !delimiter(); }

  std::string take_line() {
    const Line& line = lines_[at_++];
    out_.lines.push_back(line.text);
    return line.text + (line.crlf ? "\r\n" : "");
  }

  MimeHeader header(std::string_view default_type) {
    std::string section;
    bool blank = false;
    while (goes_on() && !blank) {
      const Line& line = lines_[at_];
      blank = line.text.empty();
      bool continues = !section.empty() && !blank && is_space(line.text.front());
      if (!blank && !continues && field_name(line.text).empty()) break;
      if (!blank) section += line.text + (line.crlf ? "\r\n" : "");
      ++at_;
    }
    out_.headers.push_back(section);
    return parse_mime_header(section, blank, default_type);
  }

  void entity(std::string_view default_type) {
    MimeHeader top = header(default_type);
    if (top.kind == MimeHeader::Kind::message) return entity("text/plain");
    if (top.kind == MimeHeader::Kind::multipart) return parts(top);
    Leaf leaf{top.type, top.encoding, ""};
    while (goes_on()) leaf.raw += take_line();
    bool ended = at_ < lines_.size();
    if (ended && leaf.raw.ends_with("\r\n")) leaf.raw.resize(leaf.raw.size() - 2);
    out_.leaves.push_back(leaf);
  }

  void parts(const MimeHeader& top) {
    std::size_t level = stack_.size();
    stack_.push_back(Boundary{top.boundary});
    while (goes_on()) take_line();
    while (at_ < lines_.size() && delimiter() == level) {
      stack_[level].closed = trim_back(lines_[at_].text) != "--" + top.boundary;
      take_line();
      if (!stack_[level].closed) entity(top.type == "multipart/digest" ? "message/rfc822" : "text/plain");
      while (stack_[level].closed && goes_on()) take_line();
    }
    stack_.pop_back();
  }

  std::vector<Line> lines_;
  std::size_t at_ = 0;
  std::vector<Boundary> stack_;
  Parsed out_;
};

inline Parsed parse(std::string_view message) {
  return Parser(message).parse();
}

inline std::optional<unsigned> hex(std::string_view digits) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  if (digits.size() != 2) return std::nullopt;
  std::size_t high = kHex.find(digits[0]), low = kHex.find(digits[1]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<unsigned>(high * 16 + low);
}

/// RFC 2045 §6.7; nullopt for what an encoder must not write.
inline std::optional<std::string> decode_quoted_printable(std::string_view text) {
  std::string out;
  for (const Line& line : lines_of(text)) {
    std::string_view rest = line.text;
    if (rest.size() > 76 || trim_back(rest) != rest) return std::nullopt;
    bool soft = rest.ends_with('=');
    if (soft) rest.remove_suffix(1);
    while (!rest.empty()) {
      char c = rest.front();
      std::optional<unsigned> octet = c == '=' ? hex(rest.substr(1, 2)) : static_cast<unsigned char>(c);
      bool literal = c == '\t' || (c >= ' ' && c < 0x7F);
      if (!octet || !literal) return std::nullopt;
      out += static_cast<char>(*octet);
      rest.remove_prefix(c == '=' ? 3 : 1);
    }
    if (!soft && line.crlf) out += "\r\n";
  }
  return out;
}

inline std::optional<std::string> decode_base64(std::string_view text) {
  std::string digits;
  for (const Line& line : lines_of(text)) {
    if (line.text.size() > 76) return std::nullopt;
    digits += line.text;
  }
  return base64_decode(digits);
}

/// What the leaf holds, if `original` was not encoded and it is; else its octets.
inline std::optional<std::string> content(const Leaf& leaf, const Leaf& original) {
  bool was_encoded = original.encoding == leaf.encoding;
  if (!was_encoded && leaf.encoding == TransferEncoding::quoted_printable) return decode_quoted_printable(leaf.raw);
  if (!was_encoded && leaf.encoding == TransferEncoding::base64) return decode_base64(leaf.raw);
  return leaf.raw;
}

/// The fields of a header section that a conversion has no business with.
inline std::vector<std::string> other_fields(std::string_view section) {
  std::vector<std::string> fields;
  while (!section.empty()) {
    const MimeField field = take_field(section);
    bool may_change = equals_no_case(field.name, "Content-Transfer-Encoding") ||
                      equals_no_case(field.name, "MIME-Version") ||
                      field.raw == "Content-Type: text/plain; charset=unknown-8bit\r\n";
    if (!may_change) fields.emplace_back(field.raw);
  }
  return fields;
}

/// "" if `converted` says the same as `original`, part by part; else what does not hold.
inline std::string compare(std::string_view original, std::string_view converted) {
  Parsed was = parse(original), is = parse(converted);
  if (is.headers.size() != was.headers.size() || is.leaves.size() != was.leaves.size()) return "the parts are the same";
  for (std::size_t i = 0; i < was.headers.size(); ++i)
    if (other_fields(is.headers[i]) != other_fields(was.headers[i])) return "other fields are the same";
  for (std::size_t i = 0; i < was.leaves.size(); ++i) {
    if (is.leaves[i].type != was.leaves[i].type) return "types are the same";
    if (content(is.leaves[i], was.leaves[i]) != was.leaves[i].raw) return "contents are the same";
  }
  return "";
}

/// No line outside of header sections has what is not 7bit.
inline bool is_7bit(std::string_view message) {
  std::vector<std::string> lines = parse(message).lines;
  return std::all_of(lines.begin(), lines.end(), [](const std::string& line) {
    return line.size() <= smtp::kMaxTextLine && is_ascii(line) &&
           line.find_first_of(std::string_view("\0\r\n", 3)) == std::string::npos;
  });
}

}  // namespace waypost::delivery::reference
