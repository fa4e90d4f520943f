#include "queue/schedule.h"

#include <doctest/doctest.h>

namespace waypost::queue {
namespace {

Due due(std::uint64_t id, const std::string& destination, std::size_t recipients = 1) {
  auto info = std::make_shared<MessageInfo>();
  info->id = Id{id};
  Due out;
  out.message = info;
  out.destination = destination;
  out.recipients.resize(recipients);
  return out;
}

Schedule small() {
  return Schedule(Schedule::Limits{10, 4});
}

}  // namespace

TEST_SUITE("queue/schedule") {
  TEST_CASE("what is added is taken in its order, once") {
    Schedule schedule = small();
    CHECK(schedule.add(due(1, "a")));
    CHECK(schedule.add(due(2, "a")));
    CHECK_FALSE(schedule.add(due(1, "a")));
    CHECK(schedule.take("a")->message->id == Id{1});
    CHECK_FALSE(schedule.add(due(1, "a")));  // in flight
    CHECK(schedule.take("a")->message->id == Id{2});
    CHECK_FALSE(schedule.take("a"));
    CHECK_FALSE(schedule.take("b"));
  }

  TEST_CASE("a finished message may come again") {
    Schedule schedule = small();
    CHECK(schedule.add(due(1, "a")));
    const Due taken = *schedule.take("a");
    CHECK_FALSE(schedule.add(due(1, "a")));
    schedule.finished(taken);
    CHECK(schedule.held() == 0);
    CHECK(schedule.add(due(1, "a")));
  }

  TEST_CASE("a backlog leaves room for the others, and more is wanted when half of its room is free") {
    Schedule schedule = small();
    for (std::uint64_t id = 1; id <= 4; ++id) CHECK(schedule.add(due(id, "a")));
    CHECK_FALSE(schedule.add(due(5, "a")));
    CHECK(schedule.add(due(6, "b")));
    CHECK_FALSE(schedule.wants_more());
    schedule.finished(*schedule.take("a"));
    CHECK_FALSE(schedule.wants_more());
    schedule.finished(*schedule.take("a"));
    CHECK(schedule.wants_more());
    schedule.read_again();
    CHECK_FALSE(schedule.wants_more());
  }

  TEST_CASE("a full window wants nothing until there is room") {
    Schedule schedule = small();
    for (std::uint64_t id = 1; id <= 4; ++id) CHECK(schedule.add(due(id, "a")));
    for (std::uint64_t id = 1; id <= 4; ++id) CHECK(schedule.add(due(id, "b")));
    CHECK(schedule.add(due(1, "c", 2)));
    CHECK_FALSE(schedule.has_room());
    CHECK_FALSE(schedule.add(due(1, "d")));
    CHECK_FALSE(schedule.wants_more());
    for (int n = 0; n < 3; ++n) {
      schedule.finished(*schedule.take("a"));
      CHECK_FALSE(schedule.wants_more());
    }
    schedule.finished(*schedule.take("a"));  // room for the backlog of one destination
    CHECK(schedule.has_room());
    CHECK(schedule.wants_more());
  }

  TEST_CASE("what is new does not overtake what is left in the store") {
    Schedule schedule = small();
    for (std::uint64_t id = 1; id <= 4; ++id) CHECK(schedule.add_new(due(id, "a")));
    CHECK_FALSE(schedule.add_new(due(5, "a")));
    schedule.finished(*schedule.take("a"));
    CHECK_FALSE(schedule.add_new(due(6, "a")));
    CHECK(schedule.add_new(due(7, "b")));
    schedule.read_again();
    CHECK(schedule.add(due(5, "a")));
  }

  TEST_CASE("destinations that found no room cost no memory") {
    Schedule schedule = small();
    CHECK(schedule.add(due(1, "a", 10)));
    CHECK_FALSE(schedule.add(due(2, "b")));
    CHECK_FALSE(schedule.holds("b"));
    schedule.finished(*schedule.take("a"));
    CHECK(schedule.wants_more());
    CHECK(schedule.add_new(due(3, "b")));
    CHECK(schedule.holds("b"));
  }

  TEST_CASE("a message with more recipients than there is room for goes in alone") {
    Schedule schedule = small();
    CHECK(schedule.add(due(1, "a", 100)));
    CHECK_FALSE(schedule.add(due(2, "a")));
    schedule.finished(*schedule.take("a"));
    CHECK(schedule.held() == 0);
  }

  TEST_CASE("dropping what waits leaves what is in flight") {
    Schedule schedule = small();
    CHECK(schedule.add(due(1, "a")));
    CHECK(schedule.add(due(2, "a")));
    const Due taken = *schedule.take("a");
    schedule.drop_waiting("a");
    CHECK(schedule.held() == 1);
    CHECK(schedule.waiting("a") == 0);
    CHECK_FALSE(schedule.claim(Id{1}, "a"));
    CHECK(schedule.add(due(2, "a")));
    schedule.drop_waiting();
    CHECK(schedule.wants_more());
    schedule.finished(taken);
    CHECK(schedule.held() == 0);
  }

  TEST_CASE("a claimed message is not taken for an attempt") {
    Schedule schedule = small();
    CHECK(schedule.add(due(1, "a")));
    CHECK(schedule.add(due(2, "a")));
    CHECK(schedule.claim(Id{1}, "a"));
    CHECK_FALSE(schedule.claim(Id{1}, "a"));
    CHECK(schedule.take("a")->message->id == Id{2});
    CHECK_FALSE(schedule.claim(Id{2}, "a"));
    CHECK(schedule.claim(Id{3}, "a"));  // not in the window
    CHECK_FALSE(schedule.add(due(3, "a")));
    schedule.release(Id{1}, "a");
    schedule.release(Id{3}, "a");
    CHECK(schedule.held() == 1);
    CHECK(schedule.add(due(3, "a")));
  }
}

}  // namespace waypost::queue
