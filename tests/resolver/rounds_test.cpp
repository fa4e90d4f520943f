#include "resolver/rounds.h"

#include <doctest/doctest.h>

namespace waypost::resolver {

namespace {
std::vector<std::size_t> all_of(Rounds& rounds) {
  std::vector<std::size_t> asked;
  for (std::optional<std::size_t> next = rounds.next(); next; next = rounds.next()) asked.push_back(*next);
  return asked;
}
}  // namespace

TEST_SUITE("resolver/rounds") {
  TEST_CASE("each server once a round, in the order given") {
    Rounds rounds({2, 0, 1}, 2);
    CHECK(all_of(rounds) == std::vector<std::size_t>{2, 0, 1, 2, 0, 1});
    CHECK(rounds.next() == std::nullopt);
  }

  TEST_CASE("one that answered is not asked again") {
    Rounds rounds({0, 1}, 3);
    CHECK(rounds.next() == 0U);
    rounds.strike();
    CHECK(all_of(rounds) == std::vector<std::size_t>{1, 1, 1});
  }

  TEST_CASE("the last that answers ends it") {
    Rounds rounds({0, 1}, 3);
    rounds.next();
    rounds.strike();
    rounds.next();
    rounds.strike();
    CHECK(rounds.next() == std::nullopt);
  }

  TEST_CASE("without servers or tries there is nobody to ask") {
    CHECK(Rounds({}, 3).next() == std::nullopt);
    CHECK(Rounds({0}, 0).next() == std::nullopt);
  }
}

}  // namespace waypost::resolver
