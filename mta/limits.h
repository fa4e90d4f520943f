// mta/limits.h: how many connections there may be, in all and from one client. Any thread.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "conf/config.h"
#include "mta/rates.h"
#include "net/address.h"

namespace waypost::mta {

/// Connections that `descriptors` allow in each direction when `reserved` of them are for the rest of the process: a
/// quarter each, since each connection may have a spool file open as well. Neither direction takes what the other
/// needs.
std::size_t connection_ceiling(std::size_t descriptors, std::size_t reserved);

/// Counts connections for all loops. It outlives its tokens.
class Limits {
 public:
  /// `ceiling`: what the process's descriptors allow, whatever the configuration says.
  explicit Limits(std::size_t ceiling = std::numeric_limits<std::size_t>::max()) : ceiling_(ceiling) {}
  Limits(const Limits&) = delete;
  Limits& operator=(const Limits&) = delete;

  /// A client as it is counted: one IPv4 address, or the /64 that one subscriber of IPv6 has.
  struct Key {
    std::uint64_t bits = 0;
    std::uint8_t family = 4;
    bool operator==(const Key&) const = default;
  };
  static Key key(const net::Address& client);

  /// A connection that counts. Gives its place back when it is destroyed, on any thread.
  class Token {
   public:
    Token(Limits& limits, Key client) : limits_(&limits), client_(client) {}
    Token(Token&& other) noexcept : limits_(std::exchange(other.limits_, nullptr)), client_(other.client_) {}
    Token& operator=(Token&&) = delete;
    ~Token() {
      if (limits_ != nullptr) limits_->release(client_);
    }
    /// The client turned out to be another. False: that one has `per_client` places already; this place stays as it
    /// was.
    bool move_to(const net::Address& client, std::size_t per_client);

   private:
    Limits* limits_;
    Key client_;
  };

  /// A place for one more connection, or nullopt: there are `in_all` (or the ceiling) already, or `per_client` of
  /// this client. The limits are arguments since a reload changes them; connections over a new limit live on.
  /// The last tenth is kept for those who are `ours`.
  std::optional<Token> acquire(const net::Address& client, std::size_t in_all, std::size_t per_client,
                               bool ours = true);
  /// Only that tenth is left, or less.
  bool kept_for_ours(std::size_t in_all) const;

  /// One more connection of the client, and more than `rate` has room for.
  bool too_often(const net::Address& client, const conf::Rate& rate, net::WallTime now);

  std::size_t connections() const { return connections_.load(std::memory_order_relaxed); }
  std::size_t connections_of(const net::Address& client) const;
  /// True when so many of `in_all` places are taken that idle ones have to be brief.
  bool crowded(std::size_t in_all) const;

 private:
  struct Hash {
    std::size_t operator()(const Key& key) const;
  };
  void release(Key client);
  bool move(Key from, Key to, std::size_t per_client);

  const std::size_t ceiling_;
  std::atomic<std::size_t> connections_{0};
  mutable std::mutex mutex_;  // two short sections a connection; loops would gain nothing from counts of their own
  std::unordered_map<Key, std::size_t, Hash> clients_;
  Rates rates_;
};

}  // namespace waypost::mta
