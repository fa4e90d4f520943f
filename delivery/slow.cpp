#include "delivery/slow.h"

#include <algorithm>
#include <utility>

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

constexpr net::Duration kWidest = 60s;       // between two messages
constexpr net::Duration kNarrowest = 100ms;  // for a start
constexpr net::Duration kOver = 60ms;        // a thousand a minute: nobody needs to be held to that
constexpr net::Duration kStep = 15min;
constexpr net::Duration kSameMoment = 30s;

}  // namespace

void slow_down(queue::DestinationState& state, int last_minute, std::chrono::seconds time, std::string reason,
               queue::WallTime now) {
  const bool again = state.spacing > 0ms;
  if (again && state.slow_until + kSameMoment >= now + time) return;
  const net::Duration spacing = again ? state.spacing * 2 : net::Duration(2min) / std::max(last_minute, 1);
  state.spacing = std::max(state.spacing, std::clamp(spacing, kNarrowest, kWidest));
  state.slow_until = now + time;
  state.slow_reason = std::move(reason);
}

bool speed_up(queue::DestinationState& state, queue::WallTime now) {
  bool changed = false;
  while (state.spacing > 0ms && state.slow_until <= now) {
    changed = true;
    state.spacing /= 2;
    state.slow_until += kStep;
    if (state.spacing >= kOver) continue;
    state.spacing = 0ms;
    state.slow_until = {};
    state.slow_reason.clear();
  }
  return changed;
}

}  // namespace waypost::delivery
