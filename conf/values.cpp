#include "conf/values.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include <arpa/inet.h>

#include "base/escape.h"
#include "base/text.h"
#include "conf/units.h"

namespace waypost::conf {
namespace {

constexpr std::size_t kLongestName = 253;  // RFC 1035 section 2.3.4, without the root's length octet
constexpr std::size_t kLongestLabel = 63;
constexpr std::size_t kLongestLocal = 64;    // RFC 5321 section 4.5.3.1.1
constexpr std::size_t kLongestReject = 400;  // leaves a reply line's 512 octets room for codes
constexpr unsigned char kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

tl::unexpected<Error> wrong(const std::string& text, const std::string& why) {
  return fail(Errc::invalid, quoted(text) + " " + why);
}

/// As inet_pton has it; IPv4-mapped IPv6 stays IPv6.
std::optional<Network> raw_address(const std::string& text) {
  Network address;
  if (inet_pton(AF_INET, text.c_str(), address.bytes) == 1) {
    address.family = 4;
    address.prefix = 32;
    return address;
  }
  if (inet_pton(AF_INET6, text.c_str(), address.bytes) == 1) {
    address.family = 6;
    address.prefix = 128;
    return address;
  }
  return std::nullopt;
}

Network unmapped(const Network& address) {
  if (address.family != 6 || address.prefix < 96) return address;
  if (std::memcmp(address.bytes, kMapped, sizeof kMapped) != 0) return address;
  Network four;
  std::memcpy(four.bytes, address.bytes + 12, 4);
  four.prefix = static_cast<std::uint8_t>(address.prefix - 96);
  return four;
}

/// The same prefix with all later bits zero.
Network truncated(const Network& network) {
  Network cut = network;
  for (unsigned bit = network.prefix; bit < 128; ++bit) {
    cut.bytes[bit / 8] = static_cast<std::uint8_t>(cut.bytes[bit / 8] & ~(0x80U >> (bit % 8)));
  }
  return cut;
}

std::optional<unsigned> parse_number(std::string_view text, unsigned low, unsigned high) {
  std::optional<std::uint64_t> number = parse_decimal(text);
  if (!number || *number < low || *number > high) return std::nullopt;
  return static_cast<unsigned>(*number);
}

struct HostAndPort {
  std::string host;
  bool bracketed = false;
  std::uint16_t port = 0;  // 0: not given
};

/// HOST, HOST:PORT, [HOST], [HOST]:PORT. Errors speak of `whole`, of which `text` is a part.
Result<HostAndPort> split_host_port(const std::string& whole, const std::string& text) {
  HostAndPort split;
  std::string rest;
  if (text.starts_with('[')) {
    std::size_t end = text.find(']');
    if (end == std::string::npos) return wrong(whole, "has no closing bracket");
    split.bracketed = true;
    split.host = text.substr(1, end - 1);
    rest = text.substr(end + 1);
    if (!rest.empty() && rest[0] != ':') return wrong(whole, "has more after the bracket than \":PORT\"");
  } else {
    if (std::count(text.begin(), text.end(), ':') > 1) {
      return wrong(whole, "has too many colons: an IPv6 address stands in brackets, as in \"[2001:db8::1]:25\"");
    }
    std::size_t colon = text.find(':');
    split.host = text.substr(0, colon);
    if (colon != std::string::npos) rest = text.substr(colon);
  }
  if (split.host.empty()) return wrong(whole, "names no host");
  if (rest.empty()) return split;
  std::optional<unsigned> port = parse_number(std::string_view(rest).substr(1), 1, 65535);
  if (!port) return wrong(whole, "has no port from 1 to 65535 after the colon");
  split.port = static_cast<std::uint16_t>(*port);
  return split;
}

/// A numeric address and a port, as listeners and name servers have it.
Result<HostPort> parse_numeric(const std::string& text, std::uint16_t default_port) {
  if (parse_address(text) && text.find(':') != std::string::npos) {
    return wrong(text, "lacks brackets around the IPv6 address: \"[" + text + "]:PORT\"");
  }
  Result<HostAndPort> split = split_host_port(text, text);
  if (!split) return fail(split.error());
  std::optional<Network> address = parse_address(split->host);
  if (!address) {
    std::string hint = split->host == "*" ? "; \"0.0.0.0\" and \"[::]\" stand for all" : "";
    return wrong(text, "has no numeric address before the port, such as 192.0.2.1 or [2001:db8::1]" + hint);
  }
  if (split->port == 0 && default_port == 0) return wrong(text, "has no port: ADDRESS:PORT");
  std::uint16_t port = split->port == 0 ? default_port : split->port;
  return HostPort{address_text(*address), port};
}

/// A host that a next hop names: a numeric address, in its usual form, or a name. Underscores occur inside networks.
std::optional<std::string> parse_host(const std::string& text) {
  if (std::optional<Network> address = parse_address(text)) return address_text(*address);
  std::string plain = to_lower(text);
  std::replace(plain.begin(), plain.end(), '_', 'x');
  Result<std::string> name = parse_domain(plain);
  if (!name) return std::nullopt;
  return to_lower(text);
}

/// Where TLS comes first (RFC 8314 §7.3).
constexpr std::uint16_t kImplicitTlsPort = 465;

Result<NextHop> parse_smtp(const std::string& whole, const std::string& text) {
  if (text.starts_with("//")) return wrong(whole, "is no URL: write \"smtp:HOST:PORT\"");
  Result<HostAndPort> split = split_host_port(whole, text);
  if (!split) return fail(split.error());
  std::optional<std::string> host = parse_host(split->host);
  if (!host) return wrong(whole, "names no usable host: a domain name, or [ADDRESS]");
  if (!split->bracketed && parse_address(*host)) {
    return wrong(whole, "has an address where MX would be looked up: put it in brackets, \"" +
                            whole.substr(0, whole.find(':')) + ":[" + *host + "]\"");
  }
  NextHop hop;
  hop.kind = NextHop::Kind::smtp;
  hop.host = {*host, split->port};
  hop.look_up_mx = !split->bracketed;
  hop.implicit_tls = whole.starts_with("smtps:");
  if (hop.implicit_tls && hop.host.port == 0) hop.host.port = kImplicitTlsPort;
  return hop;
}

Result<NextHop> parse_lmtp(const std::string& whole, const std::string& text) {
  NextHop hop;
  if (text.starts_with('/')) {
    Result<std::string> path = parse_path(text);
    if (!path) return fail(path.error());
    if (path->size() > 107) return wrong(whole, "has a path of more than the 107 octets that a socket may have");
    hop.kind = NextHop::Kind::lmtp_socket;
    hop.value = *path;
    return hop;
  }
  if (text.starts_with("unix:")) return wrong(whole, "has the path of a socket without \"unix:\": \"lmtp:/PATH\"");
  Result<HostAndPort> split = split_host_port(whole, text);
  if (!split) return fail(split.error());
  std::optional<std::string> host = parse_host(split->host);
  if (!host)
    return wrong(whole, "names neither an absolute path nor a usable host: \"lmtp:/PATH\" or \"lmtp:HOST:PORT\"");
  if (split->port == 0) return wrong(whole, "has no port: LMTP has no port of its own, write \"lmtp:HOST:PORT\"");
  hop.kind = NextHop::Kind::lmtp_tcp;
  hop.host = {*host, split->port};
  return hop;
}

Result<NextHop> parse_maildir(const std::string& whole, const std::string& text) {
  if (!text.starts_with('/')) return wrong(whole, "has no absolute path after \"maildir:\"");
  if (std::any_of(text.begin(), text.end(), is_control)) return wrong(whole, "has a control character");
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '}') return wrong(whole, "has a \"}\" without its \"{\"");
    if (text[at] != '{') continue;
    std::size_t end = text.find('}', at);
    if (end == std::string::npos) return wrong(whole, "has a \"{\" without its \"}\"");
    std::string name = text.substr(at, end - at + 1);
    if (name != "{domain}" && name != "{local}") {
      return wrong(whole, "has the placeholder " + quoted(name) + ": there are {domain} and {local}");
    }
    at = end;
  }
  NextHop hop;
  hop.kind = NextHop::Kind::maildir;
  hop.value = text;
  return hop;
}

Result<NextHop> parse_reject(const std::string& whole, const std::string& text) {
  std::size_t start = text.find_first_not_of(' ');
  if (start == std::string::npos) return wrong(whole, "has no text: \"reject:TEXT\", which the sender is told");
  std::string said = text.substr(start);
  if (std::any_of(said.begin(), said.end(), [](char c) { return is_control(c) || !is_ascii(c); })) {
    return wrong(whole, "has more than printable ASCII in its text: it goes into an SMTP reply");
  }
  if (said.size() > kLongestReject) return wrong(whole, "has a text of more than 400 octets");
  NextHop hop;
  hop.kind = NextHop::Kind::reject;
  hop.value = said;
  return hop;
}

}  // namespace

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

std::string quoted(const std::string& text) {
  return "\"" + escape(text, 200) + "\"";
}

std::optional<Network> parse_address(const std::string& text) {
  std::optional<Network> address = raw_address(text);
  if (!address) return std::nullopt;
  return unmapped(*address);
}

std::string address_text(const Network& network) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(network.family == 6 ? AF_INET6 : AF_INET, network.bytes, text, sizeof text);
  return text;
}

Result<Network> parse_network(const std::string& text) {
  std::size_t slash = text.find('/');
  std::optional<Network> network = raw_address(text.substr(0, slash));
  if (!network) return wrong(text, "is neither an address nor a network such as \"10.0.0.0/8\" or \"2001:db8::/32\"");
  if (slash != std::string::npos) {
    unsigned most = network->family == 6 ? 128 : 32;
    std::optional<unsigned> prefix = parse_number(std::string_view(text).substr(slash + 1), 0, most);
    if (!prefix) return wrong(text, "has no prefix length from 0 to " + std::to_string(most) + " after the \"/\"");
    network->prefix = static_cast<std::uint8_t>(*prefix);
  }
  Network cut = truncated(*network);
  if (!(cut == *network)) {
    return wrong(text, "has bits set beyond its prefix: the network is " + quoted(unmapped(cut).text()));
  }
  return unmapped(*network);
}

Result<HostPort> parse_listen_address(const std::string& text) {
  return parse_numeric(text, 0);
}
Result<HostPort> parse_name_server(const std::string& text) {
  if (std::optional<Network> address = parse_address(text)) return HostPort{address_text(*address), 53};
  return parse_numeric(text, 53);
}

Result<std::string> parse_source(const std::string& text) {
  std::optional<Network> address = parse_address(text);
  if (!address) return wrong(text, "is not a numeric address of this machine, such as 192.0.2.1 or 2001:db8::1");
  return address_text(*address);
}

Result<std::string> parse_domain(const std::string& text) {
  if (text.empty()) return wrong(text, "is empty where a domain name is wanted");
  if (text.find('@') != std::string::npos) return wrong(text, "is a mail address where a domain name is wanted");
  if (text.find('*') != std::string::npos) return wrong(text, "has a \"*\": one domain name is wanted here");
  if (parse_address(text)) return wrong(text, "is an address where a domain name is wanted");
  if (text.ends_with('.')) return wrong(text, "ends with a dot: leave it out");
  if (!is_ascii(text)) {
    return wrong(text, "is not ASCII: write an international name in its A-label form, \"xn--...\"");
  }
  if (text.size() > kLongestName) return wrong(text, "is longer than the 253 octets that a domain name may have");
  std::size_t start = 0;
  while (start <= text.size()) {
    std::size_t dot = std::min(text.find('.', start), text.size());
    std::string label = text.substr(start, dot - start);
    if (label.empty()) return wrong(text, "is not a domain name: it begins with a dot or has two in a row");
    if (label.size() > kLongestLabel) return wrong(text, "has a label of more than 63 octets");
    if (label.front() == '-' || label.back() == '-') return wrong(text, "has a label that begins or ends with \"-\"");
    for (char c : label) {
      if (is_alnum(c) || c == '-') continue;
      return wrong(text,
                   "has " + quoted(std::string(1, c)) + " in it: a domain name has letters, digits, \"-\" and dots");
    }
    start = dot + 1;
  }
  return to_lower(text);
}

Result<std::string> parse_pattern(const std::string& text) {
  if (text == "*") return text;
  if (text.starts_with('.'))
    return wrong(text, "begins with a dot: all below a domain is \"*" + escape(text, 200) + "\"");
  if (text.starts_with('@')) return wrong(text, "begins with \"@\": write the domain alone");
  if (!text.starts_with("*.")) {
    if (text.find('*') == std::string::npos) return parse_domain(text);
    return wrong(text,
                 "has a \"*\" elsewhere than as its first label: \"*.example\" is all below example, \"*\" is all");
  }
  Result<std::string> domain = parse_domain(text.substr(2));
  if (!domain) return fail(domain.error());
  return "*." + *domain;
}

Result<std::string> parse_local_part(const std::string& text) {
  if (text.empty()) return wrong(text, "is empty where a local part is wanted");
  if (text.find('@') != std::string::npos)
    return wrong(text, "has an \"@\": write the local part alone, what stands before it");
  if (text.size() > kLongestLocal) return wrong(text, "is longer than the 64 octets that a local part may have");
  if (!is_utf8(text)) return wrong(text, "is no text in UTF-8");
  if (has_c1(text)) return wrong(text, "has a control character");
  for (char c : text) {
    // RFC 5321 section 4.1.2: a Dot-string; what only a quoted string can say is left to domains without a list.
    static constexpr std::string_view kOthers = "!#$%&'*+-/=?^_`{|}~.";
    if (is_alnum(c) || !is_ascii(c) || kOthers.find(c) != std::string_view::npos) continue;
    return wrong(text, "has " + quoted(std::string(1, c)) +
                           " in it, which no local part has unquoted: one a line, nothing else");
  }
  if (text.front() == '.' || text.back() == '.' || text.find("..") != std::string::npos) {
    return wrong(text, "is no local part: it begins or ends with a dot, or has two in a row");
  }
  return text;
}

Result<std::string> parse_mailbox(const std::string& text) {
  std::size_t at = text.rfind('@');
  if (at == std::string::npos) return wrong(text, "is no mail address: it has no \"@\"");
  Result<std::string> local = parse_local_part(text.substr(0, at));
  if (!local) return wrong(text, "is no mail address: before its \"@\", " + local.error().what);
  Result<std::string> domain = parse_domain(text.substr(at + 1));
  if (!domain) return wrong(text, "is no mail address: after its \"@\", " + domain.error().what);
  return *local + "@" + *domain;
}

Result<std::string> parse_sender_rule(const std::string& text) {
  if (text == "*" || text == "<>") return text;
  Result<std::string> rest = text.starts_with('@') ? parse_domain(text.substr(1)) : parse_mailbox(text);
  if (rest) return text.starts_with('@') ? "@" + *rest : *rest;
  return wrong(text, "is no sender: an address, \"@example.com\", \"<>\" or \"*\"");
}

Result<std::string> parse_login(const std::string& text) {
  const bool fits = !text.empty() && std::none_of(text.begin(), text.end(),
                                                  [](char c) { return c == ' ' || c == '*' || is_control(c); });
  return fits ? Result<std::string>(text) : wrong(text, "is no login: a name without spaces and \"*\"");
}

Result<std::string> parse_login_pattern(const std::string& text) {
  const bool plain =
      !text.empty() && std::none_of(text.begin(), text.end(), [](char c) { return c == ' ' || is_control(c); });
  const bool starred = text.starts_with("*@") && text.size() > 2;
  const bool fits = plain && (text == "*" || text.find('*', starred ? 1 : 0) == std::string::npos);
  if (fits) return to_lower(text);
  return wrong(text, "is no login: a name, \"*@example.com\" or \"*\"");
}

Result<std::string> parse_certificate(const std::string& text) {
  const std::string lower = to_lower(text);
  if (!lower.starts_with("sha256:")) return parse_domain(text);
  const std::string digits = lower.substr(7);
  const bool fits = digits.size() == 64 && digits.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (fits) return lower;
  return wrong(text, "is no SHA-256 of a public key: 64 hexadecimal digits follow \"sha256:\"");
}

Result<std::string> parse_fingerprint(const std::string& text) {
  if (to_lower(text).starts_with("sha256:")) return parse_certificate(text);
  return wrong(text, "is no fingerprint of a public key: \"sha256:\" and 64 hexadecimal digits");
}

Result<std::string> parse_tls_name(const std::string& text) {
  if (text == "*") return wrong(text, "is any name, which proves nothing: tls = \"encrypt\" says the same plainly");
  return parse_pattern(text);
}

Result<std::string> parse_host_pattern(const std::string& text) {
  if (std::optional<Network> address = parse_address(text)) return address_text(*address);
  return parse_pattern(text);
}

Result<std::string> parse_route_name(const std::string& text) {
  const bool fits = !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alnum(c) || c == '-' || c == '_' || c == '.';
  });
  if (fits) return to_lower(text);
  return wrong(text, "is no name for a route: 1 to 64 letters, digits, \"-\", \"_\" or \".\"");
}

Result<std::string> parse_mechanism(const std::string& text) {
  static constexpr std::array kKnown = {"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"};
  for (const char* known : kKnown)
    if (equals_no_case(text, known)) return std::string(known);
  return wrong(text, "is none that Waypost logs in by: \"SCRAM-SHA-256\", \"SCRAM-SHA-1\", \"PLAIN\" or \"LOGIN\"");
}

Result<std::string> parse_host_user(const std::string& text) {
  const bool fits = !text.empty() && text.size() <= 255 && std::none_of(text.begin(), text.end(), is_control);
  if (fits) return text;
  return wrong(text, "is no user to log in as: 1 to 255 octets without control characters");
}

Result<Rate> parse_rate(const std::string& text) {
  const std::size_t slash = text.find('/');
  const std::optional<std::uint64_t> most = parse_decimal(std::string_view(text).substr(0, slash));
  if (slash == std::string::npos || !most || *most == 0) {
    return wrong(text, "is no rate: a number, \"/\" and a duration, such as \"500/1d\"");
  }
  const Result<milliseconds> period = parse_duration(text.substr(slash + 1));
  if (!period) return fail(period.error());
  Rate rate{*most, std::chrono::duration_cast<seconds>(*period)};
  const bool fits = rate.period == *period && rate.period >= seconds(1) && rate.period <= std::chrono::hours(24 * 366);
  if (fits && *most <= 1'000'000'000) return rate;
  return wrong(text, "is no rate: at most 1000000000, in whole seconds up to a year");
}

Result<std::string> parse_path(const std::string& text) {
  if (!text.starts_with('/')) return wrong(text, "is not an absolute path: it begins with \"/\"");
  if (std::any_of(text.begin(), text.end(), is_control)) return wrong(text, "has a control character");
  return text;
}

Result<std::string> parse_origin(const std::string& text) {
  return text.starts_with('/') ? parse_path(text) : parse_domain(text);
}

Result<NextHop> parse_next_hop(const std::string& text) {
  std::size_t colon = text.find(':');
  std::string scheme = text.substr(0, colon);
  std::string rest = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (colon != std::string::npos) {
    if (scheme == "smtp" || scheme == "smtps") return parse_smtp(text, rest);
    if (scheme == "lmtp") return parse_lmtp(text, rest);
    if (scheme == "maildir") return parse_maildir(text, rest);
    if (scheme == "reject") return parse_reject(text, rest);
    if (scheme == "discard" && !rest.empty()) return wrong(text, "has more after \"discard:\" than it takes: nothing");
  }
  if (scheme == "discard") {
    if (colon == std::string::npos) return wrong(text, "lacks its colon: \"discard:\"");
    NextHop hop;
    hop.kind = NextHop::Kind::discard;
    return hop;
  }
  return wrong(text, "is no next hop: it begins with \"smtp:\", \"lmtp:\", \"maildir:\", \"reject:\" or \"discard:\"");
}

}  // namespace waypost::conf
