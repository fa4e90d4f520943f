#include "mta/recipient_cache.h"

#include <string>

#include <doctest/doctest.h>

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;
using State = RecipientCache::State;

const net::TimePoint kStart = net::TimePoint{} + 1h;

std::string key(std::size_t number) {
  return "smtp:mx.example r" + std::to_string(number) + "@b.example";
}

TEST_SUITE("mta/recipient_cache") {
  TEST_CASE("how long an answer holds") {
    const struct {
      bool known;
      net::Duration age;
      State want;
    } table[] = {
        {true, 0s, State::known},
        {true, RecipientCache::kKnown - 1ms, State::known},
        {true, RecipientCache::kKnown, State::was_known},
        {true, RecipientCache::kKept - 1ms, State::was_known},
        {true, RecipientCache::kKept, State::nothing},
        {false, 0s, State::unknown},
        {false, RecipientCache::kUnknown - 1ms, State::unknown},
        {false, RecipientCache::kUnknown, State::nothing},
    };
    for (const auto& [known, age, want] : table) {
      CAPTURE(known);
      CAPTURE(age.count());
      RecipientCache cache;
      cache.put(key(1), known, kStart);
      CHECK(cache.find(key(1), kStart + age) == want);
      CHECK(cache.find(key(2), kStart + age) == State::nothing);
      CHECK(cache.find("smtp:mx.example R1@b.example", kStart + age) == State::nothing);
    }
  }

  TEST_CASE("a new answer takes the place of the old one, and its time begins anew") {
    RecipientCache cache;
    cache.put(key(1), true, kStart);
    cache.put(key(1), false, kStart + 1h);
    CHECK(cache.find(key(1), kStart + 1h) == State::unknown);
    CHECK(cache.size() == 1);
    CHECK(cache.find(key(1), kStart + 1h + RecipientCache::kUnknown) == State::nothing);
    cache.put(key(1), true, kStart + 2h);
    cache.put(key(1), true, kStart + 12h);
    CHECK(cache.size() == 1);
    CHECK(cache.find(key(1), kStart + 12h + RecipientCache::kKnown - 1ms) == State::known);
  }

  TEST_CASE("it is bounded, the oldest goes first, and unknown ones drive out no known one") {
    RecipientCache cache;
    for (std::size_t i = 0; i <= RecipientCache::kMostKnown; ++i) cache.put(key(i), true, kStart);
    CHECK(cache.size() == RecipientCache::kMostKnown);
    CHECK(cache.find(key(0), kStart) == State::nothing);
    CHECK(cache.find(key(1), kStart) == State::known);
    for (std::size_t i = 0; i <= RecipientCache::kMostUnknown; ++i) cache.put("x" + key(i), false, kStart);
    CHECK(cache.size() == RecipientCache::kMostKnown + RecipientCache::kMostUnknown);
    CHECK(cache.find("x" + key(0), kStart) == State::nothing);
    CHECK(cache.find("x" + key(1), kStart) == State::unknown);
    CHECK(cache.find(key(1), kStart) == State::known);
  }

  TEST_CASE("what is too old is let go when something comes") {
    RecipientCache cache;
    cache.put(key(1), true, kStart);
    cache.put(key(2), false, kStart);
    cache.put(key(3), true, kStart + RecipientCache::kUnknown);
    CHECK(cache.size() == 2);
    cache.put(key(4), true, kStart + RecipientCache::kKept);
    CHECK(cache.size() == 2);
  }
}

}  // namespace
}  // namespace waypost::mta
