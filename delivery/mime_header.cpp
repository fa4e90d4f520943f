#include "delivery/mime_header.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace waypost::delivery {

namespace {

constexpr std::string_view kCrlf = "\r\n";

bool is_ftext(char c) {
  return c > ' ' && c < 0x7F && c != ':';
}

/// Takes white space and comments (RFC 5322 §3.2.2) off the front. A comment without an end goes to the end.
void skip_cfws(std::string_view& text) {
  int depth = 0;
  while (!text.empty()) {
    char c = text.front();
    if (c == '(') {
      ++depth;
    } else if (depth == 0) {
      if (!is_space(c)) return;
    } else if (c == ')') {
      --depth;
    } else if (c == '\\' && text.size() > 1) {
      text.remove_prefix(1);
    }
    text.remove_prefix(1);
  }
}

/// Takes what stands before the next of `ends`, white space or comment.
std::string_view take_until(std::string_view& text, std::string_view ends) {
  std::size_t at = 0;
  while (at < text.size() && !is_space(text[at]) && text[at] != '(' && ends.find(text[at]) == std::string_view::npos)
    ++at;
  std::string_view word = text.substr(0, at);
  text.remove_prefix(at);
  return word;
}

/// Takes a quoted string, its opening quote being the front. One without an end goes to the end.
std::string take_quoted(std::string_view& text) {
  std::string out;
  text.remove_prefix(1);
  while (!text.empty() && text.front() != '"') {
    if (text.front() == '\\' && text.size() > 1) text.remove_prefix(1);
    out += text.front();
    text.remove_prefix(1);
  }
  if (!text.empty()) text.remove_prefix(1);
  return out;
}

/// Takes all before the next semicolon that stands in no quoted string and no comment, and the semicolon.
void skip_parameter(std::string_view& text) {
  while (!text.empty() && text.front() != ';') {
    if (text.front() == '"') {
      take_quoted(text);
    } else if (text.front() == '(') {
      skip_cfws(text);
    } else {
      text.remove_prefix(1);
    }
  }
  if (!text.empty()) text.remove_prefix(1);
}

bool fits_a_delimiter(std::string_view boundary) {
  bool visible = std::all_of(boundary.begin(), boundary.end(), [](char c) { return c >= ' ' && c < 0x7F; });
  return visible && !boundary.empty() && boundary.size() <= kMaxBoundary;
}

bool is_encoded(TransferEncoding encoding) {
  return encoding == TransferEncoding::quoted_printable || encoding == TransferEncoding::base64 ||
         encoding == TransferEncoding::unknown;
}

MimeHeader::Kind kind_of(const MimeHeader& header) {
  using Kind = MimeHeader::Kind;
  const std::string& type = header.type;
  if (type.starts_with("multipart/")) return header.boundary.empty() ? Kind::broken : Kind::multipart;
  if (type == "message/partial" || type == "message/external-body") return Kind::seven_bit;
  // Encoded against RFC 2045 §6.4 it is a leaf that stays as it is. message/global may be encoded as a whole (RFC 6532
  // §3.7), and has to be, since its own header section is in UTF-8.
  if (type == "message/rfc822" && !is_encoded(header.encoding)) return Kind::message;
  return type.starts_with("text/") || type.starts_with("message/") ? Kind::text : Kind::data;
}

/// `not_7bit`: what is to be told of that.
void note_field(std::string_view raw, MimeHeader& header, bool& not_7bit) {
  while (!raw.empty()) {
    std::size_t end = raw.find(kCrlf);
    std::string_view line = raw.substr(0, end);
    OctetNotes notes = note_octets(line);
    if (notes.eight_bit) header.eight_bit = true;
    if (notes.line_end) header.bare_line_end = true;
    if (!notes.plain() || line.size() > smtp::kMaxTextLine) not_7bit = true;
    raw.remove_prefix(end == std::string_view::npos ? raw.size() : end + kCrlf.size());
  }
}

}  // namespace

std::string_view field_name(std::string_view line) {
  std::size_t end = 0;
  while (end < line.size() && is_ftext(line[end])) ++end;
  std::size_t colon = end;
  while (colon < line.size() && is_space(line[colon])) ++colon;
  bool is_field = end > 0 && colon < line.size() && line[colon] == ':';
  return is_field ? line.substr(0, end) : std::string_view();
}

MimeField take_field(std::string_view& section) {
  std::size_t end = 0;
  do {
    std::size_t crlf = section.find(kCrlf, end);
    end = crlf == std::string_view::npos ? section.size() : crlf + kCrlf.size();
  } while (end < section.size() && is_space(section[end]));
  MimeField field{field_name(section), section.substr(0, end)};
  section.remove_prefix(end);
  return field;
}

std::string MimeField::value() const {
  std::string out;
  std::string_view rest = split_once(raw, ':').second;
  while (!rest.empty()) {
    std::size_t end = rest.find(kCrlf);
    out.append(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + kCrlf.size());
  }
  return std::string(trim(out));
}

TransferEncoding parse_transfer_encoding(std::string_view value) {
  skip_cfws(value);
  std::string_view word = take_until(value, ";");
  if (equals_no_case(word, "7bit")) return TransferEncoding::seven_bit;
  if (equals_no_case(word, "8bit")) return TransferEncoding::eight_bit;
  if (equals_no_case(word, "binary")) return TransferEncoding::binary;
  if (equals_no_case(word, "quoted-printable")) return TransferEncoding::quoted_printable;
  if (equals_no_case(word, "base64")) return TransferEncoding::base64;
  // A field that says nothing is as none.
  return word.empty() ? TransferEncoding::none : TransferEncoding::unknown;
}

std::string parse_content_type(std::string_view value) {
  skip_cfws(value);
  std::string type = to_lower(take_until(value, "/;"));
  skip_cfws(value);
  if (type.empty() || !value.starts_with('/')) return "text/plain";
  value.remove_prefix(1);
  skip_cfws(value);
  std::string subtype = to_lower(take_until(value, "/;"));
  return subtype.empty() ? "text/plain" : type + "/" + subtype;
}

std::optional<std::string> parse_boundary(std::string_view value) {
  skip_parameter(value);  // the type
  while (!value.empty()) {
    skip_cfws(value);
    std::string_view name = take_until(value, "=;");
    skip_cfws(value);
    if (equals_no_case(name, "boundary") && value.starts_with('=')) {
      value.remove_prefix(1);
      skip_cfws(value);
      std::string boundary = value.starts_with('"') ? take_quoted(value) : std::string(take_until(value, ";"));
      boundary.resize(trim_back(boundary).size());
      if (!fits_a_delimiter(boundary)) return std::nullopt;
      return boundary;
    }
    skip_parameter(value);
  }
  return std::nullopt;
}

MimeHeader parse_mime_header(std::string section, bool blank_line, std::string_view default_type) {
  MimeHeader header;
  header.section = std::move(section);
  header.blank_line = blank_line;
  header.type = default_type;
  bool has_encoding = false;
  std::string_view fields = header.section;
  while (!fields.empty()) {
    const MimeField field = take_field(fields);
    if (equals_no_case(field.name, "MIME-Version")) header.has_mime_version = true;
    // Of several the first counts, as it does for most readers.
    if (equals_no_case(field.name, "Content-Type") && !std::exchange(header.has_content_type, true)) {
      const std::string value = field.value();
      header.type = parse_content_type(value);
      header.boundary = parse_boundary(value).value_or("");
    }
    bool is_label = equals_no_case(field.name, "Content-Transfer-Encoding");
    if (is_label && !std::exchange(has_encoding, true)) header.encoding = parse_transfer_encoding(field.value());
    note_field(field.raw, header, is_label ? header.label_not_7bit : header.not_7bit);
  }
  header.kind = kind_of(header);
  return header;
}

OctetNotes note_octets(std::string_view run) {
  unsigned high = 0;
  unsigned nul = 0;
  unsigned line_end = 0;
  for (char c : run) {  // without branches, so that compilers take many octets at a time
    high |= static_cast<unsigned char>(c);
    nul |= c == 0 ? 1U : 0U;
    line_end |= c == '\r' || c == '\n' ? 1U : 0U;
  }
  return OctetNotes{(high & 0x80U) != 0, nul != 0, line_end != 0};
}

}  // namespace waypost::delivery
