// queue/state.h: the states of a recipient and its legal moves (the table in ARCHITECTURE.md). Pure.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace waypost::queue {

/// Kept in the database by these numbers: add, never renumber.
enum class State : std::uint8_t {
  deferred = 0,   ///< awaits an attempt: the first one too
  held = 1,       ///< awaits an administrator
  delivered = 2,  ///< ended: final delivery made
  relayed = 3,    ///< ended: the next hop took it
  bounced = 4,    ///< ended: failed for good
  expired = 5,    ///< ended: was tried for too long
  removed = 6,    ///< ended: by an administrator, or discarded by a route
};

enum class Event : std::uint8_t {
  attempt_deferred,  ///< an attempt came to nothing for now
  attempt_delivered,
  attempt_relayed,
  attempt_failed,  ///< failed for good
  lifetime_over,
  hold,
  release,
  retry,  ///< an administrator moves the next attempt forward
  remove,
  restore,       ///< a removal is taken back
  restore_held,  ///< likewise, of one that was held before
};

constexpr bool is_end(State state) {
  return state >= State::delivered;
}

/// The state after the event, or nullopt where the table has no such move: the event is then without effect.
std::optional<State> next_state(State state, Event event);

std::string_view to_text(State state);  ///< "deferred", "held", ...

}  // namespace waypost::queue
