#include "delivery/route.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <xxhash.h>

#include "base/escape.h"
#include "base/text.h"
#include "conf/values.h"
#include "smtp/address.h"
#include "smtp/sender_rule.h"

namespace waypost::delivery {
namespace {

constexpr char kParts = '/';  // a domain from a route: in the name of neither
constexpr std::size_t kShownUser = 100;

// Each value with an end of its own: two lists never read alike.
void add(std::string& text, const std::string& value) {
  text += value;
  text += '\0';
}

void add(std::string& text, const std::vector<std::string>& values) {
  for (const std::string& value : values) add(text, value);
  add(text, "");
}

void add(std::string& text, const conf::HopTls& tls) {
  add(text, tls.level ? std::to_string(static_cast<int>(*tls.level)) : "");
  for (const std::string& name : tls.names) add(text, name);
  for (const std::string& fingerprint : tls.fingerprints) add(text, fingerprint);
}

/// Of a password when it was written: what it says is kept nowhere, in no form.
void add_identity(std::string& text, const conf::Route& route) {
  add(text, route.source);
  add(text, route.ehlo);
  if (!route.login) return;
  add(text, route.login->user);
  add(text, std::to_string(route.login->password_changed));
  add(text, route.login->mechanisms);
}

bool any_asks_sender(const conf::Config& config) {
  return std::any_of(config.routes.begin(), config.routes.end(),
                     [](const conf::Route& route) { return route.asks_sender(); });
}

bool is_from(const conf::Route& route, const smtp::Path& reverse_path, const std::string& login) {
  const auto covers = [&](const std::string& rule) { return smtp::covers(rule, reverse_path); };
  const auto is_login = [&](const std::string& pattern) { return conf::is_login(pattern, login); };
  return (route.senders.empty() || std::any_of(route.senders.begin(), route.senders.end(), covers)) &&
         (route.logins.empty() || std::any_of(route.logins.begin(), route.logins.end(), is_login));
}

/// Null where the route leaves it to the rest of the configuration.
std::shared_ptr<const Identity> identity_of(const conf::Route& route) {
  if (!route.login && route.source.empty() && route.ehlo.empty()) return nullptr;
  Identity as;
  as.login = route.login;
  as.ehlo = route.ehlo;
  for (const std::string& source : route.source) {
    const std::optional<net::Address> address = net::Address::parse(source, 0);
    if (address) as.source.push_back(*address);
  }
  as.name = route.name;
  if (as.name.empty() && route.login) as.name = "as " + escape(route.login->user, kShownUser);
  if (as.name.empty()) as.name = "from " + (route.source.empty() ? route.ehlo : join(route.source, " "));
  std::string text;
  add_identity(text, route);
  as.mark = XXH3_64bits(text.data(), text.size());
  return std::make_shared<const Identity>(std::move(as));
}

}  // namespace

std::string destination_of(const conf::Config& config, const smtp::Path& reverse_path, const std::string& login,
                           const std::string& domain) {
  const conf::Domain* own = config.find_domain(domain);
  if (own != nullptr && own->deliver) return domain;
  const conf::Route* route = route_of(config, reverse_path, login, domain);
  return route != nullptr && route->asks_sender() ? domain + kParts + route->name : domain;
}

std::string domain_of(const std::string& destination) {
  return destination.substr(0, destination.find(kParts));
}

std::optional<conf::NextHop> rerouted_to(const std::string& destination) {
  const std::size_t parts = destination.find(kParts);
  // The name of a route has no colon.
  if (parts == std::string::npos || destination.find(':', parts) == std::string::npos) return std::nullopt;
  Result<conf::NextHop> hop = conf::parse_next_hop(destination.substr(parts + 1));
  if (!hop) return std::nullopt;
  return *std::move(hop);
}

void assign_destinations(const conf::Config& config, queue::NewMessage& message) {
  if (!any_asks_sender(config)) return;
  for (const smtp::EnvelopeRecipient& recipient : message.envelope.recipients) {
    const std::string domain = smtp::domain_key(recipient.forward_path.mailbox.domain);
    message.destinations.push_back(destination_of(config, message.envelope.reverse_path, message.origin.user, domain));
  }
}

std::vector<Redirected> take_redirected(const conf::Config& config, std::vector<queue::Due>& due) {
  std::vector<Redirected> out;
  const bool any_asks = any_asks_sender(config);
  const auto is_apart = [](const queue::Due& each) { return each.destination.find(kParts) != std::string::npos; };
  if (!any_asks && std::none_of(due.begin(), due.end(), is_apart)) return out;
  std::vector<queue::Due> stay;
  for (queue::Due& each : due) {
    if (rerouted_to(each.destination)) {
      stay.push_back(std::move(each));
      continue;
    }
    std::string belongs = domain_of(each.destination);
    if (any_asks) belongs = destination_of(config, each.message->reverse_path, each.message->user, belongs);
    if (belongs == each.destination) {
      stay.push_back(std::move(each));
      continue;
    }
    std::string from = std::exchange(each.destination, std::move(belongs));
    out.push_back({std::move(from), std::move(each)});
  }
  due = std::move(stay);
  return out;
}

const conf::Route* route_of(const conf::Config& config, const std::string& destination) {
  const std::string domain = domain_of(destination);
  const conf::Domain* own = config.find_domain(domain);
  if (own != nullptr && own->deliver) return nullptr;
  const std::size_t parts = destination.find(kParts);
  const std::string name = parts == std::string::npos ? "" : destination.substr(parts + 1);
  const auto found = std::find_if(config.routes.begin(), config.routes.end(), [&](const conf::Route& route) {
    if (!name.empty()) return route.name == name;
    return !route.asks_sender() && conf::matches(route.match, domain);
  });
  return found == config.routes.end() ? nullptr : &*found;
}

const conf::Route* route_of(const conf::Config& config, const smtp::Path& reverse_path, const std::string& login,
                            const std::string& domain) {
  const auto found = std::find_if(config.routes.begin(), config.routes.end(), [&](const conf::Route& route) {
    return conf::matches(route.match, domain) && is_from(route, reverse_path, login);
  });
  return found == config.routes.end() ? nullptr : &*found;
}

Directions route(const conf::Config& config, const std::string& destination) {
  Directions directions;
  if (const std::optional<conf::NextHop> hop = rerouted_to(destination)) {
    directions.next_hops.push_back(*hop);
    directions.given = true;
    return directions;
  }
  const std::string domain = domain_of(destination);
  const conf::Domain* own = config.find_domain(domain);
  if (own != nullptr && own->deliver) {
    directions.next_hops.push_back(*own->deliver);
    directions.given = true;
    return directions;
  }
  const conf::Route* matching = route_of(config, destination);
  if (matching != nullptr) {
    directions.as = identity_of(*matching);
    directions.next_hops = matching->next_hops;
    directions.weights = matching->weights;
  }
  directions.given = !directions.next_hops.empty();
  if (directions.given) return directions;
  conf::NextHop direct;
  direct.kind = conf::NextHop::Kind::smtp;
  const std::string literal = smtp::literal_address(domain);
  direct.host.host = literal.empty() ? domain : literal;
  direct.look_up_mx = literal.empty();
  directions.next_hops.push_back(std::move(direct));
  return directions;
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
    add(text, route.name);
    add(text, route.senders);
    add(text, route.logins);
    for (const conf::NextHop& next_hop : route.next_hops) add(text, next_hop.text());
    for (const int weight : route.weights) add(text, std::to_string(weight));
    add(text, route.tls);
    add_identity(text, route);
  }
  add(text, std::to_string(config.delivery.port) + " " + std::to_string(static_cast<int>(config.delivery.tls)));
  for (const conf::HostPort& server : config.resolver.servers) add(text, server.text());
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace waypost::delivery
