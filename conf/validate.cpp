#include "conf/validate.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include "base/text.h"
#include "conf/aliases.h"
#include "conf/findings.h"
#include "conf/units.h"
#include "conf/values.h"

namespace waypost::conf {
namespace {

constexpr std::uint64_t kTooManyAddresses = 1ULL << 28;

bool inside(const Network& network, const Network& outer) {
  return network.family == outer.family && network.prefix >= outer.prefix && outer.contains(address_text(network));
}

/// Special-purpose networks (RFC 6890): no mail comes from the Internet with such a source address.
bool is_private(const Network& network) {
  static const std::array<const char*, 11> kPrivate = {
      "0.0.0.0/8",     "10.0.0.0/8",     "100.64.0.0/10", "127.0.0.0/8", "224.0.0.0/3", "169.254.0.0/16",
      "172.16.0.0/12", "192.168.0.0/16", "fc00::/7",      "fe80::/10",   "ff00::/8"};
  return std::any_of(kPrivate.begin(), kPrivate.end(), [&network](const char* text) {
    Result<Network> outer = parse_network(text);
    return outer && inside(network, *outer);
  });
}

bool is_wildcard(const std::string& host) {
  return host == "0.0.0.0" || host == "::";
}

/// True if a listener on all addresses has this loopback address too.
bool covers_loopback(const std::string& wildcard, const std::string& host) {
  if (wildcard == "::") return host == "::1";
  return wildcard == "0.0.0.0" && host.starts_with("127.");
}

/// True of "inet:" and an address that is not of loopback.
bool is_elsewhere(const std::string& dovecot) {
  if (!dovecot.starts_with("inet:")) return false;
  return !dovecot.starts_with("inet:127.") && !dovecot.starts_with("inet:[::1]:");
}

void check_names(const Config& config, Findings& findings) {
  if (config.submit_socket == config.control_socket) {
    findings.error("submit_socket", "is the control socket too", "give each a path of its own");
  }
  bool single = !config.hostname.empty() && config.hostname.find('.') == std::string::npos;
  if (single) {
    findings.warning("hostname", quoted(config.hostname) + " has no dot: many relays refuse such an EHLO name",
                     "write hostname = \"relay.example.net\" with the name that DNS has for this machine");
  }
  bool takes_mail = !config.relay.domains.empty() && config.postmaster.empty();
  if (takes_mail) {
    findings.warning("postmaster",
                     "is not given and no [[domain]] gives one: mail to <postmaster> is refused, "
                     "which RFC 5321 section 4.5.1 forbids");
  }
}

/// Networks whose word is taken for who a client is.
void check_believed(const std::vector<Network>& networks, const std::string& key, const std::string& word,
                    Findings& findings) {
  if (findings.failed(key)) return;
  const bool anyone =
      std::any_of(networks.begin(), networks.end(), covers_the_internet) || cover_the_internet_together(networks);
  if (anyone) findings.error(key, "lets anyone say by " + word + " who it is: an open relay", "name your own hosts");
}

void check_listeners(const Config& config, Findings& findings) {
  if (config.listeners.empty()) {
    findings.error("listener", "there is no [[listener]]: no mail could come in",
                   "add [[listener]] with address = \"127.0.0.1:25\"");
  }
  bool has_certificate = !config.tls.certificate.empty() || !config.tls.certificates.empty();
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const Listener& listener = config.listeners[i];
    std::string section = numbered("listener", i);
    bool wants_tls = listener.tls && *listener.tls != ListenerTls::none;
    if (wants_tls && !has_certificate) {
      findings.error(section + ".tls", "needs a certificate, and there is none", "set tls.certificate and tls.key");
    }
    check_believed(listener.proxy, section + ".proxy", "PROXY header", findings);
    check_believed(listener.xclient, section + ".xclient", "XCLIENT", findings);
    const bool has_class = std::any_of(config.clients.begin(), config.clients.end(),
                                       [](const ClientClass& client) { return client.relay == true; });
    bool nobody = listener.role == Role::submission && config.relay.networks.empty() && !config.auth.knows_somebody() &&
                  !config.relay.open && !has_class;
    if (nobody) {
      findings.warning(section + ".role",
                       "nobody may send here: there is neither relay.networks nor auth.users nor auth.dovecot");
    }
    if (listener.address.host.empty()) continue;
    for (std::size_t j = 0; j < i; ++j) {
      const HostPort& other = config.listeners[j].address;
      if (other.host.empty() || other.port != listener.address.port) continue;
      if (other == listener.address) {
        findings.error(section + ".address", "is that of " + numbered("listener", j) + " too");
        break;
      }
      bool same_family =
          (other.host.find(':') == std::string::npos) == (listener.address.host.find(':') == std::string::npos);
      if (same_family && (is_wildcard(other.host) || is_wildcard(listener.address.host))) {
        findings.error(section + ".address",
                       "overlaps with that of " + numbered("listener", j) + ", " + quoted(other.text()));
        break;
      }
    }
  }
}

void check_tls_and_auth(const Config& config, Findings& findings) {
  if (!config.tls.certificate.empty() && config.tls.key.empty() && !findings.given("tls.key")) {
    findings.error("tls.certificate", "has no key beside it", "set tls.key");
  }
  if (config.tls.certificate.empty() && !config.tls.key.empty() && !findings.given("tls.certificate")) {
    findings.error("tls.key", "has no certificate beside it", "set tls.certificate");
  }
  if (!config.auth.knows_somebody()) {
    for (std::size_t i = 0; i < config.listeners.size(); ++i) {
      if (config.listeners[i].auth != true) continue;
      findings.warning(numbered("listener", i) + ".auth", "is true, and nobody can log in: there is no auth.users");
    }
    return;
  }
  const std::string who = config.auth.users.empty() ? "auth.dovecot" : "auth.users";
  if (!config.auth.users.empty() && !config.auth.dovecot.empty()) {
    findings.error("auth.dovecot", "stands beside auth.users: a password is looked at in one place",
                   "leave one of them out");
  }
  if (is_elsewhere(config.auth.dovecot)) {
    findings.warning("auth.dovecot", "is not on this machine: passwords would cross the network in clear");
  }
  if (!config.auth.require_tls) {
    findings.warning("auth.require_tls", "is false: passwords would cross the network in clear");
  }
  bool anywhere = std::any_of(config.listeners.begin(), config.listeners.end(), [&](const Listener& listener) {
    bool has_tls = listener.tls && *listener.tls != ListenerTls::none;
    return listener.takes_logins() && (has_tls || !config.auth.require_tls);
  });
  if (!anywhere) {
    findings.warning(who,
                     "nobody can log in: that needs a listener with role = \"submission\" or auth = true, "
                     "and TLS there unless auth.require_tls is false");
  }
}

void check_relay(const Config& config, Findings& findings) {
  if (config.relay.open) {
    findings.warning("relay.open", "is true: this is an open relay, and spam will find it within hours");
    return;
  }
  const std::string hint = "or relay.open = true, if this is what you want";
  for (std::size_t i = 0; i < config.relay.networks.size(); ++i) {
    const Network& network = config.relay.networks[i];
    if (!covers_the_internet(network) || findings.failed(numbered("relay.networks", i))) continue;
    findings.error(numbered("relay.networks", i),
                   quoted(network.text()) + " makes an open relay: name the networks that are yours", hint);
  }
  if (!findings.failed("relay.networks") && cover_the_internet_together(config.relay.networks)) {
    findings.error("relay.networks", "together they make an open relay: name the networks that are yours", hint);
  }
  for (std::size_t i = 0; i < config.relay.domains.size(); ++i) {
    const std::string& domain = config.relay.domains[i];
    std::string key = numbered("relay.domains", i);
    if (domain == "*") {
      findings.error(key, "\"*\" makes an open relay: name the domains for which you take mail", hint);
    } else if (domain.starts_with("*.") && domain.find('.', 2) == std::string::npos) {
      findings.warning(key, quoted(domain) + " relays for anyone to a whole top-level domain");
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (config.relay.domains[j] == domain) findings.warning(key, quoted(domain) + " is in the list already");
    }
    if (config.find_domain(domain)) {
      findings.warning(key, quoted(domain) + " has a [[domain]] of its own, and that alone counts");
    }
  }
}

/// True if mail for this next hop would come in here again. Of names nothing is known: DNS is not asked.
bool is_own(const Config& config, const NextHop& hop) {
  if (hop.kind != NextHop::Kind::smtp || !parse_address(hop.host.host)) return false;
  std::uint16_t port = hop.host.port == 0 ? config.delivery.port : hop.host.port;
  return std::any_of(config.listeners.begin(), config.listeners.end(), [&](const Listener& listener) {
    if (listener.address.port != port) return false;
    return listener.address.host == hop.host.host || covers_loopback(listener.address.host, hop.host.host);
  });
}

/// The key of the aliases that have this address as a name.
std::string aliases_of(const Config& config, const std::string& address) {
  for (std::size_t i = 0; i < config.domains.size(); ++i)
    if (address.ends_with("@" + config.domains[i].name)) return numbered("domain", i) + ".aliases";
  return "domain";
}

/// A domain without `deliver` has aliases alone: a target there that is none is nobody.
void check_alias_targets(const Config& config, std::size_t index, Findings& findings) {
  for (const auto& [local, targets] : config.domains[index].aliases) {
    for (const AliasTarget& target : targets) {
      const std::size_t at = target.address.rfind('@');
      const Domain* there = config.find_domain(target.address.substr(at + 1));
      if (there == nullptr || there->deliver) continue;
      const std::string name = to_lower(target.address.substr(0, at));
      const bool itself = there == &config.domains[index] && name == local;
      const bool own_catch_all = there == &config.domains[index] && local == "@";
      const bool is_alias = there->aliases.contains(name) || (there->aliases.contains("@") && !own_catch_all);
      if (is_alias && !target.final && !itself) continue;
      findings.error(numbered("domain", index) + ".aliases", quoted(local) + " stands for " + target.address +
                                                                 ", which is nobody: " + there->name +
                                                                 " has no deliver, only aliases");
    }
  }
}

/// Mail to <postmaster> reaches a person (RFC 5321 §4.5.1).
void check_postmaster(const Config& config, Findings& findings) {
  const std::size_t at = config.postmaster.rfind('@');
  const Domain* there = at == std::string::npos ? nullptr : config.find_domain(config.postmaster.substr(at + 1));
  if (there == nullptr || there->deliver || findings.failed("domain")) return;
  const bool is_alias =
      there->aliases.contains(to_lower(config.postmaster.substr(0, at))) || there->aliases.contains("@");
  if (!is_alias) {
    findings.error("postmaster", config.postmaster + " is nobody: " + there->name + " has no deliver, only aliases",
                   "make it an alias there, or write postmaster = \"an@address\"");
  }
}

/// recipients = "ask" needs somebody who can be asked.
void check_asking(const Domain& domain, const std::string& section, Findings& findings) {
  if (!domain.asks_next_hop || findings.failed(section + ".deliver")) return;
  if (!domain.deliver || domain.deliver->kind == NextHop::Kind::maildir) {
    findings.error(section + ".recipients", "\"ask\" asks the next hop who exists, and there is none",
                   "with deliver = \"smtp:HOST\" or \"lmtp:...\" there is one; else give a file, a table or a list");
  } else if (domain.aliases.contains("@")) {
    findings.warning(section + ".recipients",
                     "\"ask\" asks nothing: the catch-all of the aliases stands for everybody");
  }
}

void check_domains(const Config& config, Findings& findings) {
  check_postmaster(config, findings);
  const std::string loop = find_alias_loop(config);
  if (!loop.empty()) {
    findings.error(aliases_of(config, loop.substr(0, loop.find(' '))), "go round: " + loop);
  }
  for (std::size_t i = 0; i < config.domains.size(); ++i) {
    const Domain& domain = config.domains[i];
    std::string section = numbered("domain", i);
    for (std::size_t j = 0; j < i && !domain.name.empty(); ++j) {
      if (config.domains[j].name != domain.name) continue;
      findings.error(section + ".name", quoted(domain.name) + " is that of " + numbered("domain", j) + " too");
      break;
    }
    if (domain.deliver) check_own(config, *domain.deliver, section + ".deliver", findings);
    check_alias_targets(config, i, findings);
    check_asking(domain, section, findings);
    if (domain.recipients && !domain.deliver && !findings.failed(section + ".deliver")) {
      findings.error(section + ".recipients", "are delivered nowhere: the domain has no deliver");
    }
    if (domain.recipients && domain.recipients->empty() && domain.aliases.empty()) {
      findings.warning(section + ".recipients", "names nobody: all mail for " + quoted(domain.name) + " is refused");
    }
  }
}

void check_queue(const Config& config, Findings& findings) {
  const Config::Queue& queue = config.queue;
  if (queue.delay_over && queue.delay_warning == std::chrono::seconds(0))
    findings.warning("queue.delay_over", "has no effect: with queue.delay_warning = \"0s\" nobody is told of a delay");
  if (findings.failed("queue.retry")) return;
  if (queue.retry.empty()) {
    findings.error("queue.retry", "is empty",
                   "the default is [\"5m\", \"10m\", \"20m\", \"40m\", \"1h\", \"2h\", \"4h\"]");
    return;
  }
  std::string first = duration_text(queue.retry[0]);
  if (queue.expire <= queue.retry[0]) {
    findings.error("queue.expire", "is not after the first retry, " + quoted(first) + ": nothing would be tried twice");
  }
  if (queue.bounce_expire <= queue.retry[0]) {
    findings.error("queue.bounce_expire",
                   "is not after the first retry, " + quoted(first) + ": no bounce would be tried twice");
  }
  bool pointless = findings.given("queue.delay_warning") && queue.delay_warning >= queue.expire;
  if (pointless)
    findings.warning("queue.delay_warning", "is not before queue.expire: no warning would be sent",
                     "\"0s\" says the same plainly");
}

void check_admin(const Config& config, Findings& findings) {
  const std::optional<HostPort>& admin = config.admin.listen;
  if (!admin) return;
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    if (config.listeners[i].address != *admin) continue;
    findings.error("admin.listen", "is the address of " + numbered("listener", i) + " too", "take another port");
  }
  const bool is_loopback = admin->host.starts_with("127.") || admin->host == "::1";
  if (is_loopback) return;
  findings.warning("admin.listen",
                   "whoever can connect to " + admin->text() + " may see how much mail there is and where it waits");
}

void check_limits(const Config& config, Findings& findings) {
  const Config::Limits& limits = config.limits;
  if (limits.message_size < 65536) {
    findings.warning("limits.message_size",
                     "is below the 64 KiB that every relay must take (RFC 5321 section 4.5.3.1.7)");
  }
  if (limits.recipients < 100) {
    findings.warning("limits.recipients", "is below the 100 that every relay must take (RFC 5321 section 4.5.3.1.8)");
  }
  bool more_than_all =
      findings.given("limits.connections_per_client") && limits.connections_per_client > limits.connections;
  if (more_than_all) findings.warning("limits.connections_per_client", "is more than limits.connections in all");
  bool more_than_out =
      findings.given("delivery.concurrency") && config.delivery.concurrency > config.delivery.connections;
  if (more_than_out) findings.warning("delivery.concurrency", "is more than delivery.connections in all");
}

bool leaves_from(const Config& config, const std::string& source) {
  const auto has = [&source](const std::vector<std::string>& sources) {
    return std::find(sources.begin(), sources.end(), source) != sources.end();
  };
  return source.empty() || has(config.delivery.source) ||
         std::any_of(config.routes.begin(), config.routes.end(),
                     [&has](const Route& route) { return has(route.source); });
}

void check_delivery_limits(const Config& config, Findings& findings) {
  const std::vector<OutLimit>& limits = config.delivery.limits;
  for (std::size_t i = 0; i < limits.size(); ++i) {
    const OutLimit& limit = limits[i];
    const std::string section = numbered("delivery.limits", i);
    const int given = !limit.domains.empty() + !limit.sites.empty() + !limit.sources.empty();
    if (given != 1) findings.error(section, "says for what it is: one of domains, sites and sources");
    if (limit.connections && !limit.domains.empty())
      findings.error(section + ".connections", "is for sites and sources: of domains concurrency is limited");
    if (limit.concurrency && limit.domains.empty())
      findings.error(section + ".concurrency", "is for domains alone: of others connections are limited");
    for (std::size_t j = 0; j < limit.sources.size(); ++j) {
      if (!leaves_from(config, limit.sources[j]))
        findings.warning(numbered(section + ".sources", j),
                         quoted(limit.sources[j]) + " is an address from which no mail leaves",
                         "it stands in no delivery.source and no source of a route");
    }
    if (!limit.connections && !limit.concurrency && !limit.rate)
      findings.warning(section, "limits nothing: it has neither rate, connections nor concurrency");
  }
}

}  // namespace

bool covers_the_internet(const Network& network) {
  unsigned widest = network.family == 6 ? 16 : 8;
  return network.prefix <= widest && !is_private(network);
}

bool cover_the_internet_together(const std::vector<Network>& networks) {
  std::uint64_t addresses = 0;
  for (const Network& network : networks) {
    if (network.family != 4 || is_private(network)) continue;
    bool counted = std::any_of(networks.begin(), networks.end(), [&network](const Network& other) {
      return other.prefix < network.prefix && inside(network, other);
    });
    if (!counted) addresses += 1ULL << (32U - network.prefix);
  }
  return addresses >= kTooManyAddresses;
}

void check_own(const Config& config, const NextHop& hop, const std::string& key, Findings& findings) {
  if (is_own(config, hop))
    findings.error(key, quoted(hop.text()) + " is a listener of this relay: mail would go round");
}

void validate(const Config& config, Reading& reading) {
  Findings findings(reading);
  check_names(config, findings);
  check_listeners(config, findings);
  check_tls_and_auth(config, findings);
  check_relay(config, findings);
  check_clients(config, findings);
  check_domains(config, findings);
  check_routes(config, findings);
  check_tls_out(config, findings);
  check_queue(config, findings);
  check_limits(config, findings);
  check_delivery_limits(config, findings);
  check_admin(config, findings);
}

}  // namespace waypost::conf
