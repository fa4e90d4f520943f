// mta/login_guard.h: how long an attempt to log in has to wait, so that guessing is slow and no user is locked out.
// Pure: time is given. One thread.
#pragma once
#include <chrono>
#include <cstddef>
#include <list>
#include <string>
#include <unordered_map>

#include "net/address.h"
#include "net/clock.h"

namespace waypost::mta {

/// Remembers failures of accounts and of client networks, and from where users logged in. Memory is bounded: what was
/// not touched for longest is forgotten first.
///
/// An attempt counts as a failure from its beginning until succeeded() takes it back, so that of many at once each
/// waits as the last of as many would; how many there can be at once is limits.connections_per_client. It waits longer
/// the more failures its account or its network has; they halve every kHalfLife. Where a user logged in from lately,
/// what others do to the account or from the same network does not count, only what was tried there on this account:
/// nobody outside can keep a user out.
class LoginGuard {
 public:
  static constexpr std::size_t kMostKept = 16'384;  ///< accounts, networks, and places of users: so many of each
  static constexpr net::Duration kHalfLife = std::chrono::minutes(5);
  static constexpr net::Duration kFirstDelay = std::chrono::seconds(1);
  static constexpr net::Duration kLongestDelay = std::chrono::seconds(30);
  static constexpr net::Duration kKnownFor = std::chrono::hours(30 * 24);
  static constexpr double kFreeOfAccount = 2;   ///< failures: mistyped passwords, which cost nothing
  static constexpr double kFreeOfNetwork = 10;  ///< likewise: several users may share one

  explicit LoginGuard(std::size_t most_kept = kMostKept) : most_kept_(most_kept) {}

  /// `10.1.2.0/24` of IPv4, the /64 of IPv6: what one attacker has many of.
  static std::string network(const net::Address& client);

  /// An attempt begins. How long it has to wait before its password is looked at.
  net::Duration begin(const std::string& account, const std::string& network, net::TimePoint now);
  void succeeded(const std::string& account, const std::string& network, net::TimePoint now);
  /// Nobody looked at the password: the attempt is taken back.
  void put_off(const std::string& account, const std::string& network, net::TimePoint now);

  std::size_t kept() const { return accounts_.map.size() + networks_.map.size() + places_.map.size(); }

 private:
  struct Record {
    double failures = 0;
    net::TimePoint at{};  ///< when `failures` was that
    net::TimePoint logged_in{};
    std::list<std::string>::iterator place;
  };
  struct Table {
    std::unordered_map<std::string, Record> map;
    std::list<std::string> order;  ///< the one touched last in front
  };
  Record& touch(Table& table, const std::string& key, net::TimePoint now) const;
  void take_back(const std::string& account, const std::string& network, net::TimePoint now);
  Record* find_place(const std::string& key, net::TimePoint now);

  const std::size_t most_kept_;
  Table accounts_, networks_, places_;
};

}  // namespace waypost::mta
