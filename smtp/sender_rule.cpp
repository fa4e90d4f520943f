#include "smtp/sender_rule.h"

#include "base/escape.h"
#include "base/text.h"
#include "smtp/address.h"

namespace waypost::smtp {

Result<> check_sender_rule(std::string_view rule) {
  if (rule == "*" || rule == "<>") return {};
  const std::string address = (rule.starts_with('@') ? "x" : "") + std::string(rule);
  const bool plain = rule.find_first_of(",: *") == std::string_view::npos;
  if (plain && parse_mailbox(address, true)) return {};
  return fail(Errc::invalid, "\"" + escape(rule, 80) + "\" is no sender: an address, @domain, <> or *");
}

bool covers(std::string_view rule, const Path& reverse_path) {
  if (rule == "*") return true;
  if (rule == "<>" || reverse_path.is_null()) return rule == "<>" && reverse_path.is_null();
  const std::string domain = domain_key(reverse_path.mailbox.domain);
  if (rule.starts_with('@')) return domain_key(rule.substr(1)) == domain;
  const Result<Mailbox> mailbox = parse_mailbox(rule, true);
  return mailbox && domain_key(mailbox->domain) == domain && equals_no_case(mailbox->local, reverse_path.mailbox.local);
}

}  // namespace waypost::smtp
