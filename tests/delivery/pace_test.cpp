#include "delivery/pace.h"

#include <doctest/doctest.h>

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

/// How many go in such a time, where a timer is late by up to `late` each time.
int taken(Pace& pace, net::TimePoint from, net::Duration time, net::Duration late) {
  int count = 0;
  for (net::TimePoint now = from; now < from + time;) {
    const net::TimePoint next = pace.next(now);
    if (next > now) {
      now = next + late * (count % 3) / 2;
      continue;
    }
    pace.take(now);
    ++count;
  }
  return count;
}

}  // namespace

TEST_SUITE("delivery/pace") {
  TEST_CASE("rates hold within a hundredth, from one an hour to thousands a second, with late timers") {
    struct Case {
      conf::Rate rate;
      net::Duration time;
      int want;
    };
    const Case cases[] = {{{1, 3600s}, 100h, 100},   {{20, 60s}, 1h, 1200},     {{7, 1s}, 1000s, 7000},
                          {{100, 1s}, 100s, 10'000}, {{5000, 1s}, 10s, 50'000}, {{3, 2s}, 1000s, 1500}};
    for (const Case& each : cases) {
      CAPTURE(each.rate.text());
      for (const net::Duration late : {0ms, 10ms}) {
        Pace pace;
        pace.set(each.rate);
        const int count = taken(pace, net::TimePoint(5h), each.time, late);
        CHECK(count >= each.want * 99 / 100);
        CHECK(count <= each.want * 101 / 100 + 1);
      }
    }
  }

  TEST_CASE("no burst after a pause") {
    Pace pace;
    pace.set(conf::Rate{20, 60s});
    CHECK(taken(pace, net::TimePoint(1h), 59s, 0ms) == 20);
    CHECK(taken(pace, net::TimePoint(5h), 1s, 0ms) == 1);
  }

  TEST_CASE("without a rate anything goes, at once") {
    Pace pace;
    CHECK_FALSE(pace.is_bounded());
    pace.take(net::TimePoint(1h));
    CHECK((pace.next(net::TimePoint(1h)) == net::TimePoint(1h)));
    pace.set(conf::Rate{1, 3600s});
    pace.take(net::TimePoint(1h));
    pace.set(std::nullopt);
    CHECK((pace.next(net::TimePoint(1h)) == net::TimePoint(1h)));
  }
}
}  // namespace waypost::delivery
