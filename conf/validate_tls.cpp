// tls, tls_names and tls_fingerprints of routes and domains: what contradicts itself, or can never be had.
#include <algorithm>
#include <string>
#include <vector>

#include "conf/findings.h"
#include "conf/values.h"

namespace waypost::conf {
namespace {

bool is_smtp(const NextHop& hop) {
  return hop.kind == NextHop::Kind::smtp;
}

/// One list that is compared at one level alone.
void check_list(bool given, bool counts, const std::string& key, const std::string& level, Findings& findings) {
  if (!given || counts) return;
  findings.error(key, "is compared with nothing", "it belongs to tls = \"" + level + "\"");
}

/// A block that has TLS of its own. `hops`: none where the exchangers are those that DNS names.
struct Block {
  std::string section;
  std::string hop_key;
  const HopTls& tls;
  std::vector<NextHop> hops;
  TlsLevel level;
};

bool is_readable(const Block& block, const Findings& findings) {
  const std::string tls = block.section + ".tls";
  const std::vector<std::string> keys = {tls, tls + "_names", tls + "_fingerprints", block.section + block.hop_key};
  return std::none_of(keys.begin(), keys.end(), [&](const std::string& key) { return findings.failed(key); });
}

void check_block(const Block& block, Findings& findings) {
  if (!is_readable(block, findings)) return;
  const auto& [section, hop_key, tls, hops, level] = block;
  const bool any_given = tls.level || !tls.names.empty() || !tls.fingerprints.empty();
  if (any_given && !hops.empty() && std::none_of(hops.begin(), hops.end(), is_smtp)) {
    findings.error(section + ".tls", "is for mail that leaves by SMTP, and " + quoted(hops.front().text()) + " is not");
    return;
  }
  const auto in_clear =
      std::find_if(hops.begin(), hops.end(), [](const NextHop& hop) { return hop.kind == NextHop::Kind::lmtp_tcp; });
  if (any_given && level >= TlsLevel::encrypt && in_clear != hops.end()) {
    findings.error(section + ".tls", "asks for TLS, and " + quoted(in_clear->text()) + " of " + section +
                                         block.hop_key + " is in clear: LMTP has none here");
  }
  if (level == TlsLevel::fingerprint && tls.fingerprints.empty()) {
    findings.error(section + ".tls", "is \"fingerprint\", and there are none to compare with",
                   "set tls_fingerprints = [\"sha256:...\"]");
  }
  check_list(!tls.fingerprints.empty(), level == TlsLevel::fingerprint, section + ".tls_fingerprints", "fingerprint",
             findings);
  check_list(!tls.names.empty(), level == TlsLevel::verify, section + ".tls_names", "verify", findings);
  for (const NextHop& hop : hops) {
    if (!is_smtp(hop)) continue;
    if (hop.implicit_tls && level == TlsLevel::none) {
      findings.error(section + ".tls", "is \"none\", and " + quoted(hop.text()) + " is TLS from the first octet",
                     "\"smtp:\" is in clear");
    }
    if (level == TlsLevel::verify && tls.names.empty() && parse_address(hop.host.host)) {
      findings.error(section + (tls.level ? ".tls" : hop_key),
                     quoted(hop.text()) + " has no name that its certificate could be verified for",
                     "set tls_names = [\"mail.partner.example\"]");
    }
  }
}

}  // namespace

void check_tls_out(const Config& config, Findings& findings) {
  for (std::size_t i = 0; i < config.domains.size(); ++i) {
    const Domain& domain = config.domains[i];
    const std::string section = numbered("domain", i);
    std::vector<NextHop> hops;
    if (domain.deliver) hops.push_back(*domain.deliver);
    if (!domain.deliver && domain.tls != HopTls()) {
      findings.error(section + ".tls", "is for mail that leaves by SMTP, and the domain has no deliver");
    } else if (domain.deliver) {
      check_block({section, ".deliver", domain.tls, hops, domain.tls.level.value_or(config.delivery.tls)}, findings);
    }
  }
  for (std::size_t i = 0; i < config.routes.size(); ++i) {
    const Route& route = config.routes[i];
    const TlsLevel level = route.tls_level(config.delivery.tls);
    check_block({numbered("route", i), ".next_hop", route.tls, route.next_hops, level}, findings);
    if (route.login && level < TlsLevel::encrypt) {
      findings.warning(numbered("route", i) + ".tls",
                       "lets a session be in clear: the login goes by SCRAM alone there, or not at all",
                       "leave it out: it is \"verify\" for a route with a user");
    }
  }
}

}  // namespace waypost::conf
