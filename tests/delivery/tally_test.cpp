#include "delivery/tally.h"

#include <doctest/doctest.h>

namespace waypost::delivery {
namespace {

queue::Due three() {
  auto info = std::make_shared<queue::MessageInfo>();
  queue::Due due;
  due.message = info;
  due.recipients.resize(3);
  for (std::uint32_t i = 0; i < 3; ++i) due.recipients[i].index = i + 10;
  return due;
}

Outcome of(queue::Event event, bool next = false) {
  Outcome outcome;
  outcome.event = event;
  outcome.try_next_host = next;
  return outcome;
}

}  // namespace

TEST_SUITE("delivery/tally") {
  TEST_CASE("a recipient is open until an outcome that no other host can better") {
    Tally tally(three());
    CHECK(tally.open().size() == 3);
    tally.record({0, 1, 2}, {of(queue::Event::attempt_relayed), of(queue::Event::attempt_deferred, true),
                             of(queue::Event::attempt_failed)});
    CHECK(tally.open() == std::vector<std::size_t>{1});
    CHECK(tally.recipients(tally.open()).front().index == 11);
    CHECK_FALSE(tally.any_unlearnt());
    tally.record({1}, {of(queue::Event::attempt_relayed)});
    CHECK_FALSE(tally.any_open());
    CHECK(tally.entries()[1].outcome.event == queue::Event::attempt_relayed);
  }

  TEST_CASE("where only hosts failed nothing is learnt of a recipient") {
    Tally tally(three());
    tally.record({2}, {of(queue::Event::attempt_failed)});
    tally.stop();
    CHECK_FALSE(tally.any_open());
    CHECK(tally.any_unlearnt());
    CHECK(tally.entries()[2].learnt);
    CHECK_FALSE(tally.entries()[0].learnt);
    tally.learn_rest(of(queue::Event::attempt_deferred));
    CHECK_FALSE(tally.any_unlearnt());
    CHECK_FALSE(tally.any_open());
    CHECK(tally.entries()[2].outcome.event == queue::Event::attempt_failed);
  }

  TEST_CASE("what a host took can be settled before the next is tried, the rest after the last") {
    Tally tally(three());
    CHECK(tally.unsettled().empty());
    tally.record({0, 1, 2}, {of(queue::Event::attempt_relayed), of(queue::Event::attempt_deferred, true),
                             of(queue::Event::attempt_failed)});
    CHECK(tally.taken() == std::vector<std::size_t>{0});
    CHECK(tally.unsettled() == std::vector<std::size_t>{0, 1, 2});
    tally.settled(tally.taken());
    CHECK(tally.taken().empty());
    tally.record({1}, {of(queue::Event::attempt_relayed)});
    CHECK(tally.taken() == std::vector<std::size_t>{1});
    CHECK(tally.unsettled() == std::vector<std::size_t>{1, 2});
  }

  TEST_CASE("what another host could have taken is no end while that host may come back") {
    for (const bool again : {false, true}) {
      Tally tally(three());
      Outcome fails;
      fails.event = queue::Event::attempt_failed;
      fails.status = "5.6.3";
      Outcome here = fails;
      fails.try_next_host = true;
      tally.record({0, 1}, {fails, here});
      tally.stop(again);
      CHECK(tally.entries()[0].outcome.event ==
            (again ? queue::Event::attempt_deferred : queue::Event::attempt_failed));
      CHECK(tally.entries()[0].outcome.status == (again ? "4.6.3" : "5.6.3"));
      CHECK(tally.entries()[1].outcome.event == queue::Event::attempt_failed);
    }
  }

  TEST_CASE("closing gives all that are open one outcome and leaves the others") {
    Tally tally(three());
    tally.record({0}, {of(queue::Event::attempt_relayed)});
    tally.close(of(queue::Event::attempt_deferred, true));
    CHECK_FALSE(tally.any_open());
    CHECK_FALSE(tally.any_unlearnt());
    CHECK(tally.entries()[0].outcome.event == queue::Event::attempt_relayed);
    CHECK(tally.entries()[1].outcome.event == queue::Event::attempt_deferred);
  }
}

}  // namespace waypost::delivery
