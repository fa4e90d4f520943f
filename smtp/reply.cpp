#include "smtp/reply.h"

#include <fmt/compile.h>

#include "base/escape.h"
#include "base/text.h"

namespace waypost::smtp {
namespace {

constexpr std::size_t kMaxWireLine = 510;  // without CRLF (RFC 5321 §4.5.3.1.5)

/// One to three digits off the front (RFC 3463 §2), without leading zeros but for `0`.
std::optional<std::uint16_t> take_number(std::string_view& text) {
  std::size_t digits = 0;
  while (digits < text.size() && is_digit(text[digits])) ++digits;
  if (digits == 0 || digits > 3 || (digits > 1 && text[0] == '0')) return std::nullopt;
  std::optional<std::uint64_t> value = parse_decimal(text.substr(0, digits));
  text.remove_prefix(digits);
  return static_cast<std::uint16_t>(*value);
}

bool take_dot(std::string_view& text) {
  if (text.empty() || text.front() != '.') return false;
  text.remove_prefix(1);
  return true;
}

/// What stands in a reply is ours, but may quote a peer: no octet of it may end the line.
std::string one_line(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F) c = '?';
  return out;
}

void cut(std::string& line, std::size_t max_octets) {
  if (line.size() <= max_octets) return;
  std::size_t end = max_octets;
  // Not inside a UTF-8 character; of octets that are none, wherever it falls.
  for (std::size_t back = 0; back < 3 && end > 0 && (line[end] & 0xC0) == 0x80; ++back) --end;
  line.resize(end);
}

}  // namespace

std::string EnhancedCode::text() const {
  return fmt::format(FMT_COMPILE("{}.{}.{}"), klass, subject, detail);
}

std::optional<EnhancedCode> parse_enhanced(std::string_view text) {
  if (text.size() < 5 || (text[0] != '2' && text[0] != '4' && text[0] != '5')) return std::nullopt;
  EnhancedCode code;
  code.klass = static_cast<std::uint8_t>(text[0] - '0');
  text.remove_prefix(1);
  if (!take_dot(text)) return std::nullopt;
  std::optional<std::uint16_t> subject = take_number(text);
  if (!subject || !take_dot(text)) return std::nullopt;
  std::optional<std::uint16_t> detail = take_number(text);
  if (!detail || (!text.empty() && text.front() != ' ')) return std::nullopt;
  code.subject = *subject;
  code.detail = *detail;
  return code;
}

std::string Reply::wire() const {
  std::string out;
  std::size_t count = lines.empty() ? 1 : lines.size();
  for (std::size_t i = 0; i < count; ++i) {
    std::string line = std::to_string(code);
    std::string_view text_of_line = lines.empty() ? std::string_view() : lines[i];
    line += i + 1 < count ? '-' : ' ';
    if (enhanced) line += enhanced->text() + ' ';
    line += one_line(text_of_line);
    cut(line, kMaxWireLine);
    out += line + "\r\n";
  }
  return out;
}

std::string Reply::text() const {
  std::string out = std::to_string(code);
  if (enhanced) out += ' ' + enhanced->text();
  std::string_view before = " ";
  for (const std::string& line : lines) {
    if (line.empty()) continue;
    out.append(before).append(line);
    before = " / ";
  }
  return out;
}

namespace reply {
namespace {

Reply plain(int code, std::string text) {
  return Reply{code, std::nullopt, {std::move(text)}};
}

Reply with(int code, std::uint16_t subject, std::uint16_t detail, std::string text) {
  EnhancedCode enhanced{static_cast<std::uint8_t>(code / 100), subject, detail};
  return Reply{code, enhanced, {std::move(text)}};
}

/// 421 names the host that closes (RFC 5321 §4.2.2).
Reply closes(std::uint16_t subject, std::uint16_t detail, std::string_view hostname, std::string_view why) {
  return with(421, subject, detail, std::string(hostname) + ' ' + std::string(why));
}

}  // namespace

Reply greeting(std::string_view hostname) {
  return plain(220, std::string(hostname) + " ESMTP Waypost");
}
Reply helo(std::string_view hostname) {
  return plain(250, std::string(hostname));
}

Reply ehlo(std::string_view hostname, std::vector<std::string> keywords) {
  Reply out = helo(hostname);
  for (std::string& keyword : keywords) out.lines.push_back(std::move(keyword));
  return out;
}

Reply ok() {
  return with(250, 0, 0, "Ok");
}
Reply sender_ok() {
  return with(250, 1, 0, "Ok");
}
Reply recipient_ok() {
  return with(250, 1, 5, "Ok");
}
Reply start_input() {
  return plain(354, "End data with <CR><LF>.<CR><LF>");
}
Reply chunk_received(std::uint64_t octets) {
  return with(250, 0, 0, std::to_string(octets) + " octets received");
}
Reply queued(std::string_view id) {
  return with(250, 0, 0, "Ok: queued as " + std::string(id));
}
Reply start_tls() {
  return with(220, 0, 0, "Ready to start TLS");
}
Reply closing(std::string_view hostname) {
  return with(221, 0, 0, std::string(hostname) + " closing connection");
}
Reply cannot_verify() {
  return with(252, 0, 0, "Cannot verify it, send a message to find out");
}
Reply verified(std::string_view address) {
  return with(250, 1, 5, std::string(address));
}
Reply nothing_waits(std::string_view domain) {
  return with(251, 0, 0, "Nothing waits for " + std::string(domain));
}
Reply sending(std::uint64_t recipients, std::string_view domain) {
  return with(253, 0, 0, std::to_string(recipients) + " recipients at " + std::string(domain) + " are tried now");
}
Reply cannot_send(std::string_view domain) {
  return with(458, 3, 0, "Unable to look for mail for " + std::string(domain) + " now");
}
Reply not_served(std::string_view domain) {
  return with(459, 7, 1, "This host does not serve " + std::string(domain));
}
Reply authenticated() {
  return with(235, 7, 0, "Authentication successful");
}
Reply challenge(std::string_view base64) {
  return plain(334, std::string(base64));
}

Reply help(std::vector<std::string> lines) {
  if (lines.empty()) lines.emplace_back("No help on that");
  return Reply{214, EnhancedCode{2, 0, 0}, std::move(lines)};
}

Reply unknown_command() {
  return with(500, 5, 2, "Command not recognized");
}
Reply line_too_long() {
  return with(500, 5, 2, "Line too long");
}
Reply not_offered(std::string_view verb) {
  return with(502, 5, 1, escape(verb, 40) + " is not offered here");
}
Reply bad_syntax(std::string_view what) {
  return with(501, 5, 2, std::string(what));
}
Reply bad_parameter(std::string_view what) {
  return with(501, 5, 4, std::string(what));
}

Reply unknown_parameter(std::string_view keyword) {
  return with(555, 5, 4, "Parameter not recognized: " + escape(keyword, 80));
}

Reply bad_sequence(std::string_view what) {
  return with(503, 5, 1, std::string(what));
}
Reply no_valid_recipients() {
  return with(554, 5, 1, "No valid recipients");
}

Reply bad_sender_syntax(std::string_view what) {
  return with(501, 1, 7, "Bad sender address: " + std::string(what));
}
Reply bad_recipient_syntax(std::string_view what) {
  return with(501, 1, 3, "Bad recipient address: " + std::string(what));
}

Reply needs_smtputf8() {
  return with(553, 6, 7, "Non-ASCII address without SMTPUTF8");
}
Reply too_big(std::uint64_t limit) {
  return with(552, 3, 4, "Message is larger than " + std::to_string(limit) + " octets");
}
Reply too_many_recipients() {
  return with(452, 5, 3, "Too many recipients, send the rest in another transaction");
}
Reply relay_denied() {
  return with(554, 7, 1, "Relay access denied");
}
Reply authentication_required() {
  return with(530, 7, 0, "Authentication required");
}
Reply authentication_failed() {
  return with(535, 7, 8, "Authentication credentials invalid");
}
Reply authentication_cancelled() {
  return with(501, 7, 0, "Authentication cancelled");
}
Reply authentication_put_off() {
  return with(454, 7, 0, "Temporary authentication failure, try again later");
}
Reply authentication_line_too_long() {
  return with(500, 5, 6, "Authentication exchange line is too long");
}
Reply unknown_mechanism() {
  return with(504, 5, 4, "Authentication mechanism not recognized");
}
Reply sender_not_owned() {
  return with(553, 7, 1, "Sender address is not of this login");
}
Reply sender_not_allowed() {
  return with(553, 7, 1, "Sender address is not allowed to this client");
}
Reply tls_required() {
  return with(530, 7, 0, "Send STARTTLS first");
}
Reply rate_reached(std::string_view rate, std::string_view wait) {
  return with(450, 7, 1, "The rate of " + std::string(rate) + " is reached, try again in " + std::string(wait));
}
Reply encryption_required() {
  return with(538, 7, 11, "Encryption required for authentication");
}
Reply percent_hack() {
  return with(550, 7, 1, "Relay by % or ! in the local part denied");
}
Reply unknown_recipient() {
  return with(550, 1, 1, "Recipient address rejected: User unknown");
}
Reply unverified_recipient() {
  return with(451, 3, 0, "It is not known now whether there is such a recipient, try again later");
}
Reply relocated(std::string_view address) {
  return with(551, 1, 6, "Recipient has moved, please try <" + std::string(address) + ">");
}
Reply no_such_domain(std::string_view domain) {
  return with(550, 1, 2, "There is no domain " + std::string(domain));
}
Reply takes_no_mail(std::string_view domain) {
  return with(556, 1, 10, "The domain " + std::string(domain) + " takes no mail");
}
Reply no_sender_domain(std::string_view domain) {
  return with(550, 1, 8, "There is no domain " + std::string(domain) + ", as of the sender");
}
Reply sender_takes_no_mail(std::string_view domain) {
  return with(550, 7, 27, "The sender's domain " + std::string(domain) + " takes no mail");
}
Reply listed(std::string_view address, std::string_view zones) {
  return with(554, 7, 1, "Client [" + std::string(address) + "] is listed by " + std::string(zones));
}
Reply no_reverse_dns(std::string_view address) {
  return with(550, 7, 25, "No name in the DNS leads to [" + std::string(address) + "] and back");
}
Reply no_reverse_dns_now(std::string_view address) {
  return with(450, 7, 25, "The name of [" + std::string(address) + "] cannot be found now");
}
Reply bad_helo(std::string_view why) {
  return with(550, 7, 1, "The name in EHLO or HELO " + std::string(why));
}
Reply talked_too_early() {
  return with(554, 5, 1, "Protocol error, talked too early");
}
Reply unroutable_literal() {
  return with(550, 1, 2, "No relay to an address literal that is not ours");
}
Reply protocol_error(std::string_view what) {
  return with(554, 5, 0, std::string(what));
}
Reply bad_content(std::string_view what) {
  return with(554, 6, 0, std::string(what));
}
Reply bare_line_end() {
  return with(550, 6, 0, "Message has a bare CR or LF");
}
Reply loop(int hops) {
  return with(554, 4, 6, "Mail loop: " + std::to_string(hops) + " Received fields");
}
Reply insufficient_storage() {
  return with(452, 3, 1, "Insufficient system storage, try again later");
}
Reply tls_unavailable() {
  return with(454, 7, 0, "TLS is not available now, try again later");
}
Reply local_error() {
  return with(451, 3, 0, "Local error, try again later");
}
Reply too_many_errors(std::string_view hostname) {
  return closes(7, 0, hostname, "Too many errors");
}
Reply too_many_logins(std::string_view hostname) {
  return closes(7, 0, hostname, "Too many failed logins");
}
Reply login_over(std::string_view hostname) {
  return closes(7, 0, hostname, "Your login was changed or taken back");
}
Reply too_many_connections(std::string_view hostname) {
  return closes(7, 0, hostname, "Too many connections");
}
Reply connecting_too_often(std::string_view hostname) {
  return closes(7, 0, hostname, "Connecting too often");
}
Reply injected(std::string_view hostname) {
  return closes(7, 0, hostname, "Commands came behind STARTTLS in clear");
}
Reply idle(std::string_view hostname) {
  return closes(4, 2, hostname, "Timed out, closing connection");
}
Reply shutting_down(std::string_view hostname) {
  return closes(3, 2, hostname, "Shutting down, try again later");
}
Reply not_accepting(std::string_view hostname) {
  return closes(3, 2, hostname, "Not accepting mail, try again later");
}

}  // namespace reply
}  // namespace waypost::smtp
