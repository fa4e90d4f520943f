// [[route]]: what contradicts itself, and what is never reached. Its TLS: validate_tls.cpp.
#include <algorithm>
#include <string>

#include "conf/findings.h"
#include "conf/values.h"

namespace waypost::conf {
namespace {

void check_next_hops(const Config& config, std::size_t index, Findings& findings) {
  const Route& route = config.routes[index];
  const std::string key = numbered("route", index) + ".next_hop";
  if (findings.given(key) && route.next_hops.empty() && !findings.failed(key)) findings.error(key, "is empty");
  for (std::size_t i = 0; i < route.next_hops.size(); ++i) {
    const NextHop& hop = route.next_hops[i];
    const std::string item = numbered(key, i);
    const std::string at = findings.given(item) ? item : key;
    const bool final_one = hop.kind == NextHop::Kind::reject || hop.kind == NextHop::Kind::discard;
    if (final_one && route.next_hops.size() > 1) {
      findings.error(at, quoted(hop.text()) + " stands alone: there is nothing to try before or after it");
    }
    check_own(config, hop, at, findings);
  }
}

void check_weights(const Route& route, const std::string& section, Findings& findings) {
  const std::string key = section + ".weights";
  if (route.weights.empty() || findings.failed(key) || findings.failed(section + ".next_hop")) return;
  if (route.weights.size() != route.next_hops.size()) {
    findings.error(
        key,
        "has " + std::to_string(route.weights.size()) + " for a next_hop of " + std::to_string(route.next_hops.size()),
        "one for each of them: 0 for what stands in where no other answers");
  } else if (std::all_of(route.weights.begin(), route.weights.end(), [](int each) { return each == 0; })) {
    findings.error(key, "are all 0: nothing would be tried first", "leave them out where next hops are tried in order");
  }
}

void check_login(const Route& route, const std::string& section, Findings& findings) {
  const bool user = findings.given(section + ".user");
  const bool password = findings.given(section + ".password_file");
  if (user && !password) {
    findings.error(section + ".user", "has no password",
                   "set password_file = \"/etc/waypost/smarthost.password\", a file with the password alone");
  }
  if (password && !user) findings.error(section + ".password_file", "is nobody's", "set user");
  if (findings.given(section + ".mechanisms") && !user)
    findings.error(section + ".mechanisms", "are used by nobody", "set user and password_file");
  if (!route.login || findings.failed(section + ".next_hop")) return;
  // The exchangers of whoever gets mail are no place for a password.
  const bool all_smtp = std::all_of(route.next_hops.begin(), route.next_hops.end(),
                                    [](const NextHop& hop) { return hop.kind == NextHop::Kind::smtp; });
  if (!route.next_hops.empty() && all_smtp) return;
  findings.error(section + (user ? ".user" : ".password_file"), "is for a next_hop that is \"smtp:\" or \"smtps:\"");
}

void check_name(const Config& config, std::size_t index, Findings& findings) {
  const Route& route = config.routes[index];
  const std::string section = numbered("route", index);
  if (route.name.empty()) {
    if (!route.asks_sender() || findings.failed(section + ".name")) return;
    findings.error(section + (route.senders.empty() ? ".logins" : ".senders"),
                   "are asked for by a route without a name: its mail waits apart, and has to be called something",
                   "such as name = \"smarthost\"");
    return;
  }
  for (std::size_t i = 0; i < index; ++i) {
    if (config.routes[i].name != route.name) continue;
    findings.error(section + ".name", quoted(route.name) + " is that of " + numbered("route", i) + " too");
    return;
  }
}

/// True if what one route asks for is all that the other does.
bool covers(const Route& earlier, const Route& later) {
  const bool same_sender = earlier.senders == later.senders && earlier.logins == later.logins;
  if (earlier.asks_sender() && !same_sender) return false;
  if (earlier.match == "*" || earlier.match == later.match) return true;
  if (earlier.match.empty() || later.match == "*") return false;
  return matches(earlier.match, later.match.starts_with("*.") ? "x" + later.match.substr(1) : later.match);
}

void check_match(const Config& config, std::size_t index, Findings& findings) {
  const Route& route = config.routes[index];
  const std::string key = numbered("route", index) + ".match";
  if (route.match.empty()) return;
  for (std::size_t i = 0; i < index; ++i) {
    if (!covers(config.routes[i], route)) continue;
    findings.warning(key,
                     quoted(route.match) + " is never reached: " + numbered("route", i) + " matches all of it first");
    return;
  }
  const Domain* domain = config.find_domain(route.match);
  if (domain != nullptr) {
    findings.warning(key,
                     quoted(route.match) + " has a [[domain]], whose \"deliver\" counts: this route is never used");
  }
}

}  // namespace

void check_routes(const Config& config, Findings& findings) {
  for (std::size_t i = 0; i < config.routes.size(); ++i) {
    const std::string section = numbered("route", i);
    check_name(config, i, findings);
    check_next_hops(config, i, findings);
    check_weights(config.routes[i], section, findings);
    check_login(config.routes[i], section, findings);
    check_match(config, i, findings);
  }
}

}  // namespace waypost::conf
