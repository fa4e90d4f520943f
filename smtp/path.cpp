#include "smtp/path.h"

#include "base/text.h"

namespace waypost::smtp {
namespace {

/// How much of `text` comes before the first `end` that does not stand in a quoted-string, or npos.
std::size_t find_unquoted(std::string_view text, char end) {
  bool in_quotes = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (in_quotes && text[i] == '\\')
      ++i;
    else if (text[i] == '"')
      in_quotes = !in_quotes;
    else if (text[i] == end && !in_quotes)
      return i;
  }
  return std::string_view::npos;
}

/// `@ONE,@TWO:` is accepted and ignored (RFC 5321 appendix C). Leaves the mailbox in `text`; false if it is malformed.
bool drop_source_route(std::string_view& text, bool utf8) {
  if (text.empty() || text.front() != '@') return true;
  std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return false;
  for (std::string_view hop : split(text.substr(0, colon), ',')) {
    if (hop.empty() || hop.front() != '@') return false;
    if (!is_domain(hop.substr(1), utf8)) return false;
  }
  text.remove_prefix(colon + 1);
  return true;
}

Result<Path> parse_inside(std::string_view text, const PathRules& rules) {
  if (text.empty()) {
    if (!rules.null) return fail(Errc::invalid, "address is missing");
    return Path{};
  }
  if (!drop_source_route(text, rules.utf8)) return fail(Errc::invalid, "source route is malformed");

  if (find_unquoted(text, '@') != std::string_view::npos) {
    Result<Mailbox> mailbox = parse_mailbox(text, rules.utf8);
    if (!mailbox) return fail(mailbox.error());
    return Path{*std::move(mailbox)};
  }

  Result<std::string> local = parse_local_part(text, rules.utf8);
  if (!local) return fail(local.error());
  Mailbox mailbox{.local = *std::move(local), .domain = {}};
  // `""` alone would be taken for the null path.
  bool admitted = is_postmaster(mailbox) || (rules.without_domain && !mailbox.local.empty());
  if (!admitted) return fail(Errc::invalid, "domain is missing");
  return Path{std::move(mailbox)};
}

}  // namespace

Result<Path> take_path(std::string_view& text, const PathRules& rules) {
  std::string_view rest = trim_front(text);
  bool bracketed = !rest.empty() && rest.front() == '<';
  if (!bracketed && !rules.bare) return fail(Errc::invalid, "angle brackets are missing");
  if (bracketed) rest.remove_prefix(1);

  std::size_t end = find_unquoted(rest, bracketed ? '>' : ' ');
  if (end == std::string_view::npos) {
    if (bracketed) return fail(Errc::invalid, "closing angle bracket is missing");
    end = rest.size();
  }
  if (!bracketed && end == 0) return fail(Errc::invalid, "address is missing");
  Result<Path> path = parse_inside(rest.substr(0, end), rules);
  if (!path) return path;

  rest.remove_prefix(bracketed ? end + 1 : end);
  text = rest;
  return path;
}

}  // namespace waypost::smtp
