#include "queue/state.h"

#include <map>
#include <set>
#include <string_view>
#include <utility>

#include <doctest/doctest.h>

using namespace waypost::queue;

TEST_SUITE("queue/state") {
  constexpr State kStates[] = {State::deferred, State::held,    State::delivered, State::relayed,
                               State::bounced,  State::expired, State::removed};
  constexpr Event kEvents[] = {Event::attempt_deferred, Event::attempt_delivered,
                               Event::attempt_relayed,  Event::attempt_failed,
                               Event::lifetime_over,    Event::hold,
                               Event::release,          Event::retry,
                               Event::remove,           Event::restore,
                               Event::restore_held};

  TEST_CASE("every state and event: these moves and no others") {
    const std::map<std::pair<State, Event>, State> want = {
        {{State::deferred, Event::attempt_deferred}, State::deferred},
        {{State::deferred, Event::attempt_delivered}, State::delivered},
        {{State::deferred, Event::attempt_relayed}, State::relayed},
        {{State::deferred, Event::attempt_failed}, State::bounced},
        {{State::deferred, Event::lifetime_over}, State::expired},
        {{State::deferred, Event::hold}, State::held},
        {{State::deferred, Event::retry}, State::deferred},
        {{State::deferred, Event::remove}, State::removed},
        {{State::held, Event::attempt_deferred}, State::held},
        {{State::held, Event::attempt_delivered}, State::delivered},
        {{State::held, Event::attempt_relayed}, State::relayed},
        {{State::held, Event::attempt_failed}, State::bounced},
        {{State::held, Event::release}, State::deferred},
        {{State::held, Event::remove}, State::removed},
        {{State::removed, Event::attempt_delivered}, State::delivered},
        {{State::removed, Event::attempt_relayed}, State::relayed},
        {{State::removed, Event::restore}, State::deferred},
        {{State::removed, Event::restore_held}, State::held},
    };
    for (State state : kStates) {
      for (Event event : kEvents) {
        CAPTURE(static_cast<int>(state));
        CAPTURE(static_cast<int>(event));
        auto found = want.find({state, event});
        std::optional<State> next = next_state(state, event);
        CHECK(next.has_value() == (found != want.end()));
        if (next && found != want.end()) CHECK(*next == found->second);
      }
    }
  }

  TEST_CASE("an end is left by no event, but a removal, which may be undone") {
    for (State state : kStates)
      for (Event event : kEvents)
        if (is_end(state) && state != State::removed) CHECK_FALSE(next_state(state, event));
  }

  TEST_CASE("each state has a word of its own") {
    std::set<std::string_view> words;
    for (State state : kStates) words.insert(to_text(state));
    CHECK(words.size() == std::size(kStates));
    CHECK(to_text(State::deferred) == "deferred");
    CHECK(to_text(State::removed) == "removed");
  }
}
