// net/clock.h: the two clocks. Deadlines are of the first; what is written down is of the second.
#pragma once
#include <chrono>

namespace waypost::net {

using Duration = std::chrono::milliseconds;
/// Monotonic; of no meaning after a restart.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;
/// UTC; may jump.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

/// Both, for threads that have no Runtime, which has the time of its loop's turn. Any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;
  virtual WallTime wall_now() const = 0;
};

/// The machine's. Lives for ever.
const Clock& system_clock();

}  // namespace waypost::net
