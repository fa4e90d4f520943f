// queue/state.cpp
#include "queue/state.h"

namespace waypost::queue {
namespace {

struct Move {
  State from;
  Event event;
  State to;
};

// What is not here does not happen. An attempt that was under way when its recipient was held still ends it, since the
// remote has taken or refused the message by then; and who was removed meanwhile and has the message is not to get it
// again when that is undone.
constexpr Move kMoves[] = {
    {State::deferred, Event::attempt_deferred, State::deferred},
    {State::deferred, Event::attempt_delivered, State::delivered},
    {State::deferred, Event::attempt_relayed, State::relayed},
    {State::deferred, Event::attempt_failed, State::bounced},
    {State::deferred, Event::lifetime_over, State::expired},
    {State::deferred, Event::hold, State::held},
    {State::deferred, Event::retry, State::deferred},
    {State::deferred, Event::remove, State::removed},
    {State::held, Event::attempt_deferred, State::held},
    {State::held, Event::attempt_delivered, State::delivered},
    {State::held, Event::attempt_relayed, State::relayed},
    {State::held, Event::attempt_failed, State::bounced},
    {State::held, Event::release, State::deferred},
    {State::held, Event::remove, State::removed},
    {State::removed, Event::attempt_delivered, State::delivered},
    {State::removed, Event::attempt_relayed, State::relayed},
    {State::removed, Event::restore, State::deferred},
    {State::removed, Event::restore_held, State::held},
};

}  // namespace

std::optional<State> next_state(State state, Event event) {
  for (const Move& move : kMoves)
    if (move.from == state && move.event == event) return move.to;
  return std::nullopt;
}

std::string_view to_text(State state) {
  switch (state) {
    case State::deferred:
      return "deferred";
    case State::held:
      return "held";
    case State::delivered:
      return "delivered";
    case State::relayed:
      return "relayed";
    case State::bounced:
      return "bounced";
    case State::expired:
      return "expired";
    case State::removed:
      return "removed";
  }
  return "unknown";
}

}  // namespace waypost::queue
