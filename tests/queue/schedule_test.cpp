#include "queue/schedule.h"

#include <algorithm>

#include <doctest/doctest.h>

namespace waypost::queue {
namespace {

Due due(std::uint64_t id, const std::string& destination, std::size_t recipients = 1, Flow flow = {}) {
  auto info = std::make_shared<MessageInfo>();
  info->id = Id{id};
  Due out;
  out.message = info;
  out.destination = destination;
  out.recipients.resize(recipients);
  out.flow = flow;
  return out;
}

Schedule small() {
  return Schedule(Schedule::Limits{10, 4});
}

void finish(Schedule& schedule, const Due& due) {
  schedule.finished(due.message->id, due.destination, due.recipients.size());
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

  TEST_CASE("what has just come waits for its destination") {
    Schedule schedule = small();
    CHECK(schedule.add_new(due(1, "a")));
    CHECK(schedule.waiting("a") == 1);
    CHECK(schedule.waiting("") == 0);
    CHECK(schedule.take("a")->message->id == Id{1});
  }

  TEST_CASE("a finished message may come again") {
    Schedule schedule = small();
    CHECK(schedule.add(due(1, "a")));
    const Due taken = *schedule.take("a");
    CHECK_FALSE(schedule.add(due(1, "a")));
    finish(schedule, taken);
    CHECK(schedule.held() == 0);
    CHECK(schedule.add(due(1, "a")));
  }

  TEST_CASE("what is kept out never comes again, is not claimed, and takes room") {
    Schedule schedule = small();
    for (std::uint64_t id = 1; id <= 9; ++id) {
      const std::string destination(1, static_cast<char>('a' + id));
      CHECK(schedule.add(due(id, destination)));
      const Due taken = *schedule.take(destination);
      schedule.keep_out(taken.message->id, destination);
      finish(schedule, taken);
      CHECK_FALSE(schedule.add(due(id, destination)));
      CHECK_FALSE(schedule.add_new(due(id, destination)));
      CHECK_FALSE(schedule.claim(Id{id}, destination));
      CHECK_FALSE(schedule.holds(destination));
    }
    CHECK(schedule.claim(Id{1}, "elsewhere"));
    CHECK(schedule.room() == 1);
    CHECK_FALSE(schedule.has_room());
    CHECK(schedule.add(due(20, "a")));
    CHECK_FALSE(schedule.add(due(21, "a")));
  }

  TEST_CASE("recipients that became due while others of their message are in flight are read after them") {
    Schedule schedule = small();
    CHECK(schedule.add(due(1, "a")));
    const Due taken = *schedule.take("a");
    CHECK_FALSE(schedule.add(due(1, "a")));  // those that are in flight
    CHECK_FALSE(schedule.add(due(1, "a", 2)));
    CHECK_FALSE(schedule.wants_more());
    finish(schedule, taken);
    CHECK(schedule.wants_more());
    schedule.read_again();
    CHECK_FALSE(schedule.wants_more());
    CHECK(schedule.add(due(1, "a")));
  }

  TEST_CASE("a backlog leaves room for the others, and more is wanted when half of its room is free") {
    Schedule schedule = small();
    for (std::uint64_t id = 1; id <= 4; ++id) CHECK(schedule.add(due(id, "a")));
    CHECK_FALSE(schedule.add(due(5, "a")));
    CHECK(schedule.add(due(6, "b")));
    CHECK_FALSE(schedule.wants_more());
    finish(schedule, *schedule.take("a"));
    CHECK_FALSE(schedule.wants_more());
    finish(schedule, *schedule.take("a"));
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
      finish(schedule, *schedule.take("a"));
      CHECK_FALSE(schedule.wants_more());
    }
    finish(schedule, *schedule.take("a"));  // room for the backlog of one destination
    CHECK(schedule.has_room());
    CHECK(schedule.wants_more());
  }

  TEST_CASE("what is new does not overtake what is left in the store") {
    Schedule schedule = small();
    for (std::uint64_t id = 1; id <= 4; ++id) CHECK(schedule.add_new(due(id, "a")));
    CHECK_FALSE(schedule.add_new(due(5, "a")));
    finish(schedule, *schedule.take("a"));
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
    finish(schedule, *schedule.take("a"));
    CHECK(schedule.wants_more());
    CHECK(schedule.add_new(due(3, "b")));
    CHECK(schedule.holds("b"));
  }

  TEST_CASE("a message with more recipients than there is room for goes in alone") {
    Schedule schedule = small();
    CHECK(schedule.add(due(1, "a", 100)));
    CHECK_FALSE(schedule.add(due(2, "a")));
    finish(schedule, *schedule.take("a"));
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
    finish(schedule, taken);
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

  TEST_CASE("a message's recipients at other destinations are found, and taken with it") {
    using Places = std::vector<std::string>;
    Schedule schedule = small();
    for (const char* destination : {"a", "b", "c"}) CHECK(schedule.add(due(1, destination)));
    CHECK(schedule.add(due(2, "b")));
    CHECK(schedule.take("a")->message->id == Id{1});
    Places beside = schedule.waits_beside(Id{1}, "a");
    std::sort(beside.begin(), beside.end());
    CHECK(beside == Places{"b", "c"});
    CHECK(schedule.find(Id{1}, "b") != nullptr);
    CHECK(schedule.find(Id{1}, "a") == nullptr);  // in flight

    CHECK(schedule.take(Id{1}, "b")->destination == "b");
    CHECK_FALSE(schedule.take(Id{1}, "b"));
    CHECK_FALSE(schedule.add(due(1, "b")));  // in flight
    CHECK_FALSE(schedule.claim(Id{1}, "b"));
    CHECK(schedule.waiting("b") == 1);
    CHECK(schedule.waits_beside(Id{1}, "a") == Places{"c"});
    schedule.drop_waiting("c");
    CHECK(schedule.waits_beside(Id{1}, "a").empty());
    CHECK(schedule.held() == 3);
    schedule.finished(Id{1}, "b", 1);
    CHECK(schedule.add(due(1, "b")));
    CHECK(schedule.claim(Id{1}, "b"));
    CHECK(schedule.waits_beside(Id{1}, "a").empty());
    CHECK(schedule.take("b")->message->id == Id{2});
  }

  TEST_CASE("flows take turns, as often as their class says; a new one does not wait for a backlog's end") {
    Schedule schedule(Schedule::Limits{1000, 500});
    const Flow bulk = flow_of(Priority::bulk, "list", "", "a.example");
    const Flow normal = flow_of(Priority::normal, "ann", "", "a.example");
    const Flow high = flow_of(Priority::high, "alarm", "", "a.example");
    for (std::uint64_t id = 1; id <= 300; ++id) CHECK(schedule.add(due(id, "a", 1, bulk)));
    for (std::uint64_t id = 1001; id <= 1100; ++id) CHECK(schedule.add(due(id, "a", 1, normal)));
    std::string order;
    for (int n = 0; n < 15; ++n) order += schedule.take("a")->flow == bulk ? 'b' : 'n';
    CHECK(order == "bnnnnbnnnnbnnnn");
    CHECK(schedule.add_new(due(2000, "a", 1, high)));
    CHECK(schedule.take("a")->message->id == Id{2000});
    CHECK(schedule.waiting("a") == 385);
  }

  TEST_CASE("what is high goes first, in its order, but others have their turn") {
    Schedule schedule(Schedule::Limits{1000, 500});
    const Flow normal{1U << 28 | 1}, first{1}, second{2};
    for (std::uint64_t id = 1; id <= 100; ++id) CHECK(schedule.add(due(id, "a", 1, normal)));
    std::string order;
    for (std::uint64_t n = 0; n < 40; ++n) {
      // As many come as go: each flow has one, and then none.
      CHECK(schedule.add_new(due(1000 + n, "a", 1, n % 2 == 0 ? first : second)));
      const Due taken = *schedule.take("a");
      order += taken.flow == normal ? 'n' : 'h';
      finish(schedule, taken);
    }
    CHECK(std::count(order.begin(), order.end(), 'n') == 2);
    CHECK(schedule.add_new(due(2000, "b", 1, first)));
    CHECK(schedule.add_new(due(2001, "b", 1, second)));
    CHECK(schedule.take("b")->message->id == Id{2000});
  }

  TEST_CASE("what is new goes ahead of a backlog in the store if nothing of its flow is there, within a bound") {
    Schedule schedule(Schedule::Limits{100, 8});
    const Flow bulk{2U << 28 | 1}, ann{1U << 28 | 2}, bob{1U << 28 | 3};
    for (std::uint64_t id = 1; id <= 8; ++id) CHECK(schedule.add(due(id, "a", 1, bulk)));
    CHECK_FALSE(schedule.add_new(due(9, "a", 1, bulk)));
    CHECK(schedule.add_new(due(10, "a", 1, ann)));
    CHECK(schedule.add_new(due(11, "a", 1, bob)));
    CHECK_FALSE(schedule.add_new(due(12, "a", 1, ann)));  // a quarter
    CHECK_FALSE(schedule.add_new(due(13, "a", 1, ann)));  // behind that one
    const Due first = *schedule.take("a");
    CHECK(first.flow == bulk);
    const Due second = *schedule.take("a");
    CHECK(second.flow == ann);
    finish(schedule, second);
    CHECK_FALSE(schedule.add_new(due(14, "a", 1, ann)));
    CHECK(schedule.add_new(due(15, "a", 1, Flow{1U << 28 | 4})));
    // They do not keep the backlog from being read on.
    finish(schedule, first);
    for (int n = 0; n < 5; ++n) finish(schedule, *schedule.take("a"));
    CHECK(schedule.wants_more());
    schedule.set_more("a", Flow{1U << 28 | 5});
    CHECK_FALSE(schedule.add_new(due(16, "a", 1, Flow{1U << 28 | 5})));
    schedule.read_again();
    CHECK(schedule.add_new(due(16, "a", 1, Flow{1U << 28 | 5})));
    schedule.drop_waiting("a");
    CHECK(schedule.held() == 0);
  }

  TEST_CASE("flows: a sender is a login, or a client's network, and a domain") {
    const auto flow = [](const char* login, const char* client, const char* domain) {
      return flow_of(Priority::normal, login, client, domain);
    };
    CHECK(flow("Ann", "192.0.2.1", "a.example") == flow("ann", "192.0.2.9", "A.example"));
    CHECK(flow("", "2001:db8::1", "a.example") == flow("", "2001:db8::ffff:2", "a.example"));
    CHECK_FALSE(flow("", "2001:db8::1", "a.example") == flow("", "2001:db8:0:1::1", "a.example"));
    CHECK_FALSE(flow("", "192.0.2.1", "a.example") == flow("", "192.0.2.2", "a.example"));
    CHECK_FALSE(flow("ann", "", "a.example") == flow("ann", "", "b.example"));
    CHECK_FALSE(flow("ann", "", "a.example") == flow_of(Priority::bulk, "ann", "", "a.example"));
    for (const Priority priority : {Priority::high, Priority::normal, Priority::bulk})
      CHECK(flow_of(priority, "ann", "", "").priority() == priority);
    CHECK(Flow{0xFFFFFFFF}.priority() == Priority::bulk);
  }
}

}  // namespace waypost::queue
