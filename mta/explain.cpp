// mta/explain.cpp
#include "mta/explain.h"

#include <algorithm>
#include <utility>

#include "base/escape.h"
#include "base/text.h"
#include "delivery/route.h"
#include "mta/aliases.h"
#include "mta/client_class.h"
#include "net/address.h"
#include "smtp/address.h"

namespace waypost::mta {
namespace {

constexpr std::size_t kMostWays = 20;  // of an alias with many members the first ones show how it goes

Result<smtp::Path> path_of(const std::string& text) {
  std::string_view rest = text;
  smtp::PathRules rules;
  rules.utf8 = rules.bare = rules.null = rules.without_domain = true;
  Result<smtp::Path> path = smtp::take_path(rest, rules);
  if (!path) return fail(Errc::invalid, escape(text, 300) + ": " + path.error().what);
  if (!rest.empty()) return fail(Errc::invalid, "not an address: " + escape(text, 300));
  return path;
}

std::string decided_by(const conf::Config& config, const std::string& destination) {
  const std::string domain = delivery::domain_of(destination);
  const bool own = std::any_of(config.domains.begin(), config.domains.end(),
                               [&domain](const conf::Domain& each) { return each.name == domain && each.deliver; });
  if (own) return "domain " + domain;
  const conf::Route* route = delivery::route_of(config, destination);
  if (route == nullptr) return "the DNS";
  const auto number = route - config.routes.data() + 1;
  return "route " + std::to_string(number) + " (" + (route->name.empty() ? route->match : route->name) + ")";
}

}  // namespace

Result<Admission> explain_admission(const conf::Config& config, const ExplainQuery& query) {
  Result<smtp::Path> to = path_of(query.to);
  if (!to) return fail(to.error());
  Result<smtp::Path> from =
      query.from.empty() || query.from == "<>" ? Result<smtp::Path>(smtp::Path()) : path_of(query.from);
  if (!from) return fail(from.error());
  if (!net::Address::parse(query.client, 0))
    return fail(Errc::invalid, "not an address of a client: " + escape(query.client, 60));

  Admission out;
  Client client;
  client.address = query.client;
  client.trusted = is_trusted(config, query.client);
  client.login = query.login;
  client.is_private = true;
  const conf::Role role = query.role.value_or(query.login.empty() ? conf::Role::mx : conf::Role::submission);
  conf::Listener listener;
  listener.role = role;
  for (const conf::Listener& each : config.listeners)
    if (each.role == role) {
      listener = each;
      break;
    }
  client.client_class = class_of(config, client, listener);
  if (client.client_class != nullptr) out.client_class = client.client_class->name;
  out.trusted = client.trusted;
  out.may_send = client.may_send();

  const Decision<smtp::Path> sender =
      admit_sender(config, client, role, completed(config, role, *from), smtp::MailParameters());
  if (sender)
    out.sender = *sender;
  else
    out.sender_refused = sender.error();
  const Decision<smtp::Path> recipient = admit_recipient(config, client, role, completed(config, role, *to));
  if (!recipient) {
    out.recipient_refused = recipient.error();
    return out;
  }
  out.recipient = *recipient;
  out.goals = expand_aliases(config, *recipient);
  return out;
}

net::Task<Result<Explanation>> explain(std::shared_ptr<const conf::Config> config, delivery::Dispatcher& dispatcher,
                                       queue::Store& store, ExplainQuery query, net::WallTime now) {
  Explanation out;
  Result<Admission> admission = explain_admission(*config, query);
  if (!admission) co_return fail(admission.error());
  out.admission = *std::move(admission);
  for (const smtp::Path& goal : out.admission.goals) {
    if (out.ways.size() == kMostWays) break;
    Way way;
    way.to = goal;
    const std::string domain = smtp::domain_key(goal.mailbox.domain);
    way.destination = delivery::destination_of(*config, out.admission.sender, query.login, domain);
    way.decided_by = decided_by(*config, way.destination);
    way.directions = delivery::route(*config, way.destination);
    way.found = co_await dispatcher.find_plan(way.destination);
    Result<std::vector<queue::DestinationRow>> state = co_await store.destinations(way.destination, false, now);
    if (!state) co_return fail(state.error());
    way.state = *std::move(state);
    out.ways.push_back(std::move(way));
  }
  co_return out;
}

}  // namespace waypost::mta
