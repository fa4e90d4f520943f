// mta/follow.h: lines of the daemon as they come: `waypost watch`, `waypost log tail -f`.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

#include "mta/console.h"

namespace waypost::mta {

constexpr std::chrono::milliseconds kBetweenPages{250};

struct Follow {
  ControlRequest request;  ///< answered with a page of lines, as base/line_ring.h has them
  std::uint64_t from = 0;  ///< the first line
  std::optional<net::WallTime> until;
};
/// Ends with 0 when the time is over, 74 when whoever reads has gone, and as Console::fetch(). `sleep` waits for a
/// moment between two questions.
int follow(Follow what, const std::function<void(const Json&)>& write, const std::function<void()>& sleep,
           Console& console);

}  // namespace waypost::mta
