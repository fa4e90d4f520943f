#include "delivery/sources.h"

#include <algorithm>
#include <set>
#include <utility>

namespace waypost::delivery {

void Sources::configure(const conf::Config& config) {
  std::set<net::Address> named;
  for (const conf::OutLimit& limit : config.delivery.limits) {
    for (const std::string& text : limit.sources) {
      const std::optional<net::Address> source = net::Address::parse(text, 0);
      if (!source || !named.insert(*source).second) continue;  // the first block that names it counts
      Use& use = limited_[*source];
      use.pace.set(limit.rate);
      use.most = limit.connections;
    }
  }
  std::erase_if(limited_, [&named](const auto& entry) { return !named.contains(entry.first); });
}

const Sources::Use* Sources::find(const net::Address& source) const {
  const auto found = limited_.find(source);
  return found == limited_.end() ? nullptr : &found->second;
}

bool Sources::limits(const std::vector<net::Address>& pool) const {
  return std::any_of(pool.begin(), pool.end(), [this](const net::Address& source) { return find(source) != nullptr; });
}

bool Sources::has_failed(const net::Address& source, net::TimePoint now) const {
  const auto found = failed_.find(source);
  return found != failed_.end() && found->second > now;
}

net::TimePoint Sources::next_kept(const net::Address& source, net::TimePoint now) const {
  const Use* use = find(source);
  return use == nullptr ? now : use->pace.next(now);
}

net::TimePoint Sources::next_new(const net::Address& source, net::TimePoint now) const {
  const Use* use = find(source);
  const bool is_full = use != nullptr && use->most && *use->connections >= *use->most;
  return is_full ? std::max(use->pace.next(now), now + kAskAgain) : next_kept(source, now);
}

net::TimePoint Sources::next(const std::vector<net::Address>& pool, net::TimePoint now) const {
  if (!limits(pool)) return now;
  net::TimePoint first = net::TimePoint::max();
  for (const net::Address& source : pool) first = std::min(first, next_new(source, now));
  return first;
}

std::optional<net::Address> Sources::choose(const std::vector<net::Address>& pool, std::uint8_t family,
                                            std::uint64_t chance, net::TimePoint now) const {
  std::vector<net::Address> fit;
  for (const net::Address& source : pool)
    if (family == 0 || source.family == family) fit.push_back(source);
  if (fit.empty()) return std::nullopt;
  std::rotate(fit.begin(), fit.begin() + static_cast<std::ptrdiff_t>(chance % fit.size()), fit.end());
  return *std::min_element(fit.begin(), fit.end(), [&](const net::Address& a, const net::Address& b) {
    return std::pair(has_failed(a, now), next_new(a, now)) < std::pair(has_failed(b, now), next_new(b, now));
  });
}

std::shared_ptr<const void> Sources::hold(const net::Address& source) {
  const auto found = limited_.find(source);
  if (found == limited_.end()) return nullptr;
  std::shared_ptr<int> connections = found->second.connections;
  ++*connections;
  return std::shared_ptr<const void>(static_cast<const void*>(connections.get()),
                                     [connections](const void*) { --*connections; });
}

void Sources::take(const net::Address& source, net::TimePoint now) {
  const auto found = limited_.find(source);
  if (found != limited_.end()) found->second.pace.take(now);
}

}  // namespace waypost::delivery
