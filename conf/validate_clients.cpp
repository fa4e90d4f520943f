// [[client]]: classes that cannot be, or that would let in anyone.
#include <algorithm>
#include <string>
#include <utility>

#include "conf/findings.h"
#include "conf/validate.h"
#include "conf/values.h"

namespace waypost::conf {
namespace {

bool has_conditions(const ClientClass& client) {
  return !client.networks.empty() || !client.listeners.empty() || !client.logins.empty() ||
         !client.certificates.empty();
}

/// Anybody of the Internet is in it.
bool is_for_anyone(const ClientClass& client) {
  if (!client.logins.empty() || !client.certificates.empty()) return false;
  if (client.networks.empty()) return true;
  return std::any_of(client.networks.begin(), client.networks.end(), covers_the_internet) ||
         cover_the_internet_together(client.networks);
}

bool has_tls(const Config& config) {
  return std::any_of(config.listeners.begin(), config.listeners.end(),
                     [](const Listener& listener) { return listener.tls && *listener.tls != ListenerTls::none; });
}

void check_listeners_of(const Config& config, const ClientClass& client, const std::string& section,
                        Findings& findings) {
  for (std::size_t i = 0; i < client.listeners.size(); ++i) {
    const HostPort& wanted = client.listeners[i];
    const std::string key = numbered(section + ".listeners", i);
    const bool known = std::any_of(config.listeners.begin(), config.listeners.end(),
                                   [&wanted](const Listener& listener) { return listener.address == wanted; });
    if (known || findings.failed(key)) continue;
    findings.error(key, quoted(wanted.text()) + " is the address of no [[listener]]");
  }
}

void check_client(const Config& config, std::size_t index, Findings& findings) {
  const ClientClass& client = config.clients[index];
  const std::string section = numbered("client", index);
  for (std::size_t i = 0; i < index; ++i) {
    const ClientClass& earlier = config.clients[i];
    if (earlier.name == client.name && !client.name.empty()) {
      findings.error(section + ".name", "is that of " + numbered("client", i) + " too");
    }
    if (has_conditions(earlier)) continue;
    findings.warning(section + ".name",
                     "is never reached: " + numbered("client", i) + " has no condition, so it is for all");
    break;
  }
  check_listeners_of(config, client, section, findings);
  if (client.relay == true && is_for_anyone(client)) {
    findings.error(section + ".relay", "makes an open relay: nothing says whose clients these are",
                   "name their networks, logins or certificates");
  }
  const bool nobody = !config.auth.knows_somebody();
  for (const auto& [key, is_given] :
       {std::pair("logins", !client.logins.empty()), std::pair("login", !client.login.empty())}) {
    if (!is_given || !nobody) continue;
    findings.warning(section + "." + key, "nobody can log in: there is neither auth.users nor auth.dovecot");
  }
  if (!client.login.empty() && client.certificates.empty()) {
    findings.error(section + ".login", "is for those who show a certificate, and no certificates are named");
  }
  const bool in_vain = !has_tls(config) && (client.require_tls || !client.certificates.empty());
  if (in_vain) {
    findings.warning(section + (client.require_tls ? ".require_tls" : ".certificates"),
                     "needs TLS, and no listener has it", "set tls.certificate and tls.key");
  }
}

}  // namespace

void check_clients(const Config& config, Findings& findings) {
  for (std::size_t i = 0; i < config.clients.size(); ++i) check_client(config, i, findings);
}

}  // namespace waypost::conf
