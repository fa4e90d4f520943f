#include "smtp/address.h"

#include <array>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/escape.h"
#include "base/text.h"

namespace waypost::smtp {
namespace {

// RFC 5321 §4.5.3.1.1 asks for 64 octets at least, and §4.5.3.1 for no limit where possible. Return addresses of lists
// and of forwarders (VERP, SRS) carry another address in their local part and are often longer.
constexpr std::size_t kMaxLocalPart = 255;
constexpr std::size_t kMaxDomain = 255;
constexpr std::size_t kMaxLabel = 63;
constexpr std::string_view kIpv6Tag = "IPv6:";

bool is_atext(char c) {  // RFC 5322 §3.2.3
  return is_alnum(c) || std::string_view("!#$%&'*+-/=?^_`{|}~").find(c) != std::string_view::npos;
}

/// True if all octets may stand in an address with that leave for UTF-8.
bool may_stand(std::string_view text, bool utf8) {
  if (is_ascii(text)) return true;
  return utf8 && is_utf8(text) && !has_c1(text);
}

bool is_dot_string(std::string_view text) {
  bool in_atom = false;
  for (char c : text) {
    if (c == '.' ? !in_atom : !is_atext(c) && is_ascii(c)) return false;
    in_atom = c != '.';
  }
  return in_atom;
}

/// The end of the quoted-string at the front of `text`, or npos.
std::size_t quoted_end(std::string_view text) {
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '\\')
      ++i;
    else if (text[i] == '"')
      return i + 1;
  }
  return std::string_view::npos;
}

bool is_label(std::string_view label) {
  if (label.empty()) return false;
  if (label.size() > kMaxLabel && is_ascii(label)) return false;
  if (label.front() == '-' || label.back() == '-') return false;
  for (char c : label)
    if (!is_alnum(c) && c != '-' && c != '_' && is_ascii(c)) return false;
  return true;
}

std::string quoted(std::string_view local) {
  std::string out = "\"";
  for (char c : local) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace

std::string Mailbox::text() const {
  std::string out;
  out.reserve(local.size() + 1 + domain.size());
  if (is_dot_string(local))
    out += local;
  else
    out += quoted(local);
  if (!domain.empty()) out.append(1, '@').append(domain);
  return out;
}

bool Mailbox::operator==(const Mailbox& other) const {
  if (!equals_no_case(domain, other.domain)) return false;
  return local == other.local || (is_postmaster(*this) && is_postmaster(other));
}

bool is_postmaster(const Mailbox& mailbox) {
  return equals_no_case(mailbox.local, "postmaster");
}

Result<std::string> parse_local_part(std::string_view text, bool utf8) {
  if (text.size() > kMaxLocalPart) return fail(Errc::invalid, "local part is too long");
  if (!may_stand(text, utf8)) return fail(Errc::invalid, "local part has octets that are not allowed");
  if (text.empty()) return fail(Errc::invalid, "local part is missing");
  if (text.front() != '"') {
    if (!is_dot_string(text)) return fail(Errc::invalid, "local part is not a dot-string");
    return std::string(text);
  }

  if (quoted_end(text) != text.size()) return fail(Errc::invalid, "quoted local part does not end where it should");
  std::string local;
  for (std::size_t i = 1; i + 1 < text.size(); ++i) {
    if (text[i] == '\\') ++i;
    unsigned char c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7F) return fail(Errc::invalid, "local part has a control character");
    local += text[i];
  }
  return local;
}

Result<Mailbox> parse_mailbox(std::string_view text, bool utf8) {
  bool is_quoted = !text.empty() && text.front() == '"';
  std::size_t at = is_quoted ? quoted_end(text) : text.find('@');
  if (at == std::string_view::npos || at >= text.size() || text[at] != '@')
    return fail(Errc::invalid, "no @ after the local part");

  Result<std::string> local = parse_local_part(text.substr(0, at), utf8);
  if (!local) return fail(local.error());

  std::string_view domain = text.substr(at + 1);
  if (!is_address_literal(domain)) {
    if (!domain.empty() && domain.front() == '[') return fail(Errc::invalid, "address literal is malformed");
    if (domain.size() > 1 && domain.back() == '.') domain.remove_suffix(1);
    if (!is_domain(domain, utf8)) return fail(Errc::invalid, "domain is malformed");
  }
  return Mailbox{.local = *std::move(local), .domain = std::string(domain)};
}

bool is_domain(std::string_view text, bool utf8) {
  if (text.size() > kMaxDomain || !may_stand(text, utf8)) return false;
  for (std::string_view label : split(text, '.'))
    if (!is_label(label)) return false;
  return true;
}

bool is_address_literal(std::string_view text) {
  return !literal_address(text).empty();
}

std::string literal_address(std::string_view literal) {
  if (literal.size() < 2 || literal.front() != '[' || literal.back() != ']') return {};
  std::string inside(literal.substr(1, literal.size() - 2));
  // inet_pton stops at a NUL: what stands after it would be taken for part of the address.
  if (inside.find('\0') != std::string::npos) return {};

  int family = AF_INET;
  if (starts_with_no_case(inside, kIpv6Tag)) {
    family = AF_INET6;
    inside.erase(0, kIpv6Tag.size());
  }
  std::array<unsigned char, sizeof(in6_addr)> address{};
  if (inet_pton(family, inside.c_str(), address.data()) != 1) return {};
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (inet_ntop(family, address.data(), text.data(), text.size()) == nullptr) return {};
  return text.data();
}

std::string domain_key(std::string_view domain) {
  return to_lower(domain);
}

}  // namespace waypost::smtp
