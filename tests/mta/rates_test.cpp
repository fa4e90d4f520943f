#include "mta/rates.h"

#include <chrono>
#include <string>

#include <doctest/doctest.h>

namespace waypost::mta {
namespace {

using std::chrono::seconds;
using Kind = Rates::Kind;

net::WallTime at(std::int64_t second) {
  return net::WallTime(seconds(second));
}

const Rates::Key kAnn{"staff", "ann"};
constexpr conf::Rate kTenAMinute{10, seconds(60)};
constexpr std::int64_t kStart = 6'000'000;  // a minute begins

/// How many of `tries` are taken.
int taken(Rates& rates, int tries, std::int64_t second, const Rates::Key& key = kAnn) {
  int took = 0;
  for (int i = 0; i < tries; ++i) took += rates.take(key, Kind::messages, kTenAMinute, at(second)).wait ? 0 : 1;
  return took;
}

std::int64_t wait(Rates& rates, std::int64_t second) {
  return rates.take(kAnn, Kind::messages, kTenAMinute, at(second)).wait.value_or(seconds(0)).count();
}

TEST_SUITE("mta/rates") {
  TEST_CASE("so many in a period, and then none until part of it has passed") {
    Rates rates;
    CHECK(taken(rates, 15, kStart) == 10);
    CHECK(taken(rates, 15, kStart + 59) == 0);
    // The next period begins with what the one before still weighs.
    CHECK(taken(rates, 15, kStart + 60) == 0);
    CHECK(taken(rates, 15, kStart + 90) == 5);
    CHECK(taken(rates, 15, kStart + 119) == 4);
    CHECK(taken(rates, 15, kStart + 400) == 10);
  }

  TEST_CASE("whoever waits as long as it was told is served") {
    for (int first = 1; first <= 10; ++first) {
      for (const std::int64_t offset : {0, 1, 17, 59}) {
        CAPTURE(first);
        CAPTURE(offset);
        Rates rates;
        taken(rates, first, kStart);
        taken(rates, 10 - first, kStart + offset);
        const std::int64_t told = wait(rates, kStart + offset);
        CHECK(told > 0);
        CHECK(told <= 120);
        CHECK(wait(rates, kStart + offset + told) == 0);
      }
    }
  }

  TEST_CASE("no time of a period's length has twice the number, and over many it is the number") {
    for (const std::int64_t offset : {0, 30, 59}) {
      CAPTURE(offset);
      Rates rates;
      std::vector<std::int64_t> times;
      for (std::int64_t second = kStart + offset; second < kStart + 6000; ++second) {
        for (int i = taken(rates, 20, second); i > 0; --i) times.push_back(second);
      }
      std::size_t most = 0;
      for (std::size_t i = 0; i < times.size(); ++i) {
        std::size_t j = i;
        while (j < times.size() && times[j] < times[i] + 60) ++j;
        most = std::max(most, j - i);
      }
      // The part of the period before is taken as if it had come evenly.
      CHECK(most < 20);
      CHECK(times.size() <= 10 * 101);
      CHECK(times.size() >= 10 * 50);
    }
  }

  TEST_CASE("clients, classes and kinds are counted apart") {
    Rates rates;
    CHECK(taken(rates, 20, kStart) == 10);
    CHECK(taken(rates, 20, kStart, {"staff", "bob"}) == 10);
    CHECK(taken(rates, 20, kStart, {"printers", "ann"}) == 10);
    CHECK_FALSE(rates.take(kAnn, Kind::recipients, kTenAMinute, at(kStart)).wait);
    CHECK(rates.rows(at(kStart)).size() == 4);
  }

  TEST_CASE("what a transaction took comes back unless it is kept") {
    Rates rates;
    {
      RateHold hold(rates, kAnn);
      for (int i = 0; i < 10; ++i) CHECK_FALSE(hold.take(Kind::messages, kTenAMinute, at(kStart)));
      CHECK(hold.take(Kind::messages, kTenAMinute, at(kStart)));
      RateHold moved(std::move(hold));
      CHECK(taken(rates, 1, kStart) == 0);
    }
    CHECK(taken(rates, 20, kStart) == 10);
    {
      RateHold hold(rates, {"staff", "bob"});
      CHECK_FALSE(hold.take(Kind::messages, kTenAMinute, at(kStart)));
      hold.keep();
    }
    CHECK(taken(rates, 20, kStart, {"staff", "bob"}) == 9);
  }

  TEST_CASE("what was taken in the period before comes back from there") {
    Rates rates;
    {
      RateHold hold(rates, kAnn);
      for (int i = 0; i < 10; ++i) CHECK_FALSE(hold.take(Kind::messages, kTenAMinute, at(kStart + 59)));
      CHECK(taken(rates, 1, kStart + 61) == 0);
    }
    CHECK(taken(rates, 20, kStart + 61) == 10);
  }

  TEST_CASE("a clock that goes back frees nothing, and one that leaps blocks nobody for long") {
    Rates rates;
    CHECK(taken(rates, 10, kStart) == 10);
    CHECK(taken(rates, 10, kStart - 30) == 0);
    CHECK(taken(rates, 10, kStart + 1'000'000) == 10);
    CHECK(taken(rates, 10, kStart) == 10);
  }

  TEST_CASE("another limit counts on, another period begins anew") {
    Rates rates;
    CHECK(taken(rates, 20, kStart) == 10);
    CHECK_FALSE(rates.take(kAnn, Kind::messages, {11, seconds(60)}, at(kStart)).wait);
    CHECK(rates.take(kAnn, Kind::messages, {11, seconds(60)}, at(kStart)).wait);
    CHECK_FALSE(rates.take(kAnn, Kind::messages, {1, seconds(3600)}, at(kStart)).wait);
  }

  TEST_CASE("the next start goes on from the text of the last") {
    Rates before;
    CHECK_FALSE(before.changed_text());
    CHECK(taken(before, 7, kStart) == 7);
    CHECK_FALSE(before.take({"staff", "a b"}, Kind::recipients, kTenAMinute, at(kStart)).wait);
    CHECK_FALSE(before.take({"all", ""}, Kind::recipients, kTenAMinute, at(kStart)).wait);
    const std::optional<std::string> text = before.changed_text();
    REQUIRE(text);
    CHECK_FALSE(before.changed_text());
    Rates after;
    after.restore(*text + "nonsense\n1 2 3 4 5 others x y\n0 0 0 0 0 messages x y\n99 1");
    CHECK_FALSE(after.changed_text());
    CHECK(taken(after, 20, kStart + 1) == 3);
    const std::vector<Rates::Row> rows = after.rows(at(kStart));
    REQUIRE(rows.size() == 3);
    CHECK(rows[0].key.client.empty());
    CHECK(rows[1].key.client == "a b");
    CHECK(rows[2].used == 10);
    CHECK(rows[2].rate == kTenAMinute);
  }

  TEST_CASE("counts have a bound") {
    Rates rates;
    for (std::size_t i = 0; i < Rates::kMostCounts + 1000; ++i) {
      rates.take({"c", std::to_string(i)}, Kind::messages, kTenAMinute, at(kStart));
    }
    CHECK(rates.rows(at(kStart)).size() <= Rates::kMostCounts);
  }
}

}  // namespace
}  // namespace waypost::mta
