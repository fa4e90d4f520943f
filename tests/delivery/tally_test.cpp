#include "delivery/tally.h"

#include <doctest/doctest.h>

#include "delivery/disposition.h"

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

  TEST_CASE("what each host did is kept of each recipient, and told where there were several") {
    Tally tally(three());
    HostFailure refused;
    refused.host = "mx1.b.test[192.0.2.1]:25";
    refused.reason = "connection refused";
    tally.host_failed(refused);
    CHECK(tally.entries()[0].asked.lines().empty());  // a single one: its reply is in the report
    CHECK(tally.asked_in_vain().empty());
    Outcome nobody = of(queue::Event::attempt_failed);
    nobody.host = "mx2.b.test[192.0.2.2]:2525";
    nobody.reply = "550 5.1.1 no such user";
    Outcome busy = of(queue::Event::attempt_deferred, true);
    busy.host = nobody.host;
    busy.reply = "450 4.2.1 busy";
    tally.record({0, 1}, {nobody, busy});
    const std::string first = "mx1.b.test [192.0.2.1] could not be reached: connection refused";
    CHECK(tally.entries()[0].asked.lines() ==
          std::vector<std::string>{first, "mx2.b.test [192.0.2.2]:2525 answered: 550 5.1.1 no such user"});
    HostFailure lost;
    lost.host = "mx3.b.test[192.0.2.3]:25";
    lost.status = "4.4.2";
    lost.reason = "lost connection while awaiting the greeting";
    tally.host_failed(lost);
    CHECK(tally.entries()[0].asked.lines().size() == 2);  // it was no concern of theirs any more
    CHECK(tally.entries()[1].asked.text() ==
          first +
              "\nmx2.b.test [192.0.2.2]:2525 answered: 450 4.2.1 busy"
              "\nmx3.b.test [192.0.2.3] did not take it: lost connection while awaiting the greeting");
    CHECK(tally.asked_in_vain() ==
          first + "\nmx3.b.test [192.0.2.3] did not take it: lost connection while awaiting the greeting");
    tally.stop();
    tally.learn_rest(from_host_failure(lost));
    CHECK(tally.entries()[2].asked.lines().size() == 2);
    CHECK(tally.asked_in_vain().empty());
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
