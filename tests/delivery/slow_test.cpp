#include "delivery/slow.h"

#include <doctest/doctest.h>

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;
using queue::DestinationState;

constexpr queue::WallTime kNow{1000h};

}  // namespace

TEST_SUITE("delivery/slow") {
  TEST_CASE("half of what it got, and half of that again; other replies of the same moment change nothing") {
    DestinationState state;
    slow_down(state, 120, 10min, "421 too many", kNow);
    CHECK(state.spacing == 1s);
    CHECK((state.slow_until == kNow + 10min));
    CHECK(state.slow_reason == "421 too many");
    slow_down(state, 120, 10min, "421 still", kNow + 5s);
    CHECK(state.spacing == 1s);
    slow_down(state, 60, 10min, "421 still", kNow + 3min);
    CHECK(state.spacing == 2s);
    CHECK((state.slow_until == kNow + 13min));
    CHECK(state.slow_reason == "421 still");
  }

  TEST_CASE("never more slowly than one a minute, nor faster than ten a second") {
    DestinationState state;
    slow_down(state, 0, 10min, "x", kNow);
    CHECK(state.spacing == 60s);
    slow_down(state, 0, 10min, "x", kNow + 1h);
    CHECK(state.spacing == 60s);
    state = {};
    slow_down(state, 1'000'000, 10min, "x", kNow);
    CHECK(state.spacing == 100ms);
  }

  TEST_CASE("what an administrator made slower than that stays so") {
    DestinationState state;
    state.spacing = 10min;
    state.slow_until = kNow + 1min;
    slow_down(state, 500, 1h, "x", kNow);
    CHECK(state.spacing == 10min);
    CHECK((state.slow_until == kNow + 1h));
  }

  TEST_CASE("when the time is over it gets twice as much each quarter of an hour, until nothing is left of it") {
    DestinationState state;
    slow_down(state, 120, 10min, "x", kNow);
    CHECK_FALSE(speed_up(state, kNow + 10min - 1s));
    CHECK(speed_up(state, kNow + 10min));
    CHECK(state.spacing == 500ms);
    CHECK((state.slow_until == kNow + 25min));
    CHECK_FALSE(speed_up(state, kNow + 20min));
    CHECK(speed_up(state, kNow + 41min));  // two steps at once
    CHECK(state.spacing == 125ms);
    CHECK(speed_up(state, kNow + 60min));
    CHECK(speed_up(state, kNow + 75min));
    CHECK(state.spacing == 0ms);
    CHECK(state.slow_reason.empty());
    CHECK_FALSE(speed_up(state, kNow + 1000h));
  }
}
}  // namespace waypost::delivery
