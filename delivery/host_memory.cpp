#include "delivery/host_memory.h"

#include <algorithm>

namespace waypost::delivery {

int HostMemory::failed(const net::Address& host, net::TimePoint now) {
  if (hosts_.size() >= kMost && !hosts_.contains(host)) make_room(now);
  Entry& entry = hosts_[host];
  // The end stays where it was: a host is not kept in clear for ever by what fails now and then.
  if (entry.failures == 0 || entry.until <= now) entry = Entry{0, now + kept_};
  return ++entry.failures;
}

int HostMemory::failures(const net::Address& host, net::TimePoint now) const {
  const auto found = hosts_.find(host);
  return found == hosts_.end() || found->second.until <= now ? 0 : found->second.failures;
}

void HostMemory::make_room(net::TimePoint now) {
  std::erase_if(hosts_, [now](const auto& each) { return each.second.until <= now; });
  if (hosts_.size() < kMost) return;
  hosts_.erase(std::min_element(hosts_.begin(), hosts_.end(), [](const auto& left, const auto& right) {
    return left.second.until < right.second.until;
  }));
}

}  // namespace waypost::delivery
