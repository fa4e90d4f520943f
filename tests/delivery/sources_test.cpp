#include "delivery/sources.h"

#include <doctest/doctest.h>

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;
using Kept = Sources::Kept;

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
    const Sources sources;
    const std::vector<net::Address> pool = {kOne, kSix, kTwo};
    CHECK(sources.choose(pool, 4, 0, kNow) == kOne);
    CHECK(sources.choose(pool, 4, 1, kNow) == kTwo);
    CHECK(sources.choose(pool, 4, 2, kNow) == kOne);
    CHECK(sources.choose(pool, 6, 1, kNow) == kSix);
    CHECK_FALSE(sources.choose({kOne}, 6, 1, kNow));
    CHECK(sources.next(pool, Kept::none, kNow) == kNow);
  }

  TEST_CASE("an address has so many connections; then another has its turn, and then all wait") {
    Sources sources;
    sources.configure(limits(2, std::nullopt));
    const std::vector<net::Address> pool = {kOne, kTwo};
    std::shared_ptr<const void> first = sources.hold(kOne);
    CHECK(sources.choose(pool, 4, 0, kNow) == kOne);
    std::shared_ptr<const void> second = sources.hold(kOne);
    CHECK(sources.choose(pool, 4, 0, kNow) == kTwo);
    CHECK(sources.next(pool, Kept::none, kNow) == kNow);
    CHECK(sources.next({kOne}, Kept::none, kNow) > kNow);
    CHECK(sources.next({kOne}, Kept::any, kNow) == kNow);
    CHECK(sources.next(kOne, kNow) == kNow);
    sources.configure(limits(2, std::nullopt));  // what is held counts on
    CHECK(sources.next({kOne}, Kept::none, kNow) > kNow);
    first.reset();
    CHECK(sources.next({kOne}, Kept::none, kNow) == kNow);
    CHECK(sources.hold(kTwo) == nullptr);
    sources.configure(conf::Config());
    second.reset();  // of a limit that is there no more
    CHECK(sources.next({kOne}, Kept::none, kNow) == kNow);
  }

  TEST_CASE("messages leave in their time, each address for itself") {
    Sources sources;
    sources.configure(limits(std::nullopt, conf::Rate{60, 60s}));
    const std::vector<net::Address> pool = {kOne, kTwo};
    net::TimePoint now = kNow;
    int left = 0;
    for (; now < kNow + 60s; now += 10ms) {
      if (sources.next(kOne, now) > now) continue;
      sources.take(kOne, now);
      ++left;
    }
    CHECK(left >= 59);
    CHECK(left <= 61);
    sources.take(kOne, now);
    CHECK(sources.next({kOne}, Kept::any, now) > now);
    CHECK(sources.next({kSix}, Kept::any, now) == now);
    CHECK(sources.choose(pool, 4, 0, now) == kTwo);
    sources.take(kTwo, now);
    CHECK(sources.next(kTwo, now) == now);
  }
}

}  // namespace waypost::delivery
