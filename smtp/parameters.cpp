#include "smtp/parameters.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "base/escape.h"
#include "base/text.h"
#include "smtp/address.h"

namespace waypost::smtp {
namespace {

constexpr std::size_t kMaxSizeDigits = 20;  // RFC 1870 §6
constexpr std::size_t kMaxEnvid = 100;      // RFC 3461 §4.4
constexpr std::size_t kMaxOrcpt = 500;      // RFC 3461 §4.2

/// One `keyword[=value]` (RFC 5321 §4.1.2).
struct Parameter {
  std::string keyword;  // upper case
  bool has_value = false;
  std::string_view value;
};

bool is_keyword(std::string_view text) {
  if (text.empty() || !is_alnum(text.front())) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return is_alnum(c) || c == '-'; });
}

/// esmtp-value: printable, no space, no `=`; UTF-8 where SMTPUTF8 is offered (RFC 6531 §3.3).
bool is_value(std::string_view text, bool utf8) {
  if (text.empty() || (!is_ascii(text) && !(utf8 && is_utf8(text)))) return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return !is_ascii(c) || (c > ' ' && c < 0x7F && c != '='); });
}

Reply bad_value(std::string_view keyword) {
  return reply::bad_parameter("Bad or missing value of " + escape(keyword, 80));
}

/// The parameters in order, each keyword once and of the right form.
tl::expected<std::vector<Parameter>, Reply> split_parameters(std::string_view text, bool utf8) {
  std::vector<Parameter> out;
  while (true) {
    std::string_view word = take_word(text);
    if (word.empty()) return out;
    auto [keyword, value] = split_once(word, '=');
    if (!is_keyword(keyword)) return tl::unexpected(reply::bad_parameter("Parameter is malformed"));
    Parameter parameter{to_upper(keyword), keyword.size() != word.size(), value};
    if (parameter.has_value && !is_value(value, utf8)) return tl::unexpected(bad_value(parameter.keyword));
    for (const Parameter& earlier : out)
      if (earlier.keyword == parameter.keyword)
        return tl::unexpected(reply::bad_parameter("Parameter is given twice: " + escape(parameter.keyword, 80)));
    out.push_back(std::move(parameter));
  }
}

bool parse_size(std::string_view value, std::optional<std::uint64_t>& size) {
  if (value.size() > kMaxSizeDigits) return false;
  if (value.empty() || !std::all_of(value.begin(), value.end(), is_digit)) return false;
  // Twenty digits may not fit: more than any limit in any case.
  size = parse_decimal(value).value_or(UINT64_MAX);
  return true;
}

bool parse_body(std::string_view value, bool binary_mime, BodyType& body) {
  if (equals_no_case(value, "7BIT"))
    body = BodyType::seven_bit;
  else if (equals_no_case(value, "8BITMIME"))
    body = BodyType::eight_bit_mime;
  else if (binary_mime && equals_no_case(value, "BINARYMIME"))
    body = BodyType::binary_mime;
  else
    return false;
  return true;
}

bool parse_ret(std::string_view value, Ret& ret) {
  if (equals_no_case(value, "FULL"))
    ret = Ret::full;
  else if (equals_no_case(value, "HDRS"))
    ret = Ret::headers;
  else
    return false;
  return true;
}

/// `admitted` says which octets of US-ASCII stay as they are.
template <class Admitted>
std::string escape_utf8(std::string_view utf8, Admitted admitted) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  while (!utf8.empty()) {
    const std::size_t size = std::max<std::size_t>(utf8_character(utf8), 1);
    const auto first = static_cast<unsigned char>(utf8.front());
    // The lead octet's own bits, then six of each that follows.
    std::uint32_t character = size == 1 ? first : first & (0x7FU >> size);
    for (char next : utf8.substr(1, size - 1)) character = character << 6U | (static_cast<unsigned char>(next) & 0x3FU);
    utf8.remove_prefix(size);
    if (character < 0x80 && admitted(static_cast<char>(character))) {
      out += static_cast<char>(character);
      continue;
    }
    std::string hex;
    for (std::uint32_t rest = character; rest != 0 || hex.empty(); rest >>= 4U)
      hex.insert(hex.begin(), kHex[rest & 0xFU]);
    out += "\\x{" + hex + "}";
  }
  return out;
}

/// A number up to 0x10FFFF; of a surrogate's no valid UTF-8 comes.
void append_utf8(std::string& out, std::uint32_t character) {
  if (character < 0x80) {
    out += static_cast<char>(character);
    return;
  }
  const unsigned more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
  out += static_cast<char>((0xFF00U >> (more + 1) & 0xFFU) | character >> 6 * more);
  for (unsigned left = more; left-- > 0;) out += static_cast<char>(0x80U | (character >> 6 * left & 0x3FU));
}

bool parse_envid(std::string_view value, std::string& envid) {
  if (value.empty() || value.size() > kMaxEnvid || !xtext_decode(value)) return false;
  envid = value;
  return true;
}

/// A mailbox as xtext, or `<>` (RFC 4954 §5).
bool parse_authenticated(std::string_view value, bool utf8, std::optional<std::string>& authenticated) {
  if (value == "<>") {
    authenticated = "";
    return true;
  }
  Result<std::string> decoded = xtext_decode(value);
  if (!decoded || !parse_mailbox(*decoded, utf8)) return false;
  authenticated = *std::move(decoded);
  return true;
}

/// NEVER alone, or some of the others (RFC 3461 §4.1).
bool parse_notify(std::string_view value, Notify& notify) {
  std::uint8_t bits = 0;
  for (std::string_view word : split(value, ',')) {
    if (equals_no_case(word, "NEVER"))
      bits |= Notify::kNever;
    else if (equals_no_case(word, "SUCCESS"))
      bits |= Notify::kSuccess;
    else if (equals_no_case(word, "FAILURE"))
      bits |= Notify::kFailure;
    else if (equals_no_case(word, "DELAY"))
      bits |= Notify::kDelay;
    else
      return false;
  }
  if ((bits & Notify::kNever) != 0 && (value.find(',') != std::string_view::npos)) return false;
  notify.bits = bits;
  return true;
}

/// `rfc822;` and xtext (RFC 3461 §4.2). UTF-8 may stand in a `utf-8;` address as it is, and as `\x{...}` (RFC 6533 §3).
bool parse_orcpt(std::string_view value, std::string& orcpt) {
  auto [type, address] = split_once(value, ';');
  if (value.size() > kMaxOrcpt || !is_keyword(type) || address.empty()) return false;
  if (!equals_no_case(type, "utf-8") && !xtext_decode(address)) return false;
  orcpt = escape_utf8(value, [](char) { return true; });
  return orcpt.size() <= kMaxOrcpt;
}

}  // namespace

tl::expected<MailParameters, Reply> parse_mail_parameters(std::string_view text, const Extensions& offered) {
  auto parameters = split_parameters(text, offered.smtputf8);
  if (!parameters) return tl::unexpected(parameters.error());

  MailParameters out;
  for (const Parameter& p : *parameters) {
    bool good = true;
    if (offered.size && p.keyword == "SIZE")
      good = parse_size(p.value, out.size);
    else if (offered.eight_bit_mime && p.keyword == "BODY")
      good = parse_body(p.value, offered.binary_mime, out.body);
    else if (offered.dsn && p.keyword == "RET")
      good = parse_ret(p.value, out.ret);
    else if (offered.dsn && p.keyword == "ENVID")
      good = parse_envid(p.value, out.envid);
    else if (offered.smtputf8 && p.keyword == "SMTPUTF8")
      good = out.smtputf8 = !p.has_value;
    else if (offered.require_tls && p.keyword == "REQUIRETLS")
      good = out.require_tls = !p.has_value;
    else if (!offered.auth.empty() && p.keyword == "AUTH")
      good = parse_authenticated(p.value, offered.smtputf8, out.authenticated);
    else
      return tl::unexpected(reply::unknown_parameter(p.keyword));
    if (!good) return tl::unexpected(bad_value(p.keyword));
  }
  return out;
}

tl::expected<RcptParameters, Reply> parse_rcpt_parameters(std::string_view text, const Extensions& offered) {
  auto parameters = split_parameters(text, offered.smtputf8);
  if (!parameters) return tl::unexpected(parameters.error());

  RcptParameters out;
  for (const Parameter& p : *parameters) {
    bool good = true;
    if (offered.dsn && p.keyword == "NOTIFY")
      good = parse_notify(p.value, out.notify);
    else if (offered.dsn && p.keyword == "ORCPT")
      good = parse_orcpt(p.value, out.orcpt);
    else
      return tl::unexpected(reply::unknown_parameter(p.keyword));
    if (!good) return tl::unexpected(bad_value(p.keyword));
  }
  return out;
}

std::string text(const MailParameters& parameters) {
  std::string out;
  if (parameters.size) out += " SIZE=" + std::to_string(*parameters.size);
  if (parameters.body == BodyType::eight_bit_mime) out += " BODY=8BITMIME";
  if (parameters.body == BodyType::binary_mime) out += " BODY=BINARYMIME";
  if (parameters.smtputf8) out += " SMTPUTF8";
  if (parameters.require_tls) out += " REQUIRETLS";
  if (parameters.ret == Ret::full) out += " RET=FULL";
  if (parameters.ret == Ret::headers) out += " RET=HDRS";
  if (!parameters.envid.empty()) out += " ENVID=" + parameters.envid;
  if (parameters.authenticated) {
    const std::string& mailbox = *parameters.authenticated;
    out += " AUTH=" + (mailbox.empty() ? "<>" : xtext_encode(mailbox));
  }
  return out;
}

std::string text(const RcptParameters& parameters) {
  std::string out;
  std::uint8_t bits = parameters.notify.bits;
  std::string_view before = " NOTIFY=";
  auto add = [&](std::uint8_t bit, std::string_view word) {
    if ((bits & bit) == 0) return;
    out.append(before).append(word);
    before = ",";
  };
  add(Notify::kNever, "NEVER");
  add(Notify::kSuccess, "SUCCESS");
  add(Notify::kFailure, "FAILURE");
  add(Notify::kDelay, "DELAY");
  if (!parameters.orcpt.empty()) out += " ORCPT=" + parameters.orcpt;
  return out;
}

std::string utf8_xtext(std::string_view utf8) {
  return escape_utf8(utf8, [](char c) { return c > ' ' && c < 0x7F && c != '+' && c != '=' && c != '\\'; });
}

Result<std::string> utf8_xtext_decode(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    if (text.front() != '\\') {
      out += text.front();
      text.remove_prefix(1);
      continue;
    }
    std::uint32_t character = 0;
    if (!text.starts_with("\\x{")) return fail(Errc::invalid, "a backslash without x{ and digits");
    text.remove_prefix(3);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), character, 16);
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (error != std::errc() || character > 0x10FFFF || !text.starts_with('}'))
      return fail(Errc::invalid, "no number of a character between \\x{ and }");
    text.remove_prefix(1);
    append_utf8(out, character);
  }
  if (!is_utf8(out)) return fail(Errc::invalid, "not in UTF-8");
  return out;
}

std::string orcpt_of(std::string_view address) {
  if (is_ascii(address)) return "rfc822;" + xtext_encode(address);
  return "utf-8;" + utf8_xtext(address);
}

std::string xtext_encode(std::string_view octets) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (char c : octets) {
    if (c > ' ' && c < 0x7F && c != '+' && c != '=') {
      out += c;
      continue;
    }
    unsigned char octet = static_cast<unsigned char>(c);
    out += '+';
    out += kHex[octet >> 4];
    out += kHex[octet & 0xF];
  }
  return out;
}

Result<std::string> xtext_decode(std::string_view xtext) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (std::size_t i = 0; i < xtext.size(); ++i) {
    char c = xtext[i];
    if (c <= ' ' || c >= 0x7F || c == '=') return fail(Errc::invalid, "xtext has a character that is not allowed");
    if (c != '+') {
      out += c;
      continue;
    }
    std::size_t high = i + 1 < xtext.size() ? kHex.find(xtext[i + 1]) : std::string_view::npos;
    std::size_t low = i + 2 < xtext.size() ? kHex.find(xtext[i + 2]) : std::string_view::npos;
    if (high == std::string_view::npos || low == std::string_view::npos)
      return fail(Errc::invalid, "xtext has a + without two hex digits");
    out += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return out;
}

}  // namespace waypost::smtp
