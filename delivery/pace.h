// delivery/pace.h: so many in such a time, evenly spaced. Pure.
#pragma once
#include <cstdint>
#include <optional>

#include "conf/config.h"
#include "net/clock.h"

namespace waypost::delivery {

/// The generic cell rate algorithm: one for each share of the period. What was not used is not made up for, but for
/// the blur of a timer, so that no burst follows a pause.
class Pace {
 public:
  /// nullopt: any number. What was taken last counts on, by the new rate.
  void set(const std::optional<conf::Rate>& rate);
  void set(net::Duration spacing);  ///< 0: any number
  bool is_bounded() const { return spacing_ > 0; }

  /// When the next may go: `now`, or later.
  net::TimePoint next(net::TimePoint now) const;
  /// One goes now.
  void take(net::TimePoint now);

 private:
  std::int64_t spacing_ = 0;   ///< microseconds; 0: unbounded
  std::int64_t taken_at_ = 0;  ///< microseconds of the same clock
  std::int64_t free_at_ = 0;
  void respace(std::int64_t spacing);
};

}  // namespace waypost::delivery
