// delivery/host_memory.h: hosts at which something has failed lately, such as TLS. In memory alone: lost at a restart.
#pragma once
#include <cstddef>
#include <map>

#include "net/address.h"
#include "net/clock.h"

namespace waypost::delivery {

/// Bounded: of too many hosts those go first whose time ends first. One loop.
class HostMemory {
 public:
  static constexpr std::size_t kMost = 10'000;

  /// `kept`: after a host's first failure.
  explicit HostMemory(net::Duration kept) : kept_(kept) {}
  net::Duration kept() const { return kept_; }

  /// It has failed. Returns how often it has, as failures().
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
  net::Duration kept_;
  std::map<net::Address, Entry> hosts_;
};

}  // namespace waypost::delivery
