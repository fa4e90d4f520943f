#include <algorithm>
#include <map>
#include <set>

#include <doctest/doctest.h>

#include "queue/due_operations.h"
#include "tests/queue/queue_fixture.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;
using std::chrono::hours;
using std::chrono::minutes;

namespace {

DestinationState failing(const QueueFixture& f, const std::string& name, net::Duration wait) {
  DestinationState state;
  state.name = name;
  state.failures = 1;
  state.next_attempt = f.now() + wait;
  state.failing_since = f.now();
  state.status = "4.4.1";
  state.reason = "refused";
  return state;
}

}  // namespace

TEST_SUITE("queue/due") {
  TEST_CASE("a dead destination costs one update, and reading what is due does not walk its backlog") {
    QueueFixture f;
    accept_many(f, 10'000, "dead.example");
    accept_many(f, 1, "alive.example");
    std::uint64_t operations = f.queue->stats().operations;
    REQUIRE(f.run(f.store->settle_destination(failing(f, "dead.example", hours(1)))));
    CHECK(f.queue->stats().operations == operations + 1);

    std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    CHECK(due[0].destination == "alive.example");
    CHECK(f.next_due == f.now() + hours(1));

    // The same by the steps of SQLite's machine: some dozens, not tens of thousands.
    f.close();
    Result<Database> db = Database::open(f.folder.path() + "/queue.db", "", Database::Mode::read_write);
    REQUIRE(db);
    auto steps_of = [&db](const char* sql, std::int64_t first, std::int64_t second) {
      Run run(*db, std::string(sql));
      run << first;
      if (second >= 0) run << second;
      REQUIRE(run.step());
      CHECK(run.full_scan_steps() == 0);
      return run.machine_steps();
    };
    CHECK(steps_of("SELECT destination FROM recipient INDEXED BY recipient_due WHERE in_due = 1 AND destination > ?1 "
                   "ORDER BY destination LIMIT 1",
                   1, -1) < 50);
  }

  TEST_CASE("destinations take turns: a backlog of one does not keep another out of a page") {
    QueueFixture f;
    accept_many(f, 3'000, "big.example");
    for (int i = 0; i < 20; ++i) f.accept(f.message("s@a.example", {"r@small" + std::to_string(i) + ".example"}));
    DueQuery query;
    query.limit = 150;
    query.per_destination = 100;
    query.now = f.now();
    Result<DuePage> page = f.run(f.store->due(query));
    REQUIRE(page);
    std::map<std::string, int> count;
    for (const Due& due : page->due) count[due.destination] += 1;
    CHECK(count["big.example"] == 100);
    CHECK(count.size() == 21);
    CHECK_FALSE(page->resume);
  }

  TEST_CASE("flows of a destination share a page alike, and what some do not need is for the others") {
    QueueFixture f;
    accept_many(f, 3'000, "big.example");
    for (int i = 0; i < 30; ++i)
      for (int n = 0; n < 3; ++n)
        f.accept(f.message("s@sender" + std::to_string(i) + ".example", {std::to_string(n) + "@big.example"}));
    for (const std::uint64_t chance : {0ULL, 1ULL << 27, 0xFFFF'FFFFULL, 12345ULL << 40}) {
      CAPTURE(chance);
      DueQuery query;
      query.limit = 10'000;
      query.per_destination = 200;
      query.now = f.now();
      query.chance = chance;
      Result<DuePage> page = f.run(f.store->due(query));
      REQUIRE(page);
      std::map<std::uint32_t, int> count;
      for (const Due& due : page->due) count[due.flow.value] += 1;
      CHECK(count.size() == 31);
      CHECK(page->due.size() == 200);
      std::vector<int> each;
      for (const auto& [flow, messages] : count) each.push_back(messages);
      std::sort(each.begin(), each.end());
      CHECK(each.front() == 3);
      CHECK(each.back() == 110);
      REQUIRE(page->more.size() == 1);
      const NewMessage of_backlog = f.message("s@a.example", {"r@b.example"});
      const Origin& origin = of_backlog.origin;
      CHECK(page->more[0].flow == flow_of(Priority::normal, origin.user, origin.client, "a.example"));
      query.per_destination = 20;
      page = f.run(f.store->due(query));
      REQUIRE(page);
      CHECK(page->due.size() == 20);
      std::set<std::uint32_t> flows;
      for (const Due& due : page->due) flows.insert(due.flow.value);
      CHECK(flows.size() == 20);
    }
  }

  TEST_CASE("pages follow each other, with so many of each destination") {
    QueueFixture f;
    for (int i = 0; i < 30; ++i) accept_many(f, 10, "d" + std::to_string(i) + ".example");
    DueQuery query;
    query.limit = 40;
    query.per_destination = 5;
    std::vector<Due> first = f.due(query);
    std::map<std::string, std::size_t> count;
    for (const Due& due : first) count[due.destination] += 1;
    CHECK(count.size() == 30);
    CHECK(first.size() == 150);
  }

  TEST_CASE("oldest first within a destination") {
    QueueFixture f;
    std::vector<Id> ids;
    for (int i = 0; i < 5; ++i) {
      ids.push_back(f.accept(f.message("s@a.example", {"r@b.example"})));
      f.runtime.advance(std::chrono::seconds(1));
    }
    REQUIRE(f.settle(ids[0], {0}, Event::attempt_deferred, {}, std::chrono::seconds(0)));
    std::vector<Due> due = f.due();
    REQUIRE(due.size() == 5);
    CHECK(due[0].message->id == ids[1]);
    CHECK(due[4].message->id == ids[0]);
  }

  TEST_CASE("next_due is the earliest later moment, of a recipient or of its destination") {
    QueueFixture f;
    Id one = f.accept(f.message("s@a.example", {"r@b.example"}));
    CHECK(f.due().size() == 1);
    CHECK_FALSE(f.next_due);
    REQUIRE(f.settle(one, {0}, Event::attempt_deferred, {}, minutes(30)));
    f.due();
    CHECK(f.next_due == f.now() + minutes(30));
    // The recipient is due before its destination is.
    REQUIRE(f.run(f.store->settle_destination(failing(f, "b.example", hours(2)))));
    f.due();
    CHECK(f.next_due == f.now() + hours(2));
    // The destination before the recipient: when that one is due is looked at then.
    REQUIRE(f.run(f.store->settle_destination(failing(f, "b.example", minutes(1)))));
    f.due();
    CHECK(f.next_due == f.now() + minutes(1));
    f.runtime.advance(minutes(1));
    f.due();
    CHECK(f.next_due == f.now() + minutes(29));
  }

  TEST_CASE("a destination that recovers is due at once") {
    QueueFixture f;
    f.accept(f.message("s@a.example", {"r@b.example"}));
    REQUIRE(f.run(f.store->settle_destination(failing(f, "b.example", hours(2)))));
    CHECK(f.due().empty());
    DestinationState well;
    well.name = "b.example";
    REQUIRE(f.run(f.store->settle_destination(well)));
    CHECK(f.due().size() == 1);
    CHECK(f.destinations.at("b.example").failures == 0);
  }

  TEST_CASE("overdue: first for its warning, then for its expiry") {
    QueueFixture f;
    NewMessage message = f.message("s@a.example", {"0@b.example", "1@c.example"});
    message.warn_at = f.now() + hours(4);
    Id id = f.accept(message);
    REQUIRE(f.run(f.store->settle_destination(failing(f, "c.example", hours(200)))));
    CHECK(f.run(f.store->overdue(f.now(), 10))->empty());

    f.runtime.advance(hours(4));
    Result<std::vector<Overdue>> overdue = f.run(f.store->overdue(f.now(), 10));
    REQUIRE(overdue);
    REQUIRE(overdue->size() == 1);
    const Overdue& first = overdue->front();
    CHECK(first.message->id == id);
    CHECK_FALSE(first.expired);
    REQUIRE(first.recipients.size() == 2);
    REQUIRE(first.destinations.size() == 2);
    CHECK(first.destinations[0].failures == 0);
    CHECK(first.destinations[1].name == "c.example");
    CHECK(first.destinations[1].reason == "refused");

    Settlement warned;
    warned.message = id;
    warned.warned = true;
    warned.notifications.push_back(f.notification("s@a.example"));
    REQUIRE(f.run(f.store->settle(warned)));
    CHECK(f.count().messages == 2);
    CHECK(f.run(f.store->overdue(f.now(), 10))->empty());
    // A second warning is without effect: its notification is not sent.
    warned.notifications[0] = f.notification("s@a.example");
    REQUIRE(f.run(f.store->settle(warned)));
    CHECK(f.count().messages == 2);

    f.runtime.advance(hours(116));
    overdue = f.run(f.store->overdue(f.now(), 10));
    REQUIRE(overdue);
    REQUIRE(overdue->size() == 1);
    CHECK(overdue->front().expired);
    REQUIRE(f.settle(id, {0, 1}, Event::lifetime_over, {f.notification("s@a.example")}));
    CHECK(f.list(id.text()).messages.empty());
  }

  TEST_CASE("overdue: ended and held recipients are not named, a message of held ones is looked at later") {
    QueueFixture f;
    Id mixed = f.accept(f.message("s@a.example", {"0@b.example", "1@b.example", "2@b.example"}));
    Id held = f.accept(f.message("s@a.example", {"3@b.example"}));
    REQUIRE(f.settle(mixed, {0}, Event::attempt_relayed));
    CHECK(f.change(Change::hold, "to:1@b.example").recipients == 1);
    CHECK(f.change(Change::hold, "to:3@b.example").recipients == 1);
    f.runtime.advance(hours(121));
    Result<std::vector<Overdue>> overdue = f.run(f.store->overdue(f.now(), 10));
    REQUIRE(overdue);
    REQUIRE(overdue->size() == 1);
    CHECK(overdue->front().message->id == mixed);
    REQUIRE(overdue->front().recipients.size() == 1);
    CHECK(overdue->front().recipients[0].index == 2);
    // Released, it is found after the hour.
    CHECK(f.change(Change::release, held.text()).recipients == 1);
    CHECK(f.run(f.store->overdue(f.now(), 10))->size() == 1);
    f.runtime.advance(hours(1));
    CHECK(f.run(f.store->overdue(f.now(), 10))->size() == 2);
  }

  TEST_CASE("overdue: a page of held messages hides nothing behind it") {
    QueueFixture f;
    accept_many(f, 50, "b.example");
    f.change(Change::hold, "");
    f.runtime.advance(std::chrono::seconds(1));
    Id behind = f.accept(f.message("s@a.example", {"r@c.example"}));
    f.runtime.advance(hours(121));
    Result<std::vector<Overdue>> overdue = f.run(f.store->overdue(f.now(), 10));
    REQUIRE(overdue);
    REQUIRE(overdue->size() == 1);
    CHECK(overdue->front().message->id == behind);
  }

  TEST_CASE("destinations that nobody needs go away at a start, those of held and failing mail stay") {
    QueueFixture f;
    Id gone = f.accept(f.message("s@a.example", {"r@gone.example"}));
    f.accept(f.message("s@a.example", {"r@held.example"}));
    f.accept(f.message("s@a.example", {"r@waiting.example"}));
    f.change(Change::hold, "destination:held.example");
    REQUIRE(f.settle(gone, {0}, Event::attempt_relayed));
    DestinationState state = failing(f, "failing.example", hours(1));
    state.next_attempt = net::WallTime(net::Duration(4'000'000'000'000));
    REQUIRE(f.run(f.store->settle_destination(state)));
    f.reopen();
    f.close();
    constexpr const char* kAll = "SELECT count(*) FROM destination";
    const auto count = [&f](const char* sql) {
      Result<Database> db = Database::open(f.folder.path() + "/queue.db", "", Database::Mode::read_write);
      REQUIRE(db);
      return db->value(sql).value_or(9);
    };
    CHECK(count(kAll) == 3);
    CHECK(count("SELECT count(*) FROM destination WHERE name = 'gone.example'") == 0);

    // A queue of version 5 did not write down that something is held.
    for (const char* sql :
         {"DROP INDEX recipient_due", "ALTER TABLE recipient DROP COLUMN in_due",
          "ALTER TABLE recipient DROP COLUMN size",
          "CREATE INDEX recipient_due ON recipient(destination, flow, next_attempt) WHERE state = 0",
          "DROP INDEX recipient_held", "DROP INDEX recipient_kept", "ALTER TABLE destination DROP COLUMN aside_from",
          "ALTER TABLE destination DROP COLUMN aside_to",
          "CREATE INDEX recipient_held ON recipient(destination) WHERE state = 1",
          "CREATE INDEX recipient_kept ON recipient(destination) WHERE state = 6 AND change > 0",
          "PRAGMA user_version = 5"})
      f.tamper(sql);
    f.reopen();
    f.reopen();
    f.close();
    CHECK(count(kAll) == 3);
    f.reopen();
    f.change(Change::remove, "destination:held.example");
    f.reopen();
    f.close();
    CHECK(count(kAll) == 3);
    f.tamper("UPDATE recipient SET change = 0 WHERE state = 6");
    f.reopen();
    f.close();
    CHECK(count(kAll) == 2);

    // What is held of others, before and after, keeps no row but its own.
    f.reopen();
    f.accept(f.message("s@a.example", {"r@before.example"}));
    const Id between = f.accept(f.message("s@a.example", {"r@between.example"}));
    f.change(Change::hold, "destination:before.example");
    f.change(Change::hold, "destination:between.example");
    f.accept(f.message("s@a.example", {"r@after.example"}));
    f.change(Change::hold, "destination:after.example");
    f.change(Change::release, "destination:between.example");
    REQUIRE(f.settle(between, {0}, Event::attempt_relayed));
    f.reopen();
    f.close();
    CHECK(count("SELECT count(*) FROM destination WHERE name = 'between.example'") == 0);
    CHECK(count("SELECT count(*) FROM destination WHERE name IN ('before.example', 'after.example')") == 2);
  }
}
