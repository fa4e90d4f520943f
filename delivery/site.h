// delivery/site.h: destinations that share a next hop: its hosts, how many connections it gets, whose turn it is. Pure.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "conf/config.h"
#include "delivery/connection.h"
#include "delivery/pace.h"
#include "net/clock.h"
#include "resolver/exchangers.h"

namespace waypost::delivery {

/// What is done with the mail of a site.
struct Plan {
  enum class Kind : std::uint8_t { relay, maildir, fail, discard };
  Kind kind = Kind::relay;
  struct Hop {
    std::vector<resolver::Exchanger> hosts;
    Protocol protocol = Protocol::smtp;
    int weight = 1;
  };
  std::vector<Hop> hops;              ///< relay: the next hops, in order
  bool weighted = false;              ///< not in order: by chance, as often as their weights say; 0: after the others
  std::string text;                   ///< maildir: the template; fail: the reason
  std::string status;                 ///< fail: "5.1.2"
  std::string key;                    ///< equal for destinations whose plans are the same
  std::vector<net::Address> sources;  ///< relay: to connect from, of families that its hosts have; none: any
};

/// A host of a next hop, by one of its addresses.
Peer peer_at(const Plan::Hop& hop, const resolver::Exchanger& host, const net::Address& address, const TlsTerms& tls);

/// The first of the limits for sites that is for this one, or nullptr.
const conf::OutLimit* limit_of_site(const conf::Config& config, const Plan& plan);
/// The same for a domain.
const conf::OutLimit* limit_of_domain(const conf::Config& config, const std::string& domain);

/// Mutable state of one plan while there is mail for it. One loop.
class Site {
 public:
  Site(Plan plan, int most) : plan_(std::move(plan)), most_(most), limit_(most < kFirst ? most : kFirst) {}

  const Plan& plan() const { return plan_; }
  /// A newer look-up of the same hosts: addresses may have changed.
  void update(Plan plan, int most);

  /// Concurrency: grows by one with each success up to the configured limit; halves when a host fails; 1 after all
  /// failed.
  int limit() const { return limit_; }
  void succeeded();
  void host_failed();
  void all_failed() { limit_ = 1; }

  /// Hosts in the order to try them: next hops as the plan has them, exchangers by preference, shuffled within one
  /// preference as `chance` says, and those that failed or were overtaken lately after the others. `tls`: what a
  /// destination wants of
  /// each next hop; none of those beyond it.
  std::vector<Peer> candidates(net::TimePoint now, std::uint64_t chance, const std::vector<TlsTerms>& tls) const;
  /// Of `candidates` the first that `may` and that is as good as `peer` by the other address family: of the same
  /// exchanger, else of one of the same preference; one that comes last only where `peer` does too, since it may be
  /// fast and take no mail. nullptr: none, as always by LMTP and for local sockets.
  const Peer* rival(const Peer& peer, const std::vector<Peer>& candidates, net::TimePoint now,
                    const std::function<bool(const Peer&)>& may) const;

  /// The address comes last for kAvoidFirst; with each further time for twice as long, up to kAvoidLongest. A failure
  /// while it comes last is no further time: those that were begun together count once. kAvoidLongest after that time
  /// it counts as the first again.
  void failed(const net::Address& address, net::TimePoint now);
  /// The other family was through before it: it comes last for kAvoidLongest.
  void overtaken(const net::Address& address, net::TimePoint now);
  /// All of that is forgotten.
  void worked(const net::Address& address) { avoided_.erase(address); }
  static constexpr net::Duration kAvoidFirst = std::chrono::seconds(60);
  static constexpr net::Duration kAvoidLongest = std::chrono::minutes(10);
  void avoid_family(std::uint8_t family, net::TimePoint until);
  bool avoids_family(std::uint8_t family, net::TimePoint now) const;
  /// True if the host with the one address is to have mail before the one with the other.
  bool is_preferred(const net::Address& one, const net::Address& other) const;
  /// True if no other host is more preferred than the one with this address.
  bool is_most_preferred(const net::Address& address) const;

  /// Destinations with mail that waits, in turn.
  void add_turn(const std::string& destination);
  std::optional<std::string> next_turn();  ///< at the front; it goes out of the line
  bool has_turns() const { return !turns_.empty(); }
  net::TimePoint next_message(net::TimePoint now) const { return std::max(pace.next(now), slow.next(now)); }
  /// A message is taken.
  void took(net::TimePoint now);
  /// Hosts that come last, or did lately, or when the next message is allowed.
  bool remembers(net::TimePoint now) const;
  int last_minute(net::TimePoint now) const;  ///< messages that were taken, about
  Pace pace;                                  ///< of the configuration
  Pace slow;                                  ///< while it gets less than others (delivery/slow.h)
  bool timed = false;                         ///< somebody will come when the next message is allowed

  std::uint64_t number = 0;  ///< of its dispatcher's sites, in the order in which they came
  int workers = 0;           ///< coroutines that work for this site
  int coming = 0;            ///< of these, those that were begun or woken and have not looked for mail yet
  int busy = 0;              ///< of these, those that are with a message
  int leaving = 0;           ///< of these, those that take no mail any more
  bool starved = false;      ///< in the line of those that wait for one of the connections in all

 private:
  /// The next hop with this address, and its host's preference.
  std::pair<std::size_t, int> place_of(const net::Address& address) const;

  static constexpr int kFirst = 5;
  Plan plan_;
  int most_;
  int limit_;
  struct Avoided {
    net::TimePoint until;
    net::Duration time;  ///< how long it was the last time
  };
  Avoided& avoided(const net::Address& address, net::TimePoint now);
  bool comes_last(const net::Address& address, net::TimePoint now) const;
  std::map<net::Address, Avoided> avoided_;
  std::map<std::uint8_t, net::TimePoint> avoided_families_;
  net::TimePoint minute_{};  ///< when the counting of `taken_` began
  int taken_ = 0, taken_before_ = 0;
  std::deque<std::string> turns_;
  std::unordered_set<std::string> in_line_;  ///< those in turns_
};

}  // namespace waypost::delivery
