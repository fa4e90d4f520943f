#include "delivery/site.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

namespace waypost::delivery {
namespace {

constexpr net::Duration kMinute = std::chrono::minutes(1);

/// By weight each has the first place as often as the others' weights leave it; so have those behind it.
std::vector<std::size_t> order_of_hops(const Plan& plan, std::minstd_rand& random) {
  std::vector<std::size_t> order(plan.hops.size());
  std::iota(order.begin(), order.end(), 0);
  if (!plan.weighted) return order;
  std::vector<double> place(order.size());
  for (const std::size_t at : order) {
    std::exponential_distribution<double> wait(std::max(plan.hops[at].weight, 1));
    place[at] = wait(random);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const bool last_a = plan.hops[a].weight == 0;
    const bool last_b = plan.hops[b].weight == 0;
    return last_a != last_b ? last_b : !last_a && place[a] < place[b];
  });
  return order;
}

}  // namespace

const conf::OutLimit* limit_of_site(const conf::Config& config, const Plan& plan) {
  const auto has = [&plan](const std::string& pattern) {
    return std::any_of(plan.hops.begin(), plan.hops.end(), [&pattern](const Plan::Hop& hop) {
      return std::any_of(hop.hosts.begin(), hop.hosts.end(), [&pattern](const resolver::Exchanger& host) {
        if (conf::matches(pattern, host.name)) return true;
        return std::any_of(host.addresses.begin(), host.addresses.end(),
                           [&pattern](const net::Address& address) { return address.host() == pattern; });
      });
    });
  };
  for (const conf::OutLimit& limit : config.delivery.limits)
    if (std::any_of(limit.sites.begin(), limit.sites.end(), has)) return &limit;
  return nullptr;
}

const conf::OutLimit* limit_of_domain(const conf::Config& config, const std::string& domain) {
  for (const conf::OutLimit& limit : config.delivery.limits)
    if (std::any_of(limit.domains.begin(), limit.domains.end(),
                    [&domain](const std::string& pattern) { return conf::matches(pattern, domain); }))
      return &limit;
  return nullptr;
}

void Site::update(Plan plan, int most) {
  plan_ = std::move(plan);
  most_ = most;
  limit_ = std::min(limit_, most_);
}

void Site::succeeded() {
  limit_ = std::min(limit_ + 1, most_);
}

void Site::host_failed() {
  limit_ = std::max(limit_ / 2, 1);
}

Peer peer_at(const Plan::Hop& hop, const resolver::Exchanger& host, const net::Address& address, const TlsTerms& tls) {
  // A host that was given as a literal is called by its address: `192.0.2.1[192.0.2.1]:25`.
  const std::string name = host.name.starts_with("[") ? address.host() : host.name;
  return Peer{name, address, hop.protocol, tls};
}

std::vector<Peer> Site::candidates(net::TimePoint now, std::uint64_t chance, const std::vector<TlsTerms>& tls) const {
  std::minstd_rand random(static_cast<std::uint32_t>(chance ^ (chance >> 32)));
  std::vector<Peer> good;
  std::vector<Peer> avoided;
  for (const std::size_t at : order_of_hops(plan_, random)) {
    if (at >= tls.size()) continue;
    const Plan::Hop& next_hop = plan_.hops[at];
    std::vector<resolver::Exchanger> hosts = next_hop.hosts;
    for (auto from = hosts.begin(); from != hosts.end();) {
      const auto to = std::find_if(
          from, hosts.end(), [&](const resolver::Exchanger& host) { return host.preference != from->preference; });
      std::shuffle(from, to, random);
      from = to;
    }
    for (const resolver::Exchanger& host : hosts) {
      for (const net::Address& address : host.addresses)
        (comes_last(address, now) ? avoided : good).push_back(peer_at(next_hop, host, address, tls[at]));
    }
  }
  good.insert(good.end(), avoided.begin(), avoided.end());
  return good;
}

bool Site::comes_last(const net::Address& address, net::TimePoint now) const {
  const auto entry = avoided_.find(address);
  const bool failed = entry != avoided_.end() && entry->second.until > now;
  return failed || avoids_family(address.family, now);
}

const Peer* Site::rival(const Peer& peer, const std::vector<Peer>& candidates, net::TimePoint now,
                        const std::function<bool(const Peer&)>& may) const {
  if (peer.protocol != Protocol::smtp || peer.address.is_local()) return nullptr;
  const auto has = [](const resolver::Exchanger& host, const net::Address& address) {
    return std::find(host.addresses.begin(), host.addresses.end(), address) != host.addresses.end();
  };
  const Peer* of_equal = nullptr;
  for (const Plan::Hop& hop : plan_.hops) {
    const auto own = std::find_if(hop.hosts.begin(), hop.hosts.end(),
                                  [&](const resolver::Exchanger& host) { return has(host, peer.address); });
    if (own == hop.hosts.end()) continue;
    for (const Peer& each : candidates) {
      const bool other_family = each.address.family != peer.address.family && !each.address.is_local();
      if (!other_family || each.tls != peer.tls || !may(each)) continue;
      if (comes_last(each.address, now) && !comes_last(peer.address, now)) continue;
      if (has(*own, each.address)) return &each;
      const bool equal = std::any_of(hop.hosts.begin(), hop.hosts.end(), [&](const resolver::Exchanger& host) {
        return host.preference == own->preference && has(host, each.address);
      });
      if (equal && of_equal == nullptr) of_equal = &each;
    }
    break;
  }
  return of_equal;
}

void Site::took(net::TimePoint now) {
  pace.take(now);
  slow.take(now);
  const net::Duration passed = now - minute_;
  if (passed >= kMinute) {
    taken_before_ = passed < 2 * kMinute ? taken_ : 0;
    taken_ = 0;
    minute_ = now;
  }
  ++taken_;
}

bool Site::remembers(net::TimePoint now) const {
  return next_message(now) > now ||
         std::any_of(avoided_.begin(), avoided_.end(),
                     [now](const auto& entry) { return entry.second.until + kAvoidLongest > now; }) ||
         std::any_of(avoided_families_.begin(), avoided_families_.end(),
                     [now](const auto& entry) { return entry.second > now; });
}

int Site::last_minute(net::TimePoint now) const {
  return now - minute_ < 2 * kMinute ? std::max(taken_, taken_before_) : 0;
}

void Site::avoid_family(std::uint8_t family, net::TimePoint until) {
  avoided_families_[family] = until;
}

bool Site::avoids_family(std::uint8_t family, net::TimePoint now) const {
  const auto found = avoided_families_.find(family);
  return found != avoided_families_.end() && found->second > now;
}

void Site::failed(const net::Address& address, net::TimePoint now) {
  Avoided& entry = avoided(address, now);
  if (entry.until <= now) entry.time = std::clamp(2 * entry.time, kAvoidFirst, kAvoidLongest);
  entry.until = now + entry.time;
}

void Site::overtaken(const net::Address& address, net::TimePoint now) {
  avoided(address, now) = {now + kAvoidLongest, kAvoidLongest};
}

/// What is known of it. What was over long ago is forgotten, of all.
Site::Avoided& Site::avoided(const net::Address& address, net::TimePoint now) {
  std::erase_if(avoided_, [now](const auto& entry) { return entry.second.until + kAvoidLongest <= now; });
  return avoided_.try_emplace(address, Avoided{now, net::Duration(0)}).first->second;
}

std::pair<std::size_t, int> Site::place_of(const net::Address& address) const {
  for (std::size_t at = 0; at < plan_.hops.size(); ++at)
    for (const resolver::Exchanger& host : plan_.hops[at].hosts)
      if (std::find(host.addresses.begin(), host.addresses.end(), address) != host.addresses.end())
        return {at, host.preference};
  return {plan_.hops.size(), 0};
}

bool Site::is_preferred(const net::Address& one, const net::Address& other) const {
  return place_of(one) < place_of(other);
}

bool Site::is_most_preferred(const net::Address& address) const {
  if (plan_.hops.empty() || plan_.hops.front().hosts.empty()) return false;
  return place_of(address) == std::pair<std::size_t, int>{0, plan_.hops.front().hosts.front().preference};
}

void Site::add_turn(const std::string& destination) {
  if (in_line_.insert(destination).second) turns_.push_back(destination);
}

std::optional<std::string> Site::next_turn() {
  if (turns_.empty()) return std::nullopt;
  std::string destination = std::move(turns_.front());
  turns_.pop_front();
  in_line_.erase(destination);
  return destination;
}

}  // namespace waypost::delivery
