// delivery/dispatcher_plans.cpp: where a destination's mail goes, what that makes its site, and mail that waits where
// its route does not have it wait any more.
#include <algorithm>
#include <set>
#include <utility>

#include "base/event_log.h"
#include "delivery/dispatcher.h"
#include "smtp/address.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

constexpr net::Duration kPlanned = 60s;   // a plan holds so long at most
constexpr auto kNoUsableExchanger = 24h;  // PROTOCOL, "MX exists, none usable": deferred for a day, then 5.4.4

/// Of an LMTP server on this machine.
Plan::Hop socket_hop(const std::string& path) {
  resolver::Exchanger server;
  server.name = "localhost";
  server.addresses.push_back(net::Address::local(path));
  return {{server}, Protocol::lmtp};
}

/// Those by which one of its hosts can be reached.
std::vector<net::Address> sources_for(const Plan& plan, std::vector<net::Address> sources) {
  std::set<std::uint8_t> families;
  for (const Plan::Hop& hop : plan.hops)
    for (const resolver::Exchanger& host : hop.hosts)
      for (const net::Address& address : host.addresses) families.insert(address.family);
  std::erase_if(sources, [&families](const net::Address& source) { return !families.contains(source.family); });
  return sources;
}

HostFailure trouble_with(std::string status, std::string reason) {
  HostFailure failure;
  failure.status = std::move(status);
  failure.reason = std::move(reason);
  return failure;
}

}  // namespace

net::Task<> Dispatcher::plan(std::string name) {
  Destination& entry = destinations_[name];  // stays while `planning` is set
  const std::shared_ptr<const conf::Config> config = config_();
  Found found = co_await find_plan(name);
  entry.planning = false;
  if (stopping_) co_return;
  if (config_() != config) {  // it was replaced meanwhile: where mail goes, and by which policy, is asked again
    begin(name);
    co_return;
  }
  Plan& plan = found.plan;
  if (plan.key.empty()) {
    co_await fail_destination(name, found.trouble);
    co_return;
  }
  std::string key = plan.key;
  entry.site = key;
  entry.tls = std::move(found.tls);
  entry.as = std::move(found.as);
  entry.given = found.given;
  entry.by_dns = found.by_dns;
  entry.valid_until = found.valid_until;
  if (!entry.state.site.empty() && entry.state.site != key) {
    // It waited with the hosts that it had before, and may have been the one that was to ask for them.
    const std::string before = entry.state.site;
    entry.state.site.clear();
    scope_.spawn(join_site(name, key));
    read_site(before);
  }
  Trouble* const of_site = trouble_of(entry);
  const bool fails = of_site != nullptr && of_site->state.failures > 0;
  if (waits(name) || (fails && is_asked(key))) {
    if (of_site != nullptr) of_site->unread = true;
    drop_waiting(name);
    co_await join_site(name, key);
    co_return;
  }
  std::unique_ptr<Site>& site = sites_[key];
  const conf::OutLimit* of_plan = limit_of_site(*config, plan);
  const int most =
      of_plan != nullptr ? of_plan->connections.value_or(config->delivery.concurrency) : config->delivery.concurrency;
  if (site) {
    site->update(std::move(plan), most);
  } else {
    site = std::make_unique<Site>(std::move(plan), most);
    site->number = ++sites_made_;
  }
  site->pace.set(of_plan != nullptr ? of_plan->rate : std::nullopt);
  const conf::OutLimit* of_domain = limit_of_domain(*config, domain_of(name));
  if (of_site != nullptr) site->slow.set(of_site->state.spacing);
  entry.pace.set(of_domain != nullptr ? of_domain->rate : std::nullopt);
  entry.most_busy = of_domain != nullptr ? of_domain->concurrency.value_or(0) : 0;
  // After failures one connection asks whether the hosts are back. Others may have mail for them that goes well.
  if ((fails || entry.state.failures > 0) && site->workers == 0) site->all_failed();
  site->add_turn(name);
  pump(key);
}

net::Task<Dispatcher::Found> Dispatcher::find_plan(std::string name) {
  const std::shared_ptr<const conf::Config> config = config_();
  const Directions directions = route(*config, name);
  const std::string domain = domain_of(name);
  queue::DestinationState state;
  if (const auto known = destinations_.find(name); known != destinations_.end()) state = known->second.state;
  Found out;
  out.valid_until = runtime_.now() + kPlanned;
  out.as = directions.as;
  out.given = directions.given;
  Plan& plan = out.plan;
  plan.weighted = !directions.weights.empty();
  std::string key;
  for (std::size_t at = 0; at < directions.next_hops.size(); ++at) {
    const conf::NextHop& next_hop = directions.next_hops[at];
    switch (next_hop.kind) {
      case conf::NextHop::Kind::reject: {
        plan.kind = Plan::Kind::fail;
        const std::optional<smtp::EnhancedCode> code = smtp::parse_enhanced(next_hop.value);
        plan.status = code && code->klass == 5 ? code->text() : "5.7.1";
        plan.text =
            code ? next_hop.value.substr(std::min(next_hop.value.size(), code->text().size() + 1)) : next_hop.value;
        plan.key = next_hop.text();
        co_return out;
      }
      case conf::NextHop::Kind::discard:
        plan.kind = Plan::Kind::discard;
        plan.key = next_hop.text();
        co_return out;
      case conf::NextHop::Kind::maildir:
        plan.kind = Plan::Kind::maildir;
        plan.text = next_hop.value;
        plan.key = next_hop.text();
        co_return out;
      case conf::NextHop::Kind::lmtp_socket:
        plan.hops.push_back(socket_hop(next_hop.value));
        if (plan.weighted) plan.hops.back().weight = directions.weights[at];
        out.tls.emplace_back();
        key += (key.empty() ? "" : ",") + next_hop.text();
        continue;
      case conf::NextHop::Kind::lmtp_tcp:
      case conf::NextHop::Kind::smtp:
        break;
    }
    const bool lmtp = next_hop.kind == conf::NextHop::Kind::lmtp_tcp;
    resolver::LookUp look_up;
    look_up.port = next_hop.host.port != 0 ? next_hop.host.port : config->delivery.port;
    const resolver::Self self{config->hostname, own_addresses_()};
    resolver::Exchangers found;
    const bool literal = !next_hop.look_up_mx && next_hop.host.host == smtp::literal_address(domain);
    out.by_dns = literal || (next_hop.look_up_mx && next_hop.host.host == domain);
    if (literal) {
      found = co_await resolver::find_exchangers(resolver_, runtime_, domain, look_up, self);
    } else if (next_hop.look_up_mx) {
      found = co_await resolver::find_exchangers(resolver_, runtime_, next_hop.host.host, look_up, self);
    } else {
      found = co_await resolver::find_host(resolver_, runtime_, next_hop.host.host, look_up, self);
    }
    out.valid_until = std::min(out.valid_until, std::max(found.valid_until, runtime_.now() + 1s));
    if (found.status == resolver::Exchangers::Status::found) {
      const TlsTerms terms = lmtp ? TlsTerms() : tls_terms(*config, name, next_hop);
      plan.hops.push_back({found.hosts, lmtp ? Protocol::lmtp : Protocol::smtp});
      if (plan.weighted) plan.hops.back().weight = directions.weights[at];
      out.tls.push_back(terms);
      // What the configuration wants of its own next hop is a matter of that hop; else policy is the destination's.
      if (!key.empty()) key += ',';
      key += (lmtp ? "lmtp:" : "") + found.site + (out.by_dns ? "" : tls_key(terms, domain));
      continue;
    }
    const bool for_a_day = found.no_usable_exchanger && state.status == kNoUsableExchangerStatus &&
                           runtime_.wall_now() - state.failing_since > kNoUsableExchanger;
    const bool failed = found.status == resolver::Exchangers::Status::failed || for_a_day;
    // A next hop that does not resolve is the configuration's trouble, not the recipient's: it defers.
    if (failed && out.by_dns) {
      plan.kind = Plan::Kind::fail;
      plan.status = for_a_day ? "5.4.4" : found.enhanced;
      plan.text = found.reason;
      plan.key = "fail:" + name + ":" + plan.status;
      co_return out;
    }
    std::string status = found.enhanced.empty() ? "4.4.3" : found.enhanced;
    status.front() = '4';
    out.trouble = trouble_with(status, found.reason);
    out.trouble.ours = found.our_trouble;
  }
  plan.key = key;
  const bool by_route = directions.as != nullptr && !directions.as->source.empty();
  plan.sources = sources_for(plan, by_route ? directions.as->source : client_settings(*config).source);
  // Who comes as somebody else has sessions of its own, and what is held against it is held against no other; nor is
  // what was held against it before it changed.
  if (!key.empty() && directions.as != nullptr)
    plan.key = directions.as->name + ": " + key + ";as " + std::to_string(directions.as->mark);
  co_return out;
}

/// Also what is not due, and what is left in the store because it waits with others for a host that is not its own any
/// more. What is left by a stop goes when it is due.
net::Task<> Dispatcher::redirect_all() {
  std::shared_ptr<const conf::Config> config = config_();
  queue::Id after;
  while (!stopping_) {
    Result<queue::WaitingPage> page = co_await store_.waiting(after);
    if (!page && !stopping_) log::failure("looking for mail that takes another route now: " + page.error().what);
    if (!page) break;
    co_await redirect(take_redirected(*config_(), page->due));
    if (!page->resume && config == config_()) break;
    after = page->resume.value_or(queue::Id());
    if (!page->resume) config = config_();  // once more, by the routes of now
  }
  redirecting_ = false;
}

/// What waits where no route has it wait any more.
net::Task<> Dispatcher::redirect(std::vector<Redirected> redirected) {
  // What is under way ends where it is.
  std::erase_if(redirected,
                [this](const Redirected& each) { return !schedule_.claim(each.due.message->id, each.from); });
  std::vector<queue::Due> due;
  for (const Redirected& each : redirected) due.push_back(each.due);
  if (due.empty()) co_return;
  const Result<> done = co_await store_.redirect(std::move(due), runtime_.wall_now());
  ++redirected_;
  for (const Redirected& each : redirected) schedule_.release(each.due.message->id, each.from);
  if (done) {
    read_store_ = true;
    wake();
  } else if (!stopping_) {
    log::failure("putting mail where its route has it wait: " + done.error().what);
    due_at(runtime_.wall_now() + 5s);
  }
}

/// Where the configuration sends mail another way than it did, nothing waits for what was.
net::Task<> Dispatcher::compare_routes() {
  const std::uint64_t routes = fingerprint_of_routes(*config_());
  const Result<bool> compared = co_await store_.compare_routes(routes, runtime_.wall_now());
  if (!compared && !stopping_) {
    log::failure("comparing the routes with those before: " + compared.error().what);
    compare_routes_ = true;
    due_at(runtime_.wall_now() + 5s);
  }
  if (!compared || !*compared) co_return;
  for (auto& [name, destination] : destinations_) {
    destination.state.site.clear();
    destination.site.clear();
    destination.valid_until = {};
  }
  read_store_ = true;
  if (!std::exchange(redirecting_, true)) scope_.spawn(redirect_all());
}

}  // namespace waypost::delivery
