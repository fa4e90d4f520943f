// delivery/sources.h: local addresses that mail leaves from, and what `[[delivery.limits]]` allow each. One loop.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "conf/config.h"
#include "delivery/pace.h"
#include "net/address.h"
#include "net/clock.h"

namespace waypost::delivery {

class Sources {
 public:
  /// What is counted goes on, by the new limits.
  void configure(const conf::Config& config);

  /// any: there is a connection that may be used, from whichever.
  enum class Kept : std::uint8_t { none, any };
  /// When a message may leave from one of `pool`: `now`, or later; where all have as many connections as they may, it
  /// is to be asked again then.
  net::TimePoint next(const std::vector<net::Address>& pool, Kept kept, net::TimePoint now) const;
  /// From this one, by a connection that is there.
  net::TimePoint next(const net::Address& source, net::TimePoint now) const;

  /// For a connection to a host of this family: of those in `pool` that may, the one that `chance` says; if none may,
  /// the one that may first. nullopt: none in the pool is of the family.
  std::optional<net::Address> choose(const std::vector<net::Address>& pool, std::uint8_t family, std::uint64_t chance,
                                     net::TimePoint now) const;
  /// A connection from there counts as long as what is returned is held.
  std::shared_ptr<const void> hold(const net::Address& source);
  /// A message leaves.
  void take(const net::Address& source, net::TimePoint now);

 private:
  struct Use {
    Pace pace;
    std::optional<int> most;  ///< connections
    std::shared_ptr<int> connections = std::make_shared<int>(0);
  };
  static constexpr net::Duration kAskAgain = std::chrono::milliseconds(500);

  const Use* find(const net::Address& source) const;
  net::TimePoint next(const net::Address& source, bool is_kept, net::TimePoint now) const;

  std::map<net::Address, Use> limited_;
};

}  // namespace waypost::delivery
