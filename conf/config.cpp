#include "conf/config.h"

#include <algorithm>

#include "base/text.h"
#include "conf/units.h"
#include "conf/values.h"

namespace waypost::conf {
namespace {

std::string bracketed(const std::string& host) {
  bool six = host.find(':') != std::string::npos;
  return six ? "[" + host + "]" : host;
}

std::string with_port(const std::string& host, std::uint16_t port) {
  return port == 0 ? host : host + ":" + std::to_string(port);
}

}  // namespace

std::string HostPort::text() const {
  return with_port(bracketed(host), port);
}

bool Network::contains(const std::string& address) const {
  std::optional<Network> other = parse_address(address);
  if (!other || other->family != family) return false;
  unsigned whole = prefix / 8U;
  if (!std::equal(bytes, bytes + whole, other->bytes)) return false;
  unsigned rest = prefix % 8U;
  if (rest == 0) return true;
  unsigned mask = 0xffU & ~(0xffU >> rest);
  return ((bytes[whole] ^ other->bytes[whole]) & mask) == 0;
}

std::string Network::text() const {
  return address_text(*this) + "/" + std::to_string(prefix);
}

bool any_contains(const std::vector<Network>& networks, const std::string& address) {
  return std::any_of(networks.begin(), networks.end(),
                     [&address](const Network& network) { return network.contains(address); });
}

std::string Rate::text() const {
  return std::to_string(most) + "/" + duration_text(period);
}

std::string NextHop::text() const {
  switch (kind) {
    case Kind::smtp:
      return (implicit_tls ? "smtps:" : "smtp:") + with_port(look_up_mx ? host.host : "[" + host.host + "]", host.port);
    case Kind::lmtp_socket:
      return "lmtp:" + value;
    case Kind::lmtp_tcp:
      return "lmtp:" + host.text();
    case Kind::maildir:
      return "maildir:" + value;
    case Kind::reject:
      return "reject:" + value;
    case Kind::discard:
      return "discard:";
  }
  return "";
}

const Domain* Config::find_domain(const std::string& domain) const {
  std::string name = to_lower(domain);
  auto found =
      std::find_if(domains.begin(), domains.end(), [&name](const Domain& block) { return block.name == name; });
  return found == domains.end() ? nullptr : &*found;
}

bool matches(const std::string& pattern, const std::string& domain) {
  if (pattern == "*") return true;
  std::string wanted = to_lower(pattern);
  std::string name = to_lower(domain);
  if (!wanted.starts_with("*.")) return wanted == name;
  std::string below = wanted.substr(1);
  return name.size() > below.size() && name.ends_with(below);
}

bool is_login(const std::string& pattern, const std::string& login) {
  if (login.empty()) return false;
  if (pattern == "*") return true;
  const std::string name = to_lower(login);
  return pattern.starts_with("*@") ? name.ends_with(pattern.substr(1)) : name == pattern;
}

}  // namespace waypost::conf
