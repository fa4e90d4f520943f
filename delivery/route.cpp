#include "delivery/route.h"

#include <xxhash.h>

#include "smtp/address.h"

namespace waypost::delivery {
namespace {

// Each value with an end of its own: two lists never read alike.
void add(std::string& text, const std::string& value) {
  text += value;
  text += '\0';
}

void add(std::string& text, const conf::HopTls& tls) {
  add(text, tls.level ? std::to_string(static_cast<int>(*tls.level)) : "");
  for (const std::string& name : tls.names) add(text, name);
  for (const std::string& fingerprint : tls.fingerprints) add(text, fingerprint);
}

}  // namespace

std::vector<conf::NextHop> route(const conf::Config& config, const std::string& destination) {
  const conf::Domain* domain = config.find_domain(destination);
  if (domain != nullptr && domain->deliver) return {*domain->deliver};
  const conf::Route* matching = config.find_route(destination);
  if (matching != nullptr && !matching->next_hops.empty()) return matching->next_hops;
  conf::NextHop direct;
  direct.kind = conf::NextHop::Kind::smtp;
  const std::string literal = smtp::literal_address(destination);
  direct.host.host = literal.empty() ? destination : literal;
  direct.look_up_mx = literal.empty();
  return {direct};
}

std::uint64_t fingerprint_of_routes(const conf::Config& config) {
  std::string text;
  for (const conf::Domain& domain : config.domains) {
    if (!domain.deliver) continue;
    add(text, "domain " + domain.name + " " + domain.deliver->text());
    add(text, domain.tls);
  }
  for (const conf::Route& route : config.routes) {
    add(text, "route " + route.match);
    for (const conf::NextHop& next_hop : route.next_hops) add(text, next_hop.text());
    add(text, route.tls);
  }
  add(text, std::to_string(config.delivery.port) + " " + std::to_string(static_cast<int>(config.delivery.tls)));
  for (const conf::HostPort& server : config.resolver.servers) add(text, server.text());
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace waypost::delivery
