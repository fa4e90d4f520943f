#include "queue/retry.h"

#include <doctest/doctest.h>

using namespace waypost;
using namespace waypost::queue;
using std::chrono::seconds;

TEST_SUITE("queue/retry") {
  const net::WallTime kNow{net::Duration(1'700'000'000'000)};
  const std::vector<seconds> kSchedule = {seconds(300), seconds(600), seconds(3600)};

  TEST_CASE("the step of the list, the last one repeats, within a tenth") {
    struct {
      std::uint32_t attempts;
      seconds step;
    } const table[] = {{0, seconds(300)},  {1, seconds(300)},  {2, seconds(600)},
                       {3, seconds(3600)}, {4, seconds(3600)}, {UINT32_MAX, seconds(3600)}};
    for (const auto& row : table) {
      net::Duration step = row.step;
      net::Duration least = net::Duration::max(), most{0};
      std::uint64_t chance = 0;
      for (int i = 0; i < 2000; ++i) {
        chance = chance * 6364136223846793005u + 1442695040888963407u;
        net::Duration wait = next_attempt(kSchedule, row.attempts, kNow, chance) - kNow;
        least = std::min(least, wait);
        most = std::max(most, wait);
      }
      CHECK(least >= step - step / 10);
      CHECK(most <= step + step / 10);
      CHECK(least < step - step / 11);
      CHECK(most > step + step / 11);
    }
  }

  TEST_CASE("odd schedules") {
    CHECK(next_attempt({}, 1, kNow, 7) > kNow);
    CHECK(next_attempt({seconds(0)}, 1, kNow, 7) == kNow);
    CHECK(next_attempt({seconds(-5)}, 1, kNow, 7) == kNow);
    CHECK(next_attempt({seconds(1)}, 9, kNow, UINT64_MAX) > kNow);
  }
}
