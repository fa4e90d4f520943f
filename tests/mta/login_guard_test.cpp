#include "mta/login_guard.h"

#include <chrono>
#include <string>

#include <doctest/doctest.h>

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;

constexpr net::TimePoint kStart{1000h};

std::string network(const char* host) {
  return LoginGuard::network(*net::Address::parse(host, 4000));
}

TEST_SUITE("mta/login_guard") {
  TEST_CASE("a network is what one attacker has much of") {
    CHECK(network("192.0.2.77") == "192.0.2.0/24");
    CHECK(network("192.0.2.1") == network("192.0.2.254"));
    CHECK(network("192.0.3.1") != network("192.0.2.1"));
    CHECK(network("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64");
    CHECK(network("::ffff:192.0.2.9") == "192.0.2.0/24");
  }

  TEST_CASE("guesses of one account wait longer and longer, from wherever they come") {
    LoginGuard guard;
    const net::Duration want[] = {0s, 0s, 0s, 1s, 2s, 4s, 8s, 16s, 30s, 30s};
    int host = 0;
    for (net::Duration delay : want) {
      CHECK(guard.begin("ann", "10.0." + std::to_string(host++) + ".0/24", kStart) == delay);
    }
    CHECK(guard.begin("bob", "10.0.1.0/24", kStart) == 0s);
  }

  TEST_CASE("so do guesses of many accounts from one network, which may have some more") {
    LoginGuard guard;
    for (int i = 0; i < 11; ++i) CHECK(guard.begin("user" + std::to_string(i), "10.0.0.0/24", kStart) == 0s);
    CHECK(guard.begin("user11", "10.0.0.0/24", kStart) == 1s);
    CHECK(guard.begin("user12", "10.0.0.0/24", kStart) == 2s);
    CHECK(guard.begin("user13", "10.0.1.0/24", kStart) == 0s);
  }

  TEST_CASE("with time it is forgotten") {
    LoginGuard guard;
    for (int i = 0; i < 8; ++i) guard.begin("ann", "10.0.0.0/24", kStart);
    CHECK(guard.begin("ann", "10.0.1.0/24", kStart) == 30s);
    CHECK(guard.begin("ann", "10.0.2.0/24", kStart + LoginGuard::kHalfLife) < 16s);
    CHECK(guard.begin("ann", "10.0.3.0/24", kStart + 5 * LoginGuard::kHalfLife) == 0s);
  }

  TEST_CASE("a success takes its own attempt back, not those of others") {
    LoginGuard guard;
    for (int i = 0; i < 50; ++i) {
      CHECK(guard.begin("ann", "10.0.0.0/24", kStart) == 0s);
      guard.succeeded("ann", "10.0.0.0/24", kStart);
    }
    for (int i = 0; i < 4; ++i) guard.begin("bob", "10.0.9.0/24", kStart);
    CHECK(guard.begin("bob", "10.0.1.0/24", kStart) == 2s);
    guard.succeeded("bob", "10.0.1.0/24", kStart);
    CHECK(guard.begin("bob", "10.0.2.0/24", kStart) == 2s);
  }

  TEST_CASE("an attempt that was put off counts for nothing") {
    LoginGuard guard;
    for (int i = 0; i < 50; ++i) {
      CHECK(guard.begin("ann", "10.0.0.0/24", kStart) == 0s);
      guard.put_off("ann", "10.0.0.0/24", kStart);
    }
    guard.begin("ann", "10.0.0.0/24", kStart);
    guard.succeeded("ann", "10.0.0.0/24", kStart);
    for (int i = 0; i < 50; ++i) {
      CHECK(guard.begin("ann", "10.0.0.0/24", kStart) == 0s);
      guard.put_off("ann", "10.0.0.0/24", kStart);
    }
  }

  TEST_CASE("nobody outside keeps a user out of where the user has logged in from") {
    LoginGuard guard;
    guard.begin("ann", "192.0.2.0/24", kStart);
    guard.succeeded("ann", "192.0.2.0/24", kStart);
    for (int i = 0; i < 1000; ++i) guard.begin("ann", "10.0." + std::to_string(i % 256) + ".0/24", kStart + 1s);
    CHECK(guard.begin("ann", "10.1.0.0/24", kStart + 2s) == 30s);
    CHECK(guard.begin("ann", "192.0.2.0/24", kStart + 2s) == 0s);
    guard.succeeded("ann", "192.0.2.0/24", kStart + 2s);

    // Nor does a neighbour who guesses at other accounts; but guessing at this one is slow from there, too.
    for (int i = 0; i < 100; ++i) guard.begin("user" + std::to_string(i), "192.0.2.0/24", kStart + 3s);
    CHECK(guard.begin("ann", "192.0.2.0/24", kStart + 3s) == 0s);
    for (int i = 0; i < 10; ++i) guard.begin("ann", "192.0.2.0/24", kStart + 3s);
    CHECK(guard.begin("ann", "192.0.2.0/24", kStart + 3s) == 30s);

    // After a month it is a place like any other.
    CHECK(guard.begin("ann", "192.0.2.0/24", kStart + LoginGuard::kKnownFor + 4s) == 0s);
    for (int i = 0; i < 10; ++i) guard.begin("ann", "10.0.0.0/24", kStart + LoginGuard::kKnownFor + 4s);
    CHECK(guard.begin("ann", "192.0.2.0/24", kStart + LoginGuard::kKnownFor + 4s) == 30s);
  }

  TEST_CASE("memory is bounded, and what was touched last stays") {
    LoginGuard guard(100);
    for (int i = 0; i < 10; ++i) guard.begin("ann", "10.0.0.0/24", kStart);
    for (int i = 0; i < 10'000; ++i) {
      guard.begin("user" + std::to_string(i), "10.0." + std::to_string(i) + ".0/24", kStart);
      guard.succeeded("user" + std::to_string(i), "10.0." + std::to_string(i) + ".0/24", kStart);
      if (i % 50 == 0) guard.begin("ann", "10.9.9.0/24", kStart);
      CHECK(guard.kept() <= 300);
    }
    CHECK(guard.begin("ann", "10.9.8.0/24", kStart) == 30s);
    CHECK(guard.begin("user5", "10.0.5.0/24", kStart) == 0s);
  }

  TEST_CASE("a clock that stands or goes back does no harm") {
    LoginGuard guard;
    for (int i = 0; i < 6; ++i) guard.begin("ann", "10.0.0.0/24", kStart);
    CHECK(guard.begin("ann", "10.0.0.0/24", kStart - 1h) == 8s);
  }
}

}  // namespace
}  // namespace waypost::mta
