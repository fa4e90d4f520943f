#include "mta/limits.h"

#include <thread>
#include <vector>

#include <doctest/doctest.h>

namespace waypost::mta {
namespace {

net::Address address(const char* host) {
  return *net::Address::parse(host, 40000);
}

constexpr std::size_t kMany = 1000;

TEST_SUITE("mta/limits") {
  TEST_CASE("each direction gets a quarter of the descriptors, for its connections and as many spool files (F44)") {
    CHECK(connection_ceiling(1'048'576, 124) == 262'113);
    CHECK(connection_ceiling(1024, 124) == 225);
    CHECK(connection_ceiling(300, 124) == 44);
    CHECK(connection_ceiling(80, 124) == 10);
    CHECK(connection_ceiling(3, 124) == 1);
  }

  TEST_CASE("places in all run out, and come back") {
    Limits limits;
    std::vector<Limits::Token> held;
    for (int i = 0; i < 3; ++i) {
      std::optional<Limits::Token> place = limits.acquire(address("192.0.2.1"), 3, kMany);
      REQUIRE(place);
      held.push_back(*std::move(place));
    }
    CHECK(limits.connections() == 3);
    CHECK_FALSE(limits.acquire(address("192.0.2.2"), 3, kMany));
    held.pop_back();
    CHECK(limits.acquire(address("192.0.2.2"), 3, kMany));
  }

  TEST_CASE("one client's places run out, others have theirs") {
    Limits limits;
    std::optional<Limits::Token> first = limits.acquire(address("192.0.2.1"), kMany, 1);
    CHECK(first);
    CHECK_FALSE(limits.acquire(address("192.0.2.1"), kMany, 1));
    CHECK(limits.acquire(address("192.0.2.2"), kMany, 1));
    CHECK(limits.connections() == 1);
    CHECK(limits.connections_of(address("192.0.2.1")) == 1);
    CHECK(limits.connections_of(address("192.0.2.2")) == 0);
  }

  TEST_CASE("a /64 is one client, each IPv4 address is one") {
    struct {
      const char* one;
      const char* other;
      bool same;
    } const table[] = {
        {"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
        {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"0.0.0.1", "::1", false},
        {"::ffff:192.0.2.1", "192.0.2.1", true},
    };
    for (const auto& row : table) {
      CAPTURE(row.one);
      CAPTURE(row.other);
      CHECK((Limits::key(address(row.one)) == Limits::key(address(row.other))) == row.same);
    }
  }

  TEST_CASE("the ceiling holds whatever the configuration says") {
    Limits limits(2);
    std::optional<Limits::Token> one = limits.acquire(address("192.0.2.1"), kMany, kMany);
    std::optional<Limits::Token> two = limits.acquire(address("192.0.2.1"), kMany, kMany);
    CHECK_FALSE(limits.acquire(address("192.0.2.1"), kMany, kMany));
    CHECK(limits.crowded(kMany));
  }

  TEST_CASE("a token that is moved gives its place back once") {
    Limits limits;
    {
      std::optional<Limits::Token> place = limits.acquire(address("192.0.2.1"), kMany, kMany);
      Limits::Token held = *std::move(place);
      CHECK(limits.connections() == 1);
    }
    CHECK(limits.connections() == 0);
    CHECK(limits.connections_of(address("192.0.2.1")) == 0);
  }

  TEST_CASE("a place that moves to another client counts there, if there is room") {
    Limits limits;
    const net::Address proxy = *net::Address::parse("192.0.2.1", 0);
    const net::Address client = *net::Address::parse("198.51.100.7", 0);
    std::optional<Limits::Token> place = limits.acquire(proxy, 10, 10);
    REQUIRE(place);
    {
      const std::optional<Limits::Token> other = limits.acquire(client, 10, 1);
      REQUIRE(other);
      CHECK_FALSE(place->move_to(client, 1));
      CHECK(limits.connections_of(proxy) == 1);
    }
    CHECK(place->move_to(client, 1));
    CHECK(place->move_to(client, 1));
    CHECK(limits.connections_of(proxy) == 0);
    CHECK(limits.connections_of(client) == 1);
    CHECK(limits.connections() == 1);
    place.reset();
    CHECK(limits.connections_of(client) == 0);
    CHECK(limits.connections() == 0);
  }

  TEST_CASE("connections in a time: of one address, or of one /64") {
    Limits limits;
    const conf::Rate rate{2, std::chrono::seconds(60)};
    const net::WallTime now{std::chrono::seconds(6'000'000)};
    const auto often = [&](const char* address) {
      return limits.too_often(*net::Address::parse(address, 0), rate, now);
    };
    CHECK_FALSE(often("192.0.2.1"));
    CHECK_FALSE(often("192.0.2.1"));
    CHECK(often("192.0.2.1"));
    CHECK_FALSE(often("192.0.2.2"));
    CHECK_FALSE(often("2001:db8::1"));
    CHECK_FALSE(often("2001:db8::2"));
    CHECK(often("2001:db8::3"));
    CHECK_FALSE(often("2001:db8:0:1::3"));
  }

  TEST_CASE("a limit of none lets none in") {
    Limits limits;
    CHECK_FALSE(limits.acquire(address("192.0.2.1"), 0, kMany));
    CHECK_FALSE(limits.acquire(address("192.0.2.1"), kMany, 0));
    CHECK(limits.connections() == 0);
  }

  TEST_CASE("crowded from three quarters on") {
    Limits limits;
    std::vector<Limits::Token> held;
    for (int i = 0; i < 7; ++i) held.push_back(*limits.acquire(address("192.0.2.1"), 10, kMany));
    CHECK_FALSE(limits.crowded(10));
    held.push_back(*limits.acquire(address("192.0.2.1"), 10, kMany));
    CHECK(limits.crowded(10));
  }

  TEST_CASE("several loops at once: the count never goes over the limit, and ends at none") {
    Limits limits;
    std::atomic<bool> over{false};
    auto loop = [&limits, &over] {
      for (int i = 0; i < 20'000; ++i) {
        std::optional<Limits::Token> place = limits.acquire(address("192.0.2.1"), 3, 2);
        if (limits.connections() > 3 || limits.connections_of(address("192.0.2.1")) > 2) over = true;
      }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back(loop);
    for (std::thread& thread : threads) thread.join();
    CHECK_FALSE(over);
    CHECK(limits.connections() == 0);
  }
}

}  // namespace
}  // namespace waypost::mta
