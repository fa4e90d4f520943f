#include "mta/drop_head.h"

#include <algorithm>

#include "base/text.h"

namespace waypost::mta {

Result<std::optional<DropHead>> parse_drop_head(std::string_view text) {
  constexpr std::size_t kMaxLine = 2046;  // Session::kMaxCommand without its end
  DropHead head;
  while (true) {
    const std::string_view rest = text.substr(head.octets);
    const std::size_t end = rest.find("\r\n");
    const bool too_long = std::min(end, rest.size()) > kMaxLine;
    if (too_long || text.size() > DropHead::kMaxOctets) return fail(Errc::invalid, "its envelope is too long");
    if (end == std::string_view::npos) return std::optional<DropHead>();
    const std::string_view line = rest.substr(0, end);
    head.octets += end + 2;
    // A line feed alone would be the end of a command, and what follows it another.
    const bool plain = line.find_first_of(std::string_view("\0\r\n", 3)) == std::string_view::npos;
    const bool is_first = head.mail.empty();
    if (plain && is_first && starts_with_no_case(line, "MAIL FROM:")) {
      head.mail = line;
    } else if (plain && !is_first && starts_with_no_case(line, "RCPT TO:")) {
      head.recipients.emplace_back(line);
    } else if (plain && !head.recipients.empty() && equals_no_case(line, "DATA")) {
      return head;
    } else {
      return fail(Errc::invalid, "it is no message of sendmail(1)");
    }
  }
}

}  // namespace waypost::mta
