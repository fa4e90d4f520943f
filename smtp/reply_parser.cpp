#include "smtp/reply_parser.h"

#include <utility>

#include "base/text.h"

namespace waypost::smtp {
namespace {

/// 200 to 599, or 0: 1yz replies do not exist in SMTP (RFC 5321 §4.2.1).
int reply_code(std::string_view line) {
  if (line.size() < 3 || line[0] < '2' || line[0] > '5' || !is_digit(line[1]) || !is_digit(line[2])) return 0;
  return (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
}

}  // namespace

void ReplyParser::reset() {
  reply_ = Reply();
  lines_read_ = 0;
}

Result<std::optional<Reply>> ReplyParser::on_line(std::string_view line) {
  int code = reply_code(line);
  char after = line.size() > 3 ? line[3] : ' ';
  if (code == 0 || (after != ' ' && after != '-')) return fail(Errc::protocol, "reply without a reply code");
  if (lines_read_ > 0 && code != reply_.code) return fail(Errc::protocol, "reply with two reply codes");
  if (++lines_read_ > kMaxLinesRead) return fail(Errc::protocol, "reply without an end");

  reply_.code = code;
  if (reply_.lines.size() < kMaxLines) {
    std::string_view text = line.substr(0, kept_);
    text.remove_prefix(std::min<std::size_t>(text.size(), 4));
    // RFC 2034 §4 wants it on every line; some say it on the last or the first alone.
    std::optional<EnhancedCode> enhanced = parse_enhanced(text);
    if (enhanced) {
      if (!reply_.enhanced) reply_.enhanced = enhanced;
      text = split_once(text, ' ').second;
    }
    reply_.lines.emplace_back(text);
  }

  if (after == '-') return std::optional<Reply>();
  std::optional<Reply> whole = std::move(reply_);
  reset();
  return whole;
}

}  // namespace waypost::smtp
