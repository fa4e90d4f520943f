#include "mta/sendmail_message.h"

#include <algorithm>
#include <utility>

#include "base/base64.h"
#include "base/text.h"
#include "smtp/address_list.h"

namespace waypost::mta {
namespace {

constexpr std::size_t kMaxName = 200;  // octets of a person's name

/// The name of the field that begins with this line, in lower case; "" if none does (RFC 5322 §3.6.8; spaces before the
/// colon as in §4.5.8).
std::string field_name(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return "";
  const std::string_view name = trim_back(line.substr(0, colon));
  const bool printable = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7F; });
  return printable ? to_lower(name) : "";
}

/// `From ann Fri Nov 27 ...` as a mailbox file has it, quoted once more or not; no field with a space before its colon.
bool is_mailbox_line(std::string_view line) {
  const std::string_view bare = line.substr(std::min(line.find_first_not_of('>'), line.size()));
  return bare.starts_with("From ") && !trim_front(bare.substr(5)).starts_with(':');
}

bool is_dropped(std::string_view name) {
  return name == "bcc" || name == "resent-bcc" || name == "return-path";
}

bool names_recipients(std::string_view name, bool resent) {
  if (resent) return name == "resent-to" || name == "resent-cc" || name == "resent-bcc";
  return name == "to" || name == "cc" || name == "bcc";
}

}  // namespace

std::string from_value(std::string_view name, std::string_view address) {
  const std::string angle = "<" + std::string(address) + ">";
  std::string text(trim(name.substr(0, kMaxName)));  // a name cut within a character is one that nobody has
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7F) c = ' ';
  if (text.empty()) return std::string(address);
  if (!is_ascii(text)) {
    // An encoded word has at most 75 octets (RFC 2047 §2): 45 octets are 60 of base64. No character is cut.
    std::string words;
    while (!text.empty()) {
      std::size_t octets = std::min<std::size_t>(text.size(), 45);
      while (octets > 1 && octets < text.size() && (static_cast<unsigned char>(text[octets]) & 0xC0) == 0x80) --octets;
      words += "=?utf-8?B?" + base64_encode(text.substr(0, octets)) + "?=\r\n ";
      text.erase(0, octets);
    }
    return words + angle;
  }
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\" " + angle;
}

Result<> SendmailMessage::feed(std::string_view chunk, std::string& out) {
  for (char c : chunk) {
    if (ended_ || error_) break;
    take(c);
  }
  if (error_) return fail(*error_);
  encoder_.feed(std::exchange(text_, ""), out);
  return {};
}

Result<> SendmailMessage::finish(std::string& out) {
  if (std::exchange(dot_, false) && !error_) put('.');
  if (in_header_ && !error_) {
    if (!line_.empty()) end_header_line();
    if (in_header_ && !error_) end_header();
  }
  if (error_) return fail(*error_);
  encoder_.feed(std::exchange(text_, ""), out);
  encoder_.finish(out);
  return {};
}

void SendmailMessage::take(char c) {
  const bool second = std::exchange(after_cr_, c == '\r') && c == '\n';
  if (c == '\0' || second) return;
  if (c == '\r' || c == '\n') {
    ended_ = dot_ends_ && dot_;
    if (!ended_) end_line();
    dot_ = false;
    line_start_ = true;
    return;
  }
  if (line_start_ && c == '.') {
    line_start_ = false;
    dot_ = true;
    return;
  }
  line_start_ = false;
  if (std::exchange(dot_, false)) put('.');
  put(c);
}

void SendmailMessage::put(char c) {
  eight_bit_ = eight_bit_ || static_cast<unsigned char>(c) > 0x7F;
  if (!in_header_) {
    text_ += c;
    return;
  }
  line_ += c;
  if (header_octets_ + line_.size() <= kMaxHeader) return;
  if (fields_.empty() && field_name(line_).empty()) {
    end_header();
    text_ += std::exchange(line_, "");
  } else {
    error_ = Error(Errc::too_big, "the header section of the message is over 1 MiB");
  }
}

void SendmailMessage::end_line() {
  if (dot_) put('.');
  if (in_header_) {
    end_header_line();
  } else {
    text_ += "\r\n";
  }
}

/// `line_` is whole.
void SendmailMessage::end_header_line() {
  std::string line = std::exchange(line_, "");
  if (fields_.empty() && is_mailbox_line(line)) return;
  if (line.empty()) return end_header();
  header_octets_ += line.size() + 2;
  std::string name = field_name(line);
  if (is_space(line[0]) && !fields_.empty()) {
    fields_.back().text += line + "\r\n";
  } else if (!is_space(line[0]) && !name.empty()) {
    fields_.push_back({std::move(name), line + "\r\n"});
  } else {
    end_header();
    text_ += line + "\r\n";
  }
}

/// All fields are known: they go on, and with them what was missing.
void SendmailMessage::end_header() {
  in_header_ = false;
  const auto has = [this](std::string_view name) {
    return std::any_of(fields_.begin(), fields_.end(), [&](const Field& field) { return field.name == name; });
  };
  const bool resent = has("resent-to") || has("resent-cc") || has("resent-bcc");
  if (const Result<> taken = take_recipients_ ? take_addresses(resent) : Result<>(); !taken) error_ = taken.error();
  for (const Field& field : fields_)
    if (!is_dropped(field.name)) text_ += field.text;
  if (!has("from")) text_ += "From: " + missing_.from + "\r\n";
  if (!has("date")) text_ += "Date: " + missing_.date + "\r\n";
  if (!has("message-id")) text_ += "Message-ID: " + missing_.message_id + "\r\n";
  text_ += "\r\n";
  fields_.clear();
}

Result<> SendmailMessage::take_addresses(bool resent) {
  for (const Field& field : fields_) {
    if (!names_recipients(field.name, resent)) continue;
    const std::string_view value = std::string_view(field.text).substr(field.text.find(':') + 1);
    const Result<std::vector<smtp::Mailbox>> found = smtp::parse_address_list(value);
    if (!found) return fail(found.error().code, "in the field \"" + field.name + "\": " + found.error().what);
    recipients_.insert(recipients_.end(), found->begin(), found->end());
  }
  return {};
}

}  // namespace waypost::mta
