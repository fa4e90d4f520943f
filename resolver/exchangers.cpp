#include "resolver/exchangers.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "base/text.h"
#include "net/scope.h"
#include "resolver/name.h"

namespace waypost::resolver {

namespace {

constexpr std::size_t kMaxAddresses = 32;  // of one family of one exchanger; no attempt tries as many
constexpr std::size_t kAtOnce = 4;         // exchangers of one domain whose addresses are looked up side by side

/// A small sequence of chances from one number (SplitMix64), so that plans are functions of what they are given.
class Chance {
 public:
  explicit Chance(std::uint64_t seed) : state_(seed) {}
  std::size_t below(std::size_t bound) {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebU;
    return static_cast<std::size_t>((mixed ^ (mixed >> 31)) % bound);
  }
  template <class Iterator>
  void shuffle(Iterator begin, Iterator end) {
    for (auto left = static_cast<std::size_t>(end - begin); left > 1; --left)
      std::swap(begin[static_cast<std::ptrdiff_t>(left - 1)], begin[static_cast<std::ptrdiff_t>(below(left))]);
  }

 private:
  std::uint64_t state_;
};

bool is_address(std::string_view name) {
  if (name.starts_with('[')) return true;
  return net::Address::parse(name, 0).has_value();
}

/// "192.0.2.1", "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 §4.1.3), "[2001:db8::1]".
std::optional<net::Address> parse_literal(std::string_view text, std::uint16_t port) {
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  if (starts_with_no_case(text, "IPv6:")) text.remove_prefix(5);
  return net::Address::parse(text, port);
}

bool is_trouble(Status status) {
  return status == Status::server_failed || status == Status::timed_out;
}

/// What the two questions for a host's addresses gave.
struct HostAnswers {
  Answer<net::Address> a;
  Answer<net::Address> aaaa;
};

net::Task<> look_up_a(Resolver& resolver, std::string host, Answer<net::Address>& into) {
  into = co_await resolver.a(std::move(host));
}

net::Task<> look_up_aaaa(Resolver& resolver, std::string host, Answer<net::Address>& into) {
  into = co_await resolver.aaaa(std::move(host));
}

/// Looks up one host after another of those left. Several of these share `next`.
net::Task<> look_up_hosts(Resolver& resolver, net::Runtime& runtime, const std::vector<Mx>& hosts,
                          const LookUp& look_up, std::vector<HostAnswers>& answers, std::size_t& next) {
  while (next < hosts.size()) {
    std::size_t index = next++;
    net::Scope both(runtime, [](std::string_view) {});  // an exception leaves "timed out" behind
    if (look_up.ipv4) both.spawn(look_up_a(resolver, hosts[index].exchanger, answers[index].a));
    if (look_up.ipv6) both.spawn(look_up_aaaa(resolver, hosts[index].exchanger, answers[index].aaaa));
    co_await both.drained();
  }
}

/// The addresses of all hosts, in their order.
net::Task<std::vector<HostAnswers>> look_up_all(Resolver& resolver, net::Runtime& runtime, const std::vector<Mx>& hosts,
                                                const LookUp& look_up) {
  std::vector<HostAnswers> answers(hosts.size());
  std::size_t next = 0;
  net::Scope workers(runtime, [](std::string_view) {});
  for (std::size_t i = 0; i < std::min(kAtOnce, hosts.size()); ++i)
    workers.spawn(look_up_hosts(resolver, runtime, hosts, look_up, answers, next));
  co_await workers.drained();
  co_return answers;
}

/// Of one family: shuffled, since a cache hands out the same order until the TTL ends; without what is no address.
std::vector<net::Address> usable(const Answer<net::Address>& answer, std::uint16_t port, Chance& chance) {
  std::vector<net::Address> addresses;
  for (net::Address address : answer.records) {
    if (address.is_wildcard()) continue;  // connecting to 0.0.0.0 reaches this host
    address.port = port;
    if (std::ranges::find(addresses, address) == addresses.end()) addresses.push_back(address);
  }
  chance.shuffle(addresses.begin(), addresses.end());
  if (addresses.size() > kMaxAddresses) addresses.resize(kMaxAddresses);
  return addresses;
}

/// IPv6 first, then the families in turn, so that a family that leads nowhere costs one attempt and not all.
std::vector<net::Address> in_turn(const std::vector<net::Address>& ipv6, const std::vector<net::Address>& ipv4) {
  std::vector<net::Address> mixed;
  for (std::size_t i = 0; i < std::max(ipv6.size(), ipv4.size()); ++i) {
    if (i < ipv6.size()) mixed.push_back(ipv6[i]);
    if (i < ipv4.size()) mixed.push_back(ipv4[i]);
  }
  return mixed;
}

/// What is known of one host, and how the look-up of its addresses ended.
struct Found {
  Exchanger host;
  bool trouble = false;    ///< a look-up failed for now
  bool no_server = false;  ///< each look-up that failed for now did so because no server was heard
  bool no_domain = false;  ///< no look-up found the name
  net::TimePoint valid_until = net::TimePoint::max();
};

Found weigh(const Mx& mx, const HostAnswers& answers, const LookUp& look_up, Chance& chance) {
  Found found;
  found.host.preference = mx.preference;
  found.host.name = mx.exchanger;
  found.no_server = true;
  found.no_domain = true;
  std::vector<const Answer<net::Address>*> asked;
  if (look_up.ipv6) asked.push_back(&answers.aaaa);
  if (look_up.ipv4) asked.push_back(&answers.a);
  for (const Answer<net::Address>* answer : asked) {
    found.valid_until = std::min(found.valid_until, answer->valid_until);
    found.no_domain = found.no_domain && answer->status == Status::no_domain;
    if (!is_trouble(answer->status)) continue;
    found.trouble = true;
    found.no_server = found.no_server && answer->no_server;
    found.host.trouble = answer->detail.empty() ? "name server failure" : answer->detail;
  }
  found.host.addresses = in_turn(usable(answers.aaaa, look_up.port, chance), usable(answers.a, look_up.port, chance));
  if (found.host.addresses.empty() && !found.trouble)
    found.host.trouble = found.no_domain ? "no such host" : "no usable address";
  return found;
}

Exchangers ended(Exchangers::Status status, std::string enhanced, std::string reason) {
  Exchangers exchangers;
  exchangers.status = status;
  exchangers.enhanced = std::move(enhanced);
  exchangers.reason = std::move(reason);
  return exchangers;
}

Exchangers deferred(std::string enhanced, std::string reason) {
  return ended(Exchangers::Status::deferred, std::move(enhanced), std::move(reason));
}

Exchangers failed(std::string enhanced, std::string reason) {
  return ended(Exchangers::Status::failed, std::move(enhanced), std::move(reason));
}

/// "10 mx1.a.example:25, 20 mx2.a.example:25".
std::string site_of(const std::vector<Exchanger>& hosts, std::uint16_t port) {
  std::vector<std::pair<std::uint16_t, std::string>> keys;
  for (const Exchanger& host : hosts) keys.emplace_back(host.preference, host.name);
  std::ranges::sort(keys);
  std::string site;
  for (const auto& [preference, name] : keys) {
    if (!site.empty()) site += ", ";
    site += std::to_string(preference) + ' ' + name + ':' + std::to_string(port);
  }
  return site;
}

bool has_own_address(const Exchanger& host, const Self& self) {
  return std::ranges::any_of(host.addresses, [&](const net::Address& address) {
    return std::ranges::find(self.addresses, address) != self.addresses.end();
  });
}

/// Why there is nothing to connect to though `found` are known: trouble that passes, or no address at all.
Exchangers without_addresses(const std::string& domain, const MxPlan& plan, const LookUp& look_up,
                             const std::vector<Found>& found) {
  bool any_trouble = false;
  bool no_server = true;
  bool no_domain = true;
  std::string detail;
  for (const Found& host : found) {
    no_domain = no_domain && host.no_domain;
    if (!host.trouble) continue;
    any_trouble = true;
    no_server = no_server && host.no_server;
    if (detail.empty()) detail = host.host.name + ": " + host.host.trouble;
  }
  if (any_trouble) {
    Exchangers exchangers = deferred("4.4.3", "name service error for " + detail);
    exchangers.our_trouble = no_server;
    return exchangers;
  }
  bool both_families = look_up.ipv4 && look_up.ipv6;
  if (plan.implicit && both_families) {
    if (no_domain) return failed("5.1.2", "domain " + domain + " not found");
    // The name exists, with nothing that takes mail: permanent, and 5.4.4, as Postfix has it ("host found but no data
    // record of requested type").
    return failed("5.4.4", "domain " + domain + " has no MX, A or AAAA record");
  }
  Exchangers exchangers = deferred("4.4.4", plan.implicit ? "no usable address for " + domain
                                                          : "no mail exchanger of " + domain + " has a usable address");
  exchangers.no_usable_exchanger = true;
  return exchangers;
}

Exchangers loops_back(const std::string& domain) {
  return failed("5.4.6", "mail for " + domain + " loops back to myself");
}

/// The question for MX ended without any: no such domain, or trouble.
Exchangers without_mx(const std::string& domain, const Answer<Mx>& mx) {
  Exchangers exchangers;
  if (mx.status == Status::no_domain) {
    exchangers = failed("5.1.2", "domain " + domain + " not found");
  } else {
    exchangers = deferred("4.4.3", "name service error for " + domain + " type=MX: " + mx.detail);
    exchangers.our_trouble = mx.no_server;
  }
  exchangers.valid_until = mx.valid_until;
  return exchangers;
}

std::vector<Found> weigh_all(const MxPlan& plan, const std::vector<HostAnswers>& answers, const LookUp& look_up,
                             std::uint64_t seed) {
  Chance chance(seed);
  std::vector<Found> found;
  for (std::size_t i = 0; i < plan.hosts.size(); ++i)
    found.push_back(weigh(plan.hosts[i], answers[i], look_up, chance));
  return found;
}

net::TimePoint valid_until(const std::vector<Found>& found) {
  net::TimePoint earliest = net::TimePoint::max();
  for (const Found& host : found) earliest = std::min(earliest, host.valid_until);
  return earliest;
}

/// From the hosts of a plan, with what is known of each, to the list that is tried, or why there is none.
Exchangers decide(const std::string& domain, const MxPlan& plan, std::vector<Found> found, const LookUp& look_up,
                  const Self& self) {
  if (plan.null_mx) return failed("5.1.10", "domain " + domain + " does not accept mail (null MX)");

  // Before those without an address go: our name among them is ourselves all the same.
  std::vector<Exchanger> hosts;
  for (const Found& one : found) hosts.push_back(one.host);
  bool dropped = drop_self(hosts, self);
  if (dropped && hosts.empty()) return loops_back(domain);
  std::erase_if(found, [&](const Found& one) {
    return std::ranges::none_of(hosts, [&](const Exchanger& host) { return host.name == one.host.name; });
  });

  Exchangers exchangers;
  bool any_address = std::ranges::any_of(hosts, [](const Exchanger& host) { return !host.addresses.empty(); });
  if (any_address) {
    exchangers.status = Exchangers::Status::found;
  } else {
    exchangers = without_addresses(domain, plan, look_up, found);
  }
  exchangers.site = site_of(hosts, look_up.port);
  for (Exchanger& host : hosts) {
    std::vector<Exchanger>& list = host.addresses.empty() ? exchangers.unusable : exchangers.hosts;
    list.push_back(std::move(host));
  }
  for (const Mx& mx : plan.unusable) {
    Exchanger host;
    host.preference = mx.preference;
    host.name = mx.exchanger;
    host.trouble = "not a host name";
    exchangers.unusable.push_back(std::move(host));
  }
  return exchangers;
}

/// A destination that is an address, as text.
Exchangers at_literal(const std::string& text, net::TimePoint now, const LookUp& look_up, const Self& self) {
  std::optional<net::Address> address = parse_literal(text, look_up.port);
  Exchangers exchangers;
  if (!address) {
    exchangers = failed("5.1.3", text + " is not an IP address");
    exchangers.valid_until = now;
    return exchangers;
  }
  Exchanger host;
  host.name = '[' + address->host() + ']';
  host.addresses.push_back(*address);
  bool has_family = address->family == 4 ? look_up.ipv4 : look_up.ipv6;
  if (address->is_wildcard() || has_own_address(host, self)) {
    exchangers = loops_back(text);
  } else if (!has_family) {
    exchangers = deferred("4.4.4", text + " is of an address family that is not in use");
    exchangers.no_usable_exchanger = true;
  } else {
    exchangers.status = Exchangers::Status::found;
    exchangers.hosts.push_back(host);
  }
  exchangers.site = site_of(std::vector<Exchanger>(1, host), look_up.port);
  exchangers.valid_until = now + std::chrono::hours(24);
  return exchangers;
}

/// A next hop that cannot work is the administrator's to mend, and no reason to return mail to its senders.
Exchangers for_sender(Exchangers exchangers, const LookUp& look_up) {
  bool hopeless = exchangers.status == Exchangers::Status::failed || exchangers.no_usable_exchanger;
  if (!look_up.configured || !hopeless) return exchangers;
  exchangers.status = Exchangers::Status::deferred;
  exchangers.enhanced = "4.3.5";
  exchangers.reason = "next hop: " + exchangers.reason;
  exchangers.no_usable_exchanger = false;
  return exchangers;
}

}  // namespace

MxPlan plan_mx(const std::string& domain, const Answer<Mx>& answer, std::uint64_t chance, std::size_t max_exchangers) {
  MxPlan plan;
  if (answer.records.empty()) {
    plan.implicit = true;
    plan.hosts.push_back(Mx{0, canonical(domain)});
    return plan;
  }
  // A null MX stands alone (RFC 7505 §3); among others it is a mistake, and says nothing.
  plan.null_mx = std::ranges::all_of(answer.records, [](const Mx& mx) { return mx.exchanger.empty(); });
  if (plan.null_mx) return plan;

  std::vector<Mx> sorted;
  for (const Mx& mx : answer.records)
    if (!mx.exchanger.empty()) sorted.push_back(Mx{mx.preference, canonical(mx.exchanger)});
  std::ranges::sort(sorted, [](const Mx& left, const Mx& right) {
    return std::tie(left.preference, left.exchanger) < std::tie(right.preference, right.exchanger);
  });
  std::unordered_set<std::string_view> seen;  // views into `sorted`
  for (const Mx& mx : sorted) {
    if (!seen.insert(mx.exchanger).second) continue;
    bool host = fits_dns(mx.exchanger) && !is_address(mx.exchanger);
    if (!host) {
      plan.unusable.push_back(mx);
    } else if (plan.hosts.size() < max_exchangers) {
      plan.hosts.push_back(mx);
    }
  }
  if (plan.unusable.size() > max_exchangers) plan.unusable.resize(max_exchangers);

  // Cut by name before the shuffle: which hosts a domain has, and so its site, is no matter of chance.
  Chance shuffles(chance);
  for (auto first = plan.hosts.begin(); first != plan.hosts.end();) {
    auto last = std::find_if(first, plan.hosts.end(), [&](const Mx& mx) { return mx.preference != first->preference; });
    shuffles.shuffle(first, last);
    first = last;
  }
  return plan;
}

bool drop_self(std::vector<Exchanger>& hosts, const Self& self) {
  std::string name = canonical(self.hostname);
  std::optional<std::uint16_t> own;
  for (const Exchanger& host : hosts) {
    bool ours = (!name.empty() && canonical(host.name) == name) || has_own_address(host, self);
    if (ours && (!own || host.preference < *own)) own = host.preference;
  }
  if (!own) return false;
  // Equal preference too: two hosts that share one would hand mail to and fro (RFC 5321 §5.1, RFC 974).
  std::erase_if(hosts, [&](const Exchanger& host) { return host.preference >= *own; });
  return true;
}

net::Task<Exchangers> find_exchangers(Resolver& resolver, net::Runtime& runtime, std::string domain, LookUp look_up,
                                      const Self& self) {
  if (domain.starts_with('[')) co_return for_sender(at_literal(domain, runtime.now(), look_up, self), look_up);
  domain = canonical(domain);
  Answer<Mx> mx = co_await resolver.mx(domain);
  if (mx.status != Status::found && mx.status != Status::no_data) co_return for_sender(without_mx(domain, mx), look_up);

  MxPlan plan = plan_mx(domain, mx, runtime.random(), look_up.max_exchangers);
  std::vector<HostAnswers> answers = co_await look_up_all(resolver, runtime, plan.hosts, look_up);
  std::vector<Found> found = weigh_all(plan, answers, look_up, runtime.random());
  Exchangers exchangers = decide(domain, plan, found, look_up, self);
  exchangers.valid_until = std::min(mx.valid_until, valid_until(found));
  co_return for_sender(std::move(exchangers), look_up);
}

net::Task<Exchangers> find_host(Resolver& resolver, net::Runtime& runtime, std::string host, LookUp look_up,
                                const Self& self) {
  look_up.configured = true;
  if (is_address(host)) co_return for_sender(at_literal(host, runtime.now(), look_up, self), look_up);
  MxPlan plan;
  plan.implicit = true;
  plan.hosts.push_back(Mx{0, canonical(host)});
  std::vector<HostAnswers> answers = co_await look_up_all(resolver, runtime, plan.hosts, look_up);
  std::vector<Found> found = weigh_all(plan, answers, look_up, runtime.random());
  // An administrator may well name this host, for the server on another of its ports.
  Self addresses_alone;
  addresses_alone.addresses = self.addresses;
  Exchangers exchangers = decide(plan.hosts.front().exchanger, plan, found, look_up, addresses_alone);
  exchangers.valid_until = valid_until(found);
  co_return for_sender(std::move(exchangers), look_up);
}

}  // namespace waypost::resolver
