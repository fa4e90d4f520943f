#include "smtp/xclient.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/text.h"
#include "smtp/address.h"
#include "smtp/parameters.h"

namespace waypost::smtp {
namespace {

constexpr std::size_t kLongestValue = 255;
constexpr std::string_view kUnknown = "[UNAVAILABLE]";
constexpr std::string_view kUnknownForNow = "[TEMPUNAVAIL]";
constexpr std::string_view kIpv6 = "IPV6:";

struct Attribute {
  std::string_view name;
  std::optional<std::string> Xclient::*value;
  bool (*fits)(std::string_view);
};

bool is_text(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](char c) { return !is_ascii(c) || (c >= ' ' && c != 0x7F); });
}
bool is_word(std::string_view value) {
  return is_text(value) && is_ascii(value) && value.find(' ') == std::string_view::npos;
}
bool is_name(std::string_view value) {
  return is_domain(value);
}
bool is_address(std::string_view value) {
  const bool six = value.find(':') != std::string_view::npos;
  return !literal_address((six ? "[IPv6:" : "[") + std::string(value) + "]").empty();
}
bool is_port(std::string_view value) {
  const std::optional<std::uint64_t> port = parse_decimal(value);
  return port && *port <= 65535;
}
bool is_protocol(std::string_view value) {
  return value == "SMTP" || value == "ESMTP";
}

constexpr std::array<Attribute, 8> kAttributes{{{"NAME", &Xclient::name, is_name},
                                                {"ADDR", &Xclient::address, is_address},
                                                {"PORT", &Xclient::port, is_port},
                                                {"PROTO", &Xclient::protocol, is_protocol},
                                                {"HELO", &Xclient::helo, is_word},
                                                {"LOGIN", &Xclient::login, is_text},
                                                {"DESTADDR", &Xclient::local_address, is_address},
                                                {"DESTPORT", &Xclient::local_port, is_port}}};

bool is_address_attribute(const Attribute& attribute) {
  return attribute.fits == is_address;
}

}  // namespace

tl::expected<Xclient, Reply> parse_xclient(std::string_view arguments) {
  const auto refuse = [](std::string_view what) { return tl::unexpected(reply::bad_parameter(what)); };
  Xclient out;
  bool any = false;
  while (true) {
    const std::string_view word = take_word(arguments);
    if (word.empty() && any) return out;
    const auto [name, xtext] = split_once(word, '=');
    const auto* known = std::find_if(kAttributes.begin(), kAttributes.end(),
                                     [name = name](const Attribute& each) { return equals_no_case(each.name, name); });
    if (known == kAttributes.end() || name.size() == word.size()) return refuse("Syntax: XCLIENT attribute=value ...");
    any = true;
    std::optional<std::string>& value = out.*known->value;
    value = "";
    if (equals_no_case(xtext, kUnknown) || equals_no_case(xtext, kUnknownForNow)) continue;
    Result<std::string> decoded = xtext_decode(xtext);
    if (!decoded || decoded->size() > kLongestValue) return refuse("Bad value of " + std::string(known->name));
    if (known->name == "PROTO") decoded = to_upper(*decoded);
    const bool prefixed = is_address_attribute(*known) && starts_with_no_case(*decoded, kIpv6);
    value = prefixed ? decoded->substr(kIpv6.size()) : *std::move(decoded);
    if (!value->empty() && !known->fits(*value)) return refuse("Bad value of " + std::string(known->name));
  }
}

std::string text(const Xclient& xclient) {
  std::string out;
  for (const Attribute& attribute : kAttributes) {
    const std::optional<std::string>& value = xclient.*attribute.value;
    if (!value) continue;
    const bool six = is_address_attribute(attribute) && value->find(':') != std::string::npos;
    out += " " + std::string(attribute.name) + "=" + (six ? std::string(kIpv6) : "");
    out += value->empty() ? std::string(kUnknown) : xtext_encode(*value);
  }
  return out;
}

}  // namespace waypost::smtp
