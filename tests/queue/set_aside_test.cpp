// What is held or removed, in the index of what is due.
#include <algorithm>

#include <doctest/doctest.h>
#include <sqlite3.h>

#include "queue/due_operations.h"
#include "queue/upkeep.h"
#include "tests/queue/queue_fixture.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;

namespace {

/// On the closed queue.
std::int64_t value(QueueFixture& f, const std::string& sql) {
  f.close();
  Result<Database> db = Database::open(f.folder.path() + "/queue.db", "", Database::Mode::read_write);
  REQUIRE(db);
  Result<std::int64_t> found = db->value(sql.c_str());
  REQUIRE(found);
  return *found;
}

/// How many of them are in the index.
std::int64_t in_due(QueueFixture& f, const std::string& where) {
  const std::int64_t found =
      value(f, "SELECT count(*) FROM recipient INDEXED BY recipient_due WHERE in_due = 1 AND " + where);
  f.reopen();
  return found;
}

/// One operation between two others, as the storage thread may have it. The queue is closed.
template <class T>
void apply(QueueFixture& f, T& operation) {
  Result<Database> db = Database::open(f.folder.path() + "/queue.db", "", Database::Mode::read_write);
  REQUIRE(db);
  REQUIRE(operation.apply(*db));
}

}  // namespace

TEST_SUITE("queue/set_aside") {
  TEST_CASE("what is held or removed leaves the index when it comes up, keeps nothing else out, and comes back") {
    QueueFixture f;
    accept_many(f, 700, "big.example");
    const Id alone = f.accept(f.message("s@a.example", {"r@small.example"}));
    f.change(Change::hold, "destination:big.example");
    CHECK(in_due(f, "state = 1") == 700);
    // At once it is as it was.
    f.change(Change::release, "destination:big.example");
    CHECK(f.count("state:held").messages == 0);
    DueQuery all;
    all.per_destination = 1'000;
    CHECK(f.due(all).size() == 701);
    f.change(Change::hold, "destination:big.example");

    const std::vector<Due> found = f.due();
    REQUIRE(found.size() == 1);
    CHECK(found[0].message->id == alone);
    CHECK(in_due(f, "state = 1") == 0);
    CHECK(f.due().size() == 1);

    // And comes back, by an undo, to when it was to be tried.
    const Changed removed = f.change(Change::remove, "destination:small.example");
    CHECK(in_due(f, "state = 6") == 1);
    CHECK(f.due().empty());
    CHECK(in_due(f, "state = 6") == 0);
    REQUIRE(f.undo(removed.number));
    CHECK(f.due().size() == 1);
    f.change(Change::release, "destination:big.example");
    CHECK(in_due(f, "state = 0") == 701);
    CHECK(f.due(all).size() == 701);
  }

  TEST_CASE("between the look and the taking out: what was released stays, what ended is not touched") {
    QueueFixture f;
    const Id released = f.accept(f.message("s@a.example", {"r@b.example"}));
    const Id removed = f.accept(f.message("s@a.example", {"r@b.example"}));
    const Id held = f.accept(f.message("s@a.example", {"r@b.example"}));
    f.change(Change::hold, "destination:b.example");
    f.close();
    DueQuery query;
    query.now = f.now();
    DueOperation look(query, DueOperation::SetAside::find);
    apply(f, look);
    CHECK(look.set_aside.size() == 3);
    CHECK(look.page.due.empty());
    REQUIRE(look.page.resume);
    CHECK(look.page.resume->destination == 0);

    f.reopen();
    f.change(Change::release, released.text());
    f.change(Change::remove, removed.text(), false, true);
    f.close();
    TakeOutOperation out(look.set_aside);
    apply(f, out);
    CHECK(out.any);
    f.reopen();
    CHECK(in_due(f, "state = 0") == 1);
    CHECK(in_due(f, "state <> 0") == 0);
    std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    CHECK(due[0].message->id == released);

    // Once more, after all of it changed: nothing is left to take out, and nothing is taken.
    f.change(Change::release, held.text());
    f.close();
    TakeOutOperation late(look.set_aside);
    apply(f, late);
    CHECK_FALSE(late.any);
    f.reopen();
    CHECK(f.due().size() == 2);
  }

  TEST_CASE("what was read before others were taken out and ended since is in no page") {
    QueueFixture f;
    const Id first = f.accept(f.message("s@a.example", {"r@a.example"}));
    accept_many(f, 10, "b.example");
    const Id last = f.accept(f.message("s@a.example", {"r@c.example"}));
    f.change(Change::hold, "destination:b.example");
    DueQuery query;
    query.now = f.now();
    Result<DuePage> page = f.run(f.store->due(query));
    REQUIRE(page);
    REQUIRE(page->due.size() == 1);
    CHECK(page->due[0].message->id == first);
    REQUIRE(f.settle(first, {0}, Event::attempt_relayed));
    REQUIRE(page->resume);
    query.resume = page->resume;
    page = f.run(f.store->due(query));
    REQUIRE(page);
    CHECK(page->due.empty());
    CHECK(page->destinations.empty());
    REQUIRE(page->resume);
    query.resume = page->resume;
    page = f.run(f.store->due(query));
    REQUIRE(page);
    REQUIRE(page->due.size() == 1);
    CHECK(page->due[0].message->id == last);
    CHECK_FALSE(page->resume);
  }

  TEST_CASE("damage, good mail and thousands that are held at one destination: the good mail comes") {
    QueueFixture f;
    accept_many(f, 2'500, "b.example");
    f.change(Change::hold, "destination:b.example");
    f.runtime.advance(std::chrono::seconds(1));
    const Id damaged = f.accept(f.message("s@a.example", {"r@b.example"}));
    const Id good = f.accept(f.message("s@a.example", {"r@b.example"}));
    f.damage(damaged);
    DueQuery query;
    query.now = f.now();
    query.per_destination = 10;
    std::size_t pages = 0;
    std::vector<Due> found;
    do {
      Result<DuePage> page = f.run(f.store->due(query));
      REQUIRE(page);
      for (Due& each : page->due) found.push_back(std::move(each));
      query.resume = page->resume;
      REQUIRE(++pages < 40);
    } while (query.resume);
    REQUIRE(found.size() == 1);
    CHECK(found[0].message->id == good);
    CHECK(f.due(query).size() == 1);
    CHECK(in_due(f, "state = 1") == 0);
    CHECK(f.count("state:held").recipients == 2'501);
  }

  TEST_CASE("what is passed asks for no site: another of its destinations does") {
    QueueFixture f;
    f.accept(f.message("s@a.example", {"r@held.example"}));
    const Id good = f.accept(f.message("s@a.example", {"r@good.example"}));
    DestinationState site;
    site.kind = DestinationState::Kind::site;
    site.name = "10 mx.example:25";
    site.failures = 3;
    site.next_attempt = f.now() + std::chrono::hours(1);
    REQUIRE(f.run(f.store->settle_destination(site)));
    for (const char* name : {"held.example", "good.example"})
      REQUIRE(f.run(f.store->join_site(name, site.name, f.now() + std::chrono::hours(9))));
    f.change(Change::hold, "destination:held.example");
    f.runtime.advance(std::chrono::hours(1));
    f.close();
    DueQuery query;
    query.now = f.now();
    DueOperation pass(query, DueOperation::SetAside::pass);
    apply(f, pass);
    REQUIRE(pass.page.due.size() == 1);
    CHECK(pass.page.due[0].message->id == good);
    f.reopen();
  }

  TEST_CASE("how many wait is told beside those that are held, and that not all were looked at") {
    QueueFixture f;
    const auto row = [&f](const char* name) {
      Result<std::vector<DestinationRow>> rows = f.run(f.store->destinations(name, true, f.now()));
      REQUIRE(rows);
      REQUIRE(rows->size() == 1);
      return rows->front();
    };
    accept_many(f, 20, "b.example");
    CHECK(row("b.example").waiting == 20);
    f.change(Change::hold, "to:1*@b.example");
    CHECK(row("b.example").waiting == 9);
    CHECK_FALSE(row("b.example").more);
    accept_many(f, 5'000, "b.example");
    CHECK(row("b.example").waiting <= 5'000);
    CHECK(row("b.example").more);
  }

  TEST_CASE("an index that names what is not in it: passed, page by page, and the mail comes") {
    QueueFixture f;
    accept_many(f, 1'200, "b.example");
    f.change(Change::hold, "destination:b.example");
    f.due();
    CHECK(in_due(f, "state = 1") == 0);
    const Id good = f.accept(f.message("s@a.example", {"r@b.example"}));
    f.accept(f.message("s@other.example", {"r@b.example"}));  // of another flow
    f.accept(f.message("s@a.example", {"r@c.example"}));
    f.close();
    sqlite3* raw = nullptr;  // a Database does not let its schema be changed like this
    REQUIRE(sqlite3_open((f.folder.path() + "/queue.db").c_str(), &raw) == SQLITE_OK);
    CHECK(sqlite3_exec(raw,
                       "DROP INDEX recipient_due; "
                       "CREATE INDEX recipient_due ON recipient(destination, flow, next_attempt); "
                       "PRAGMA writable_schema = ON; "
                       "UPDATE sqlite_schema SET sql = sql || ' WHERE in_due = 1' WHERE name = 'recipient_due'",
                       nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(raw);
    f.reopen();
    DueQuery query;
    query.per_destination = 10;
    std::vector<Due> due = f.due(query);
    REQUIRE(due.size() == 3);
    CHECK(due[2].destination == "c.example");
    // Whichever of the flows comes first.
    for (const Flow first : {due[0].flow, due[1].flow}) {
      query.chance = first.value;
      due = f.due(query);
      REQUIRE(due.size() == 3);
      CHECK(due[0].flow.value == first.value);
      CHECK((due[0].message->id == good || due[1].message->id == good));
    }
  }

  TEST_CASE("a queue of version 6, with recipients of all states") {
    QueueFixture f;
    const Id deferred = f.accept(f.message("s@a.example", {"0@b.example", "1@b.example", "2@b.example"}));
    const Id held = f.accept(f.message("s@a.example", {"3@b.example"}));
    const Id kept = f.accept(f.message("s@a.example", {"4@b.example"}));
    REQUIRE(f.settle(deferred, {0}, Event::attempt_relayed));
    REQUIRE(f.settle(deferred, {1}, Event::attempt_deferred, {}, std::chrono::seconds(0)));
    f.change(Change::hold, held.text());
    const std::uint64_t removal = f.change(Change::remove, kept.text()).number;
    f.tamper(
        "DROP INDEX recipient_due; ALTER TABLE recipient DROP COLUMN in_due; ALTER TABLE recipient DROP COLUMN size; "
        "CREATE INDEX recipient_due ON recipient(destination, flow, next_attempt) WHERE state = 0; "
        "PRAGMA user_version = 6");
    f.reopen();
    CHECK(value(f, "SELECT count(*) FROM recipient WHERE in_due = (state = 0)") ==
          value(f, "SELECT count(*) FROM recipient"));
    CHECK(value(f, "SELECT count(*) FROM recipient r JOIN message m ON m.id = r.message AND m.size = r.size") ==
          value(f, "SELECT count(*) FROM recipient"));
    CHECK(value(f, "PRAGMA user_version") == 7);
    Result<CheckReport> report = check_folder(f.folder.path());
    REQUIRE(report);
    CHECK(report->found == 0);
    f.reopen();
    std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    CHECK(due[0].recipients.size() == 2);
    f.change(Change::release, held.text());
    REQUIRE(f.undo(removal));
    CHECK(f.due().size() == 3);
  }

  TEST_CASE("store check: a recipient that waits and is not in the index, or is of another size than its message") {
    QueueFixture f;
    f.accept(f.message("s@a.example", {"r@b.example"}));
    f.tamper("UPDATE recipient SET in_due = 0, size = size + 1");
    Result<CheckReport> report = check_folder(f.folder.path());
    REQUIRE(report);
    REQUIRE(report->found == 2);
    CHECK(report->findings[0].text.find("of another size than its message") != std::string::npos);
    CHECK(report->findings[1].text.find("not in the index of what is due") != std::string::npos);
    f.reopen();
  }
}
