// queue/id.h: the name of a message: time-ordered, never used again. Pure but for IdSource.
#pragma once
#include <atomic>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/clock.h"

namespace waypost::queue {

/// 60 bits: milliseconds since 1970 in the upper 42, a count in the lower 18.
struct Id {
  static constexpr std::uint64_t kMax = (std::uint64_t{1} << 60) - 1;
  std::uint64_t value = 0;
  /// Twelve characters of Crockford's base 32, which sort as the ids do: `01JD8Q2M3XK7`.
  std::string text() const;
  /// Any case; nullopt if it is none.
  static std::optional<Id> parse(std::string_view text);
  auto operator<=>(const Id&) const = default;
};

/// Hands out ids on any thread. Each is larger than all before, whatever the clock does.
class IdSource {
 public:
  /// Continues after `last`, the largest that may ever have been handed out (the store keeps it).
  void start_after(Id last) { last_.store(last.value); }
  Id next(net::WallTime now);
  Id last() const { return Id{last_.load()}; }

 private:
  std::atomic<std::uint64_t> last_{0};
};

}  // namespace waypost::queue
