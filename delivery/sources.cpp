#include "delivery/sources.h"

#include <algorithm>
#include <set>

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

net::TimePoint Sources::next(const net::Address& source, bool is_kept, net::TimePoint now) const {
  const Use* use = find(source);
  if (use == nullptr) return now;
  if (!is_kept && use->most && *use->connections >= *use->most) return std::max(use->pace.next(now), now + kAskAgain);
  return use->pace.next(now);
}

net::TimePoint Sources::next(const net::Address& source, net::TimePoint now) const {
  return next(source, true, now);
}

net::TimePoint Sources::next(const std::vector<net::Address>& pool, Kept kept, net::TimePoint now) const {
  if (pool.empty() || limited_.empty()) return now;
  net::TimePoint first = net::TimePoint::max();
  for (const net::Address& source : pool) first = std::min(first, next(source, kept == Kept::any, now));
  return first;
}

std::optional<net::Address> Sources::choose(const std::vector<net::Address>& pool, std::uint8_t family,
                                            std::uint64_t chance, net::TimePoint now) const {
  std::vector<net::Address> of_family;
  for (const net::Address& source : pool)
    if (source.family == family) of_family.push_back(source);
  if (of_family.empty()) return std::nullopt;
  std::rotate(of_family.begin(), of_family.begin() + static_cast<std::ptrdiff_t>(chance % of_family.size()),
              of_family.end());
  return *std::min_element(of_family.begin(), of_family.end(), [&](const net::Address& a, const net::Address& b) {
    return next(a, false, now) < next(b, false, now);
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
