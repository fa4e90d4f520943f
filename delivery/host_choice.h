// delivery/host_choice.h: which host of a site is asked next in one attempt, and by which address. Pure.
#pragma once
#include <cstddef>
#include <optional>
#include <set>
#include <vector>

#include "delivery/connect_either.h"
#include "delivery/connection.h"
#include "delivery/site.h"
#include "net/address.h"
#include "net/clock.h"

namespace waypost::delivery {

/// At most kMaxAddresses are asked, and a transaction is begun with at most kMaxSessions (PROTOCOL, "order of
/// addresses"). An address that was overtaken by one of the other family may do well, though slowly: it is asked once
/// more after all others.
class HostChoice {
 public:
  static constexpr std::size_t kMaxAddresses = 5;
  static constexpr int kMaxSessions = 2;

  /// `candidates`: as Site::candidates() has them. `alone`: as Peer::text(), a host that is asked without a rival.
  HostChoice(const Site& site, std::vector<Peer> candidates, std::string alone)
      : site_(site), candidates_(std::move(candidates)), alone_(std::move(alone)) {}

  const std::vector<Peer>& candidates() const { return candidates_; }

  struct Next {
    Peer peer;
    std::optional<Peer> rival;  ///< as connect_either() takes it
  };
  /// nullopt: nobody is left. A family by which a host wants no mail is asked only where there is no other.
  std::optional<Next> next(net::TimePoint now) const;

  /// `used` was asked, and there was `other`, if so, whose way ended thus.
  void asked(const net::Address& used, const std::optional<Peer>& other, WayEnd end);
  void began_session() { ++sessions_; }
  /// It may do better now: it is asked again after all others.
  void once_more(const net::Address& address) { once_more_.insert(address); }
  /// What was said of it says nothing: it may be asked again.
  void forget(const net::Address& address) { tried_.erase(address); }
  /// It is ourselves: only those that are to have mail before us are left (RFC 5321 §5.1).
  void met_ourselves(const net::Address& address) { ourselves_ = address; }

 private:
  bool is_before_us(const Peer& peer) const;

  const Site& site_;
  const std::vector<Peer> candidates_;
  const std::string alone_;
  std::set<net::Address> tried_;
  std::set<net::Address> once_more_;  ///< of these
  std::optional<net::Address> ourselves_;
  int sessions_ = 0;
};

}  // namespace waypost::delivery
