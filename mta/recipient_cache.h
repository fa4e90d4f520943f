// mta/recipient_cache.h: what next hops said of addresses, for a while, within a bound. All loops.
#pragma once
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "net/clock.h"

namespace waypost::mta {

class RecipientCache {
 public:
  static constexpr net::Duration kKnown = std::chrono::hours(24);      ///< nobody is asked again
  static constexpr net::Duration kKept = 7 * std::chrono::hours(24);   ///< it still counts where nobody can be asked
  static constexpr net::Duration kUnknown = std::chrono::minutes(10);  ///< who is new somewhere gets mail soon
  static constexpr std::size_t kMostKnown = 50'000;    ///< then the oldest answers go; an entry is 500 octets at most
  static constexpr std::size_t kMostUnknown = 10'000;  ///< apart, so that who guesses names drives out no known one

  enum class State : std::uint8_t {
    nothing,
    known,
    was_known,  ///< for longer than kKnown: to be asked anew
    unknown,
  };
  State find(const std::string& key, net::TimePoint now) const;
  /// Takes the place of what was known of the key.
  void put(const std::string& key, bool known, net::TimePoint now);
  std::size_t size() const;

 private:
  struct Entry {
    std::string key;
    net::TimePoint since;
  };
  /// By age, the oldest first: all of one kind are kept for as long.
  struct Half {
    std::list<Entry> by_age;
    std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key;  // of the list's own strings
    const Entry* find(const std::string& key) const;
    void remove(const std::string& key);
    void add(const std::string& key, net::TimePoint now);
    void trim(std::size_t most, net::TimePoint oldest);
  };
  mutable std::mutex guard_;  // one answer serves the sessions of all loops; held for a look-up
  Half known_, unknown_;
};

}  // namespace waypost::mta
