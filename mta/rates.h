// mta/rates.h: what clients have sent of late, held against the rates of their class. Any thread.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "conf/config.h"
#include "net/clock.h"

namespace waypost::mta {

/// Time is cut into periods, by the wall clock. What counts is this period's number and, of the one before, the part
/// that a period of the same length ending now would still have: no instant frees everything, and no list is kept.
class Rates {
 public:
  enum class Kind : std::uint8_t { messages, recipients };
  /// Who is counted: a class, and a client of it ("": all of them together).
  struct Key {
    std::string client_class, client;
    auto operator<=>(const Key&) const = default;
  };
  struct Row {
    Key key;
    Kind kind = Kind::messages;
    std::uint64_t used = 0;
    conf::Rate rate;
  };
  /// More are forgotten: first those that say nothing, then others of the class that has one more.
  static constexpr std::size_t kMostCounts = 100'000;

  /// One more, at a number that give_back() wants; or, where the rate has no room, how long until it has.
  struct Taken {
    std::optional<std::chrono::seconds> wait;
    std::int64_t period = 0;
  };
  Taken take(const Key& key, Kind kind, const conf::Rate& rate, net::WallTime now);
  void give_back(const Key& key, Kind kind, std::int64_t period, std::uint64_t number);

  /// Those that count still, by class and client.
  std::vector<Row> rows(net::WallTime now) const;

  /// All of it as text, for the next start; nullopt if nothing changed since the last call.
  std::optional<std::string> changed_text();
  void mark_changed();  ///< what changed_text() said was not kept
  /// What changed_text() said. Lines that are none are passed over.
  void restore(std::string_view text);

 private:
  struct Count {
    std::uint64_t current = 0, previous = 0;
    std::int64_t period = 0;  ///< the number of the current one since 1970
    conf::Rate rate;
  };
  using Place = std::pair<Key, Kind>;
  static void move_on(Count& count, std::int64_t period);
  static std::uint64_t used(const Count& count, std::chrono::seconds elapsed);
  static std::chrono::seconds wait(const Count& count, std::chrono::seconds elapsed);
  void make_room(const Key& key, std::chrono::seconds now);

  mutable std::mutex guard_;  // short sections, one a message or recipient of a class that has a rate
  std::map<Place, Count> counts_;
  bool changed_ = false;
};

/// What one transaction took. Gives it back unless it is kept.
class RateHold {
 public:
  RateHold(Rates& rates, Rates::Key key) : rates_(&rates), key_(std::move(key)) {}
  RateHold(RateHold&& other) noexcept;
  RateHold& operator=(RateHold&&) = delete;
  ~RateHold();

  /// As Rates::take(): how long to wait, or nullopt.
  std::optional<std::chrono::seconds> take(Rates::Kind kind, const conf::Rate& rate, net::WallTime now);
  void keep() { taken_.clear(); }

 private:
  Rates* rates_;
  Rates::Key key_;
  std::map<std::pair<Rates::Kind, std::int64_t>, std::uint64_t> taken_;
};

}  // namespace waypost::mta
