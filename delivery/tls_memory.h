// delivery/tls_memory.h: hosts whose TLS has failed lately, for opportunistic TLS. In memory alone: lost at a restart.
#pragma once
#include <cstddef>
#include <map>

#include "net/address.h"
#include "net/clock.h"

namespace waypost::delivery {

/// Bounded: of too many hosts those go first whose time ends first. One loop.
class TlsMemory {
 public:
  static constexpr net::Duration kKept = std::chrono::hours(72);  ///< after a host's first failure
  static constexpr std::size_t kMost = 10'000;

  /// A handshake that failed. Returns how many have, as failures().
  int failed(const net::Address& host, net::TimePoint now);
  void succeeded(const net::Address& host) { hosts_.erase(host); }
  int failures(const net::Address& host, net::TimePoint now) const;
  std::size_t size() const { return hosts_.size(); }

 private:
  struct Entry {
    int failures = 0;
    net::TimePoint until{};
  };
  void make_room(net::TimePoint now);
  std::map<net::Address, Entry> hosts_;
};

}  // namespace waypost::delivery
