#include "tests/sim/plan.h"

#include <algorithm>
#include <random>

#include "conf/values.h"
#include "tests/sim/chance.h"
#include "tests/sim/ledger.h"

namespace waypost::sim {
namespace {

using namespace std::chrono_literals;

const char* name_of(Item::Kind kind) {
  constexpr const char* kNames[] = {"client",    "crash", "kill", "restart", "io_error", "cut",      "disk_full",
                                    "slow_disk", "clock", "dns",  "host",    "network",  "operator", "reload"};
  return kNames[static_cast<std::size_t>(kind)];
}

/// To a host, to a socket, or to one after the other.
conf::Route lmtp_route(Chance& chance) {
  conf::NextHop host, socket;
  host.kind = conf::NextHop::Kind::lmtp_tcp;
  host.host = {host_address(kLmtpHost).host(), host_address(kLmtpHost).port};
  socket.kind = conf::NextHop::Kind::lmtp_socket;
  socket.value = host_address(kLmtpSocket).path;
  conf::Route route;
  route.match = kLmtpDomain;
  route.next_hops = {host, socket};
  if (chance.one_in(2)) std::swap(route.next_hops[0], route.next_hops[1]);
  if (chance.one_in(2)) route.next_hops.pop_back();
  return route;
}

conf::Config make_config(Chance& chance) {
  conf::Config config;
  config.hostname = "relay.example";
  config.postmaster = "postmaster@local.example";
  for (const char* clients : {"10.0.0.0/8", "2001:db8:a::/48", "::1"})
    config.relay.networks.push_back(*conf::parse_network(clients));
  conf::Domain local;
  local.name = "local.example";
  conf::NextHop maildir;
  maildir.kind = conf::NextHop::Kind::maildir;
  maildir.value = "/mail/{domain}/{local}";
  local.deliver = maildir;
  config.domains = {local};
  conf::Route route;
  route.match = "routed.example";
  conf::NextHop hop;
  hop.kind = conf::NextHop::Kind::smtp;
  hop.host = {host_address(kRoutedHost).host(), 2525};
  hop.look_up_mx = false;
  route.next_hops = {hop};
  config.routes = {route, lmtp_route(chance)};
  if (chance.one_in(2)) config.queue.retry = {1min, 5min, 15min, 1h};
  config.queue.expire =
      chance.one_in(2) ? std::chrono::seconds(5 * 24h) : std::chrono::seconds(chance.from(8, 30) * 1h);
  if (chance.one_in(4)) config.queue.delay_warning = 30min;
  config.queue.delay_over = true;
  config.postmaster = kPostmaster;
  config.queue.inline_limit = chance.one_in(2) ? 2048 : 64 * 1024;
  config.delivery.concurrency = static_cast<int>(chance.from(1, 20));
  if (chance.one_in(4)) config.delivery.connections = static_cast<int>(chance.from(1, 6));
  if (chance.one_in(2)) config.delivery.data_timeout = 2min;
  return config;
}

/// Some have both families and, where it works, some have IPv6 alone.
std::vector<std::vector<net::Address>> make_hosts(Chance& chance, Ipv6 ipv6) {
  std::vector<std::vector<net::Address>> hosts(chance.from(2, 6));
  for (std::size_t i = 0; i < hosts.size(); ++i) {
    const std::string number = std::to_string(10 + i);
    const std::uint64_t families = ipv6 == Ipv6::works ? chance.below(5) : chance.from(1, 4);
    if (families <= 2) hosts[i].push_back(*net::Address::parse("2001:db8:b::" + number, 25));
    if (families >= 1) hosts[i].push_back(*net::Address::parse("203.0.113." + number, 25));
  }
  return hosts;
}

std::vector<Domain> make_domains(Chance& chance, int hosts) {
  std::vector<Domain> domains = {{"home.example", Domain::Kind::mx, {{10, 0}}}};
  const int count = static_cast<int>(chance.from(3, 8));
  for (int i = 0; i < count; ++i) {
    Domain domain{"d" + std::to_string(i) + ".example", Domain::Kind::mx, {}};
    const int kind = static_cast<int>(chance.below(12));
    if (kind == 0) domain.kind = Domain::Kind::none;
    if (kind == 1) domain.kind = Domain::Kind::null_mx;
    if (kind == 2) domain.kind = Domain::Kind::dead;
    if (kind == 3) domain.kind = Domain::Kind::address_only;
    if (kind == 4) domain.kind = Domain::Kind::routed;
    if (kind == 5 || kind == 6) domain.kind = Domain::Kind::lmtp;
    if (domain.kind == Domain::Kind::routed) domain.name = "routed.example";
    if (domain.kind == Domain::Kind::lmtp) domain.name = kLmtpDomain;
    const int exchangers = domain.kind == Domain::Kind::address_only ? 1 : static_cast<int>(chance.from(1, 3));
    const std::uint64_t first = chance.below(static_cast<std::uint64_t>(hosts));
    for (int k = 0; k < std::min(exchangers, hosts); ++k) {
      const int host = static_cast<int>((first + static_cast<std::uint64_t>(k)) % static_cast<std::uint64_t>(hosts));
      domain.exchangers.emplace_back(chance.one_in(2) ? 10 : 20, host);
    }
    // Most have the provider of another: one site.
    const Domain& other = domains[chance.below(domains.size())];
    if (domain.kind == Domain::Kind::mx && other.kind == Domain::Kind::mx && !chance.one_in(4))
      domain.exchangers = other.exchangers;
    const bool twice =
        std::any_of(domains.begin(), domains.end(), [&](const Domain& d) { return d.name == domain.name; });
    if (!twice) domains.push_back(domain);
  }
  domains.push_back({"local.example", Domain::Kind::local, {}});
  return domains;
}

/// Of the troubles one run is mostly about a few: a run with everything at once tells little.
std::vector<Item::Kind> make_troubles(Chance& chance) {
  using Kind = Item::Kind;
  std::vector<Kind> all = {Kind::crash,     Kind::kill,      Kind::restart,   Kind::io_error, Kind::cut,
                           Kind::disk_full, Kind::slow_disk, Kind::clock,     Kind::dns,      Kind::host,
                           Kind::host,      Kind::network,   Kind::operator_, Kind::reload};
  std::vector<Kind> chosen;
  const std::uint64_t count = chance.from(1, 5);
  for (std::uint64_t i = 0; i < count; ++i) chosen.push_back(all[chance.below(all.size())]);
  // At least one of them ends the relay where it does not expect it.
  constexpr Kind kEnds[] = {Kind::crash, Kind::kill, Kind::cut};
  if (std::find_first_of(chosen.begin(), chosen.end(), std::begin(kEnds), std::end(kEnds)) == chosen.end())
    chosen.push_back(kEnds[chance.below(std::size(kEnds))]);
  return chosen;
}

bool has_lmtp(const Plan& plan) {
  return std::any_of(plan.domains.begin(), plan.domains.end(),
                     [](const Domain& domain) { return domain.kind == Domain::Kind::lmtp; });
}

Item make_trouble(Item::Kind kind, Chance& chance, const Plan& plan) {
  Item item;
  item.kind = kind;
  item.at = net::Duration(chance.below(static_cast<std::uint64_t>(plan.traffic.count())));
  item.seed = chance.next();
  item.what = static_cast<int>(chance.below(1000));
  switch (kind) {
    case Item::Kind::crash:
    case Item::Kind::kill:
      item.where = static_cast<int>(chance.below(chance.one_in(2) ? 60 : 3000));
      break;
    case Item::Kind::io_error:
    case Item::Kind::cut:
      item.where = static_cast<int>(chance.below(200));
      break;
    case Item::Kind::clock:
      item.where = static_cast<int>(chance.from(1, 180)) * (chance.one_in(2) ? -1 : 1);
      break;
    case Item::Kind::dns:
    case Item::Kind::operator_:
      item.where = static_cast<int>(chance.below(plan.domains.size()));
      break;
    case Item::Kind::host:
      item.where = static_cast<int>(chance.below(plan.hosts.size()));
      if (chance.one_in(10)) item.where = kRoutedHost;
      if (has_lmtp(plan) && chance.one_in(3)) item.where = chance.one_in(2) ? kLmtpHost : kLmtpSocket;
      item.what = static_cast<int>(chance.below(kManners));
      // What it answers to the dot is what LMTP has of its own.
      if (item.where >= kLmtpHost && chance.one_in(2))
        item.what = static_cast<int>(Manner::dot_451) + static_cast<int>(chance.below(5));
      break;
    default:
      break;
  }
  const std::uint64_t longest = kind == Item::Kind::disk_full || kind == Item::Kind::slow_disk ? 20 : 240;
  item.lasts = std::chrono::minutes(chance.from(1, chance.one_in(3) ? longest : 15));
  return item;
}

/// All hosts of a domain are in a host's trouble; at times an operator, who sees that, holds its mail for a while.
void add_whole_provider(Plan& plan, const Item& trouble, bool operator_holds, Chance& chance) {
  const std::size_t at = chance.below(plan.domains.size());
  for (const auto& [preference, host] : plan.domains[at].exchangers) {
    Item also = trouble;
    also.where = host;
    if (also.where != trouble.where) plan.items.push_back(also);
  }
  if (!operator_holds) return;
  Item hold = trouble;
  hold.kind = Item::Kind::operator_;
  hold.at += 1min;
  hold.lasts += 10min;
  hold.where = static_cast<int>(at);
  hold.what = kHold;
  plan.items.push_back(hold);
}

}  // namespace

std::string Item::text() const {
  const auto minutes = [](net::Duration time) {
    return std::to_string(time.count() / 60000) + "m" + std::to_string(time.count() / 1000 % 60) + "s";
  };
  return std::string(name_of(kind)) + " at " + minutes(at) + " for " + minutes(lasts) + " where " +
         std::to_string(where) + " what " + std::to_string(what);
}

net::Address host_address(int host) {
  if (host == kLmtpSocket) return net::Address::local("/run/lmtp");
  return *net::Address::parse("203.0.113." + std::to_string(host), host == kRoutedHost ? 2525 : 24);
}

Plan make_plan(std::uint64_t seed) {
  Chance chance(seed * 0x9E3779B97F4A7C15u + 1);
  Plan plan;
  plan.seed = seed;
  plan.calm = chance.one_in(8);
  plan.config = make_config(chance);
  // A lost connection costs half a minute, which a calm run does not have.
  if (chance.one_in(4)) plan.ipv6 = plan.calm || chance.one_in(2) ? Ipv6::unreachable : Ipv6::lost;
  plan.hosts = make_hosts(chance, plan.ipv6);
  plan.domains = make_domains(chance, static_cast<int>(plan.hosts.size()));
  plan.traffic = std::chrono::minutes(chance.one_in(2) ? chance.from(2, 60) : chance.from(60, 900));
  plan.heal = plan.traffic + 4h;
  // Much mail hides a wake-up that was lost: whatever falls due has the store read.
  const bool sparse = chance.one_in(2);
  const std::uint64_t clients = sparse ? chance.from(1, 4) : chance.from(5, 40);
  for (std::uint64_t i = 0; i < clients; ++i) {
    Item item;
    // Some come together.
    item.at = i % 3 == 0 || plan.items.empty()
                  ? net::Duration(chance.below(static_cast<std::uint64_t>(plan.traffic.count())))
                  : plan.items.back().at + net::Duration(chance.below(3000));
    item.seed = chance.next();
    item.where = static_cast<int>(i);
    plan.items.push_back(item);
  }
  if (!plan.calm) {
    std::vector<Item::Kind> troubles = make_troubles(chance);
    if (sparse) troubles.push_back(Item::Kind::host);
    for (Item::Kind kind : troubles) {
      const std::uint64_t count = chance.from(1, 6);
      for (std::uint64_t i = 0; i < count; ++i) {
        Item item = make_trouble(kind, chance, plan);
        // Most trouble comes while there is something to be disturbed.
        if (!chance.one_in(3)) item.at = plan.items[chance.below(clients)].at + net::Duration(chance.below(2000));
        plan.items.push_back(item);
        if (kind == Item::Kind::host && (sparse || chance.one_in(2)))
          add_whole_provider(plan, item, sparse && chance.one_in(3), chance);
      }
    }
  }
  std::stable_sort(plan.items.begin(), plan.items.end(), [](const Item& a, const Item& b) { return a.at < b.at; });
  return plan;
}

}  // namespace waypost::sim
