// net/clock.h: the two clocks. Deadlines are of the first; what is written down is of the second.
#pragma once
#include <chrono>

namespace waypost::net {

using Duration = std::chrono::milliseconds;
/// Monotonic; of no meaning after a restart.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;
/// UTC; may jump.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

}  // namespace waypost::net
