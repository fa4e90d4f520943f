#include "smtp/address_list.h"

#include <string>
#include <utility>

#include "base/escape.h"
#include "base/text.h"

namespace waypost::smtp {
namespace {

constexpr std::size_t kShown = 100;  // octets of what is no address

bool is_white(char c) {
  return is_space(c) || c == '\r' || c == '\n';
}

/// White space is dropped where the obsolete forms admit it: around dots, around `@`, and at both ends.
std::string without_space(std::string_view text) {
  const auto joins = [](char c) { return c == '.' || c == '@'; };
  std::string out;
  bool quoted = false;
  bool space = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (!quoted && is_white(c)) {
      space = true;
      continue;
    }
    if (space && !out.empty() && !joins(out.back()) && !joins(c)) out += ' ';
    space = false;
    out += c;
    if (c == '\\' && quoted && i + 1 < text.size()) out += text[++i];
    if (c == '"') quoted = !quoted;
  }
  return out;
}

/// `<@a.example,@b.example:c@d.example>`: the route means nothing any more (RFC 5321 appendix C).
std::string_view without_route(std::string_view address) {
  if (!address.starts_with('@')) return address;
  const std::size_t colon = address.find(':');
  return colon == std::string_view::npos ? address : address.substr(colon + 1);
}

Result<Mailbox> parse_one(std::string_view text) {
  const std::string address = without_space(without_route(without_space(text)));
  Result<Mailbox> whole = parse_mailbox(address, true);
  if (whole) return whole;
  Result<std::string> local = parse_local_part(address, true);
  if (!local || local->empty()) return fail(Errc::invalid, "\"" + escape(address, kShown) + "\" is no address");
  Mailbox mailbox;
  mailbox.local = *std::move(local);
  return mailbox;
}

/// Goes through a list once; each member ends at its comma, semicolon or the end of the text.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<std::vector<Mailbox>> run() {
    while (at_ < text_.size()) {
      const Result<> taken = take(text_[at_++]);
      if (!taken) return fail(taken.error());
    }
    if (open_) return fail(Errc::invalid, "an address list ends within a \"<\"");
    const Result<> last = end_member();
    if (!last) return fail(last.error());
    return std::move(found_);
  }

 private:
  Result<> take(char c) {
    std::string& into = open_ ? angle_ : plain_;
    switch (c) {
      case '(':
        return skip_comment();
      case '"':
        return take_quoted(into);
      case '[':
        return take_literal(into);
      case '<':
        if (open_ || angled_) return fail(Errc::invalid, "an address list has a \"<\" too many");
        open_ = angled_ = true;
        return {};
      case '>':
        if (!open_) return fail(Errc::invalid, "an address list has a \">\" too many");
        open_ = false;
        return {};
      default:
        break;
    }
    if (open_ || (c != ',' && c != ';' && c != ':')) {
      into += c;
      return {};
    }
    if (c != ':') return end_member();
    plain_.clear();  // the name of a group
    return {};
  }

  Result<> end_member() {
    const std::string text = std::exchange(angled_ ? angle_ : plain_, "");
    const bool is_there = std::exchange(angled_, false) || !without_space(text).empty();
    plain_.clear();
    if (!is_there) return {};
    Result<Mailbox> mailbox = parse_one(text);
    if (!mailbox) return fail(mailbox.error());
    found_.push_back(*std::move(mailbox));
    return {};
  }

  Result<> skip_comment() {
    std::size_t depth = 1;
    while (depth > 0) {
      if (at_ == text_.size()) return fail(Errc::invalid, "an address list ends within a comment");
      const char c = text_[at_++];
      if (c == '\\' && at_ < text_.size()) ++at_;
      if (c == '(') ++depth;
      if (c == ')') --depth;
    }
    (open_ ? angle_ : plain_) += ' ';
    return {};
  }

  Result<> take_quoted(std::string& into) {
    into += '"';
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '\r' || c == '\n') continue;  // a fold
      into += c;
      if (c == '"') return {};
      if (c == '\\' && at_ < text_.size()) into += text_[at_++];
    }
    return fail(Errc::invalid, "an address list ends within quotes");
  }

  Result<> take_literal(std::string& into) {
    const std::size_t end = text_.find(']', at_);
    if (end == std::string_view::npos) return fail(Errc::invalid, "an address list ends within an address literal");
    into += '[' + std::string(text_.substr(at_, end + 1 - at_));
    at_ = end + 1;
    return {};
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string plain_, angle_;
  bool open_ = false;    // within angle brackets
  bool angled_ = false;  // the member has some
  std::vector<Mailbox> found_;
};

}  // namespace

Result<std::vector<Mailbox>> parse_address_list(std::string_view text) {
  return Parser(text).run();
}

}  // namespace waypost::smtp
