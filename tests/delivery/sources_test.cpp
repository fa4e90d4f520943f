#include "delivery/sources.h"

#include <doctest/doctest.h>

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

constexpr net::TimePoint kNow{1h};

net::Address address(const std::string& text) {
  return *net::Address::parse(text, 0);
}

const net::Address kOne = address("192.0.2.1"), kTwo = address("192.0.2.2"), kSix = address("2001:db8::1");

conf::Config limits(std::optional<int> connections, std::optional<conf::Rate> rate) {
  conf::Config config;
  conf::OutLimit limit;
  limit.sources = {"192.0.2.1", "2001:db8::1"};
  limit.connections = connections;
  limit.rate = rate;
  config.delivery.limits = {limit};
  return config;
}

}  // namespace

TEST_SUITE("delivery/sources") {
  TEST_CASE("without limits chance says which, within the family of the host") {
    Sources sources;
    const std::vector<net::Address> pool = {kOne, kSix, kTwo};
    CHECK(sources.choose(pool, 4, 0, kNow) == kOne);
    CHECK(sources.choose(pool, 4, 1, kNow) == kTwo);
    CHECK(sources.choose(pool, 4, 2, kNow) == kOne);
    CHECK(sources.choose(pool, 6, 1, kNow) == kSix);
    CHECK_FALSE(sources.choose({kOne}, 6, 1, kNow));
    CHECK(sources.choose(pool, 0, 1, kNow) == kSix);
    CHECK_FALSE(sources.choose({}, 0, 1, kNow));
    CHECK(sources.next(pool, kNow) == kNow);
  }

  TEST_CASE("an address that cannot be connected from comes after the others, for a minute") {
    Sources sources;
    sources.failed(kOne, kNow);
    CHECK(sources.has_failed(kOne, kNow));
    CHECK(sources.choose({kOne, kTwo}, 4, 0, kNow) == kTwo);
    CHECK(sources.choose({kOne}, 4, 0, kNow) == kOne);
    CHECK(sources.choose({kOne, kTwo}, 4, 0, kNow + 61s) == kOne);
    CHECK_FALSE(sources.has_failed(kOne, kNow + 61s));
  }

  TEST_CASE("an address has so many connections; then another has its turn, and then all wait") {
    Sources sources;
    sources.configure(limits(2, std::nullopt));
    const std::vector<net::Address> pool = {kOne, kTwo};
    std::shared_ptr<const void> first = sources.hold(kOne);
    CHECK(sources.choose(pool, 4, 0, kNow) == kOne);
    std::shared_ptr<const void> second = sources.hold(kOne);
    CHECK(sources.choose(pool, 4, 0, kNow) == kTwo);
    CHECK(sources.next(pool, kNow) == kNow);
    CHECK(sources.next(std::vector{kOne}, kNow) > kNow);
    CHECK(sources.next_kept(kOne, kNow) == kNow);
    sources.configure(limits(2, std::nullopt));  // what is held counts on
    CHECK(sources.next(std::vector{kOne}, kNow) > kNow);
    first.reset();
    CHECK(sources.next(std::vector{kOne}, kNow) == kNow);
    CHECK(sources.hold(kTwo) == nullptr);
    sources.configure(conf::Config());
    second.reset();  // of a limit that is there no more
    CHECK(sources.next(std::vector{kOne}, kNow) == kNow);
  }

  TEST_CASE("messages leave in their time, each address for itself") {
    Sources sources;
    sources.configure(limits(std::nullopt, conf::Rate{60, 60s}));
    const std::vector<net::Address> pool = {kOne, kTwo};
    net::TimePoint now = kNow;
    int left = 0;
    for (; now < kNow + 60s; now += 10ms) {
      if (sources.next_kept(kOne, now) > now) continue;
      sources.take(kOne, now);
      ++left;
    }
    CHECK(left >= 59);
    CHECK(left <= 61);
    sources.take(kOne, now);
    CHECK(sources.next_kept(kOne, now) > now);
    CHECK(sources.next(std::vector{kSix}, now) == now);
    CHECK(sources.choose(pool, 4, 0, now) == kTwo);
    sources.take(kTwo, now);
    CHECK(sources.next(std::vector{kTwo}, now) == now);
  }
}

}  // namespace waypost::delivery
