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

  /// True if one of `pool` has a limit.
  bool limits(const std::vector<net::Address>& pool) const;
  /// When a message may leave by a new connection from one of `pool`: `now`, or later; where all have as many
  /// connections as they may, it is to be asked again then.
  net::TimePoint next(const std::vector<net::Address>& pool, net::TimePoint now) const;
  /// By a connection that is there already.
  net::TimePoint next_kept(const net::Address& source, net::TimePoint now) const;

  /// For a new connection: of those in `pool` that may, the one that `chance` says; if none may, the one that may
  /// first. An address that failed lately comes after the others. nullopt: there is none; or none of `family`, where
  /// that is not 0.
  std::optional<net::Address> choose(const std::vector<net::Address>& pool, std::uint8_t family, std::uint64_t chance,
                                     net::TimePoint now) const;
  /// It could not be connected from: is this machine's no more.
  void failed(const net::Address& source, net::TimePoint now) { failed_[source] = now + kAvoid; }
  bool has_failed(const net::Address& source, net::TimePoint now) const;
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
  static constexpr net::Duration kAvoid = std::chrono::minutes(1);

  const Use* find(const net::Address& source) const;
  net::TimePoint next_new(const net::Address& source, net::TimePoint now) const;

  std::map<net::Address, Use> limited_;
  std::map<net::Address, net::TimePoint> failed_;
};

}  // namespace waypost::delivery
