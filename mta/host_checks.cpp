#include "mta/host_checks.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace waypost::mta {
namespace {

using Known = HostFacts::Known;

conf::Finding warning(const conf::Config& config, std::string key, std::string message, std::string hint) {
  conf::Finding finding;
  finding.file = config.file;
  finding.key = std::move(key);
  finding.message = std::move(message);
  finding.hint = std::move(hint);
  return finding;
}

bool is_loopback(const net::Address& address) {
  return address.family == 4 ? address.bytes[0] == 127 : address.host() == "::1";
}

}  // namespace

std::vector<conf::Finding> host_warnings(const conf::Config& config, const HostFacts& facts) {
  std::vector<conf::Finding> out;
  if (facts.name_has_address == Known::no)
    out.push_back(
        warning(config, "hostname", config.hostname + " has no address: many relays refuse such an EHLO name",
                "the DNS should know it, with the address that mail comes from, and that address with this name"));
  bool is_public = false;
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const conf::Listener& listener = config.listeners[i];
    const std::optional<net::Address> address = net::Address::parse(listener.address.host, listener.address.port);
    if (!address) continue;
    const auto is_it = [&](const net::Address& own) { return own.same_host(*address); };
    const bool is_own = address->is_wildcard() || is_loopback(*address) || facts.addresses.empty() ||
                        std::any_of(facts.addresses.begin(), facts.addresses.end(), is_it);
    is_public = is_public || !is_loopback(*address);
    if (is_own) continue;
    out.push_back(warning(config, "listener[" + std::to_string(i + 1) + "].address",
                          "no interface of this machine has " + listener.address.host,
                          "the daemon does not start before one has"));
  }
  const bool any_certificate = !config.tls.certificate.empty() || !config.tls.certificates.empty();
  if (is_public && !any_certificate)
    out.push_back(warning(config, "tls.certificate",
                          "is not given: all mail comes in in clear, and nobody can log in safely",
                          "a certificate that nobody vouches for does for mail between relays"));
  if (facts.clock_is_kept == Known::no)
    out.push_back(warning(config, "",
                          "nothing keeps this machine's clock right: retries, expiry and dates of messages go by it",
                          "install chrony or systemd-timesyncd, or see whether it reaches its servers"));
  for (const HostFacts::NameServer& server : facts.name_servers) {
    if (server.kind == HostFacts::NameServer::Kind::silent)
      out.push_back(warning(config, "resolver.servers", "the name server " + server.address + " does not answer",
                            "without one no mail leaves for others; is a firewall before it?"));
    if (server.kind == HostFacts::NameServer::Kind::believes)
      out.push_back(warning(config, "resolver.servers",
                            "the name server " + server.address +
                                " does not validate (DNSSEC): who forges an answer "
                                "gets the mail",
                            "one on this machine that does, such as unbound, is quicker, too"));
  }
  for (const HostFacts::Unreachable& hop : facts.next_hops)
    out.push_back(warning(config, hop.key, hop.what + " cannot be reached from here: " + hop.why,
                          "mail for it waits until it can: see whether it runs, and the firewalls in between"));
  for (const HostFacts::Unreachable& taken : facts.listeners)
    out.push_back(warning(config, taken.key, "another program has " + taken.what + ": " + taken.why,
                          "the daemon does not start before it is stopped: `ss -ltnp` tells which it is"));
  return out;
}

void check_host(conf::Loaded& loaded) {
  if (!loaded.errors.empty()) return;
  for (conf::Finding& each : host_warnings(loaded.config, host_facts(loaded.config)))
    loaded.warnings.push_back(std::move(each));
}

}  // namespace waypost::mta
