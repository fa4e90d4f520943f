#include "smtp/extensions.h"

#include <algorithm>

#include "base/text.h"
#include "smtp/xclient.h"

namespace waypost::smtp {
namespace {

void parse_auth(std::string_view mechanisms, Extensions& peer) {
  while (true) {
    std::string_view word = take_word(mechanisms);
    if (word.empty()) return;
    if (!peer.has_auth(word)) peer.auth.push_back(to_upper(word));
  }
}

void parse_limits(std::string_view items, Limits& limits) {
  while (true) {
    std::string_view item = take_word(items);
    if (item.empty()) return;
    auto [name, digits] = split_once(item, '=');
    std::optional<std::uint64_t> value = parse_decimal(digits);
    if (!value) continue;
    if (equals_no_case(name, "MAILMAX")) limits.mail_max = value;
    if (equals_no_case(name, "RCPTMAX")) limits.rcpt_max = value;
    if (equals_no_case(name, "RCPTDOMAINMAX")) limits.rcpt_domain_max = value;
  }
}

void parse_keyword(std::string_view line, Extensions& peer) {
  std::string_view parameters = line;
  std::string_view keyword = take_word(parameters);
  auto is = [keyword](std::string_view name) { return equals_no_case(keyword, name); };

  if (is("PIPELINING")) peer.pipelining = true;
  if (is("8BITMIME")) peer.eight_bit_mime = true;
  if (is("ENHANCEDSTATUSCODES")) peer.enhanced_status_codes = true;
  if (is("DSN")) peer.dsn = true;
  if (is("SMTPUTF8")) peer.smtputf8 = true;
  if (is("STARTTLS")) peer.starttls = true;
  if (is("CHUNKING")) peer.chunking = true;
  if (is("BINARYMIME")) peer.binary_mime = true;
  if (is("REQUIRETLS")) peer.require_tls = true;
  if (is("VRFY")) peer.vrfy = true;
  if (is("EXPN")) peer.expn = true;
  if (is("HELP")) peer.help = true;
  if (is("ETRN")) peer.etrn = true;
  if (is("AUTH")) parse_auth(parameters, peer);
  if (is("LIMITS")) parse_limits(parameters, peer.limits);
  if (is("SIZE")) {
    peer.size = true;
    std::optional<std::uint64_t> limit = parse_decimal(take_word(parameters));
    if (limit && *limit > 0) peer.size_limit = limit;
  }
  // Before RFC 2554 the first mechanism was part of the keyword; servers say both for the sake of old clients.
  if (starts_with_no_case(line, "AUTH=")) parse_auth(line.substr(5), peer);
}

}  // namespace

bool Extensions::has_auth(std::string_view mechanism) const {
  return std::any_of(auth.begin(), auth.end(), [&](const std::string& m) { return equals_no_case(m, mechanism); });
}

std::vector<std::string> ehlo_keywords(const Extensions& offered) {
  std::vector<std::string> out;
  auto add = [&out](bool on, std::string_view keyword) {
    if (on) out.emplace_back(keyword);
  };
  add(offered.pipelining, "PIPELINING");
  if (offered.size) out.push_back(offered.size_limit ? "SIZE " + std::to_string(*offered.size_limit) : "SIZE");
  add(offered.vrfy, "VRFY");
  add(offered.expn, "EXPN");
  add(offered.etrn, "ETRN");
  if (offered.xclient) out.push_back("XCLIENT " + std::string(kXclientAttributes));
  add(offered.starttls, "STARTTLS");
  if (!offered.auth.empty()) {
    std::string line = "AUTH";
    for (const std::string& mechanism : offered.auth) line.append(1, ' ').append(mechanism);
    out.push_back(std::move(line));
  }
  add(offered.enhanced_status_codes, "ENHANCEDSTATUSCODES");
  add(offered.eight_bit_mime, "8BITMIME");
  add(offered.dsn, "DSN");
  add(offered.smtputf8, "SMTPUTF8");
  add(offered.chunking, "CHUNKING");
  add(offered.binary_mime, "BINARYMIME");
  add(offered.require_tls, "REQUIRETLS");
  if (offered.limits.any()) {
    std::string line = "LIMITS";
    const Limits& limits = offered.limits;
    if (limits.mail_max) line += " MAILMAX=" + std::to_string(*limits.mail_max);
    if (limits.rcpt_max) line += " RCPTMAX=" + std::to_string(*limits.rcpt_max);
    if (limits.rcpt_domain_max) line += " RCPTDOMAINMAX=" + std::to_string(*limits.rcpt_domain_max);
    out.push_back(std::move(line));
  }
  add(offered.help, "HELP");
  return out;
}

Extensions parse_extensions(const Reply& ehlo) {
  Extensions peer;
  for (std::size_t i = 1; i < ehlo.lines.size(); ++i) parse_keyword(ehlo.lines[i], peer);
  return peer;
}

}  // namespace waypost::smtp
