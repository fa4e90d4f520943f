// queue/retry.cpp
#include "queue/retry.h"

#include <algorithm>

namespace waypost::queue {

net::WallTime next_attempt(const std::vector<std::chrono::seconds>& schedule, std::uint32_t attempts, net::WallTime now,
                           std::uint64_t chance) {
  constexpr std::chrono::seconds kWithoutSchedule{300};
  net::Duration step = kWithoutSchedule;
  if (!schedule.empty()) {
    std::size_t index = std::min<std::size_t>(std::max(attempts, 1u) - 1, schedule.size() - 1);
    step = schedule[index];
  }
  step = std::max(step, net::Duration(0));
  // `chance` spread over [-step/10, +step/10].
  std::uint64_t tenth = static_cast<std::uint64_t>(step.count()) / 10;
  net::Duration moved{static_cast<std::int64_t>(chance % (2 * tenth + 1))};
  return now + step - net::Duration(static_cast<std::int64_t>(tenth)) + moved;
}

}  // namespace waypost::queue
