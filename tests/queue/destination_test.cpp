#include <algorithm>

#include <doctest/doctest.h>

#include "queue/destination_operations.h"
#include "queue/sqlite.h"
#include "tests/queue/queue_fixture.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;
using std::chrono::hours;
using std::chrono::minutes;
using Kind = DestinationState::Kind;

namespace {

constexpr Sql kOfOffice{
    "SELECT count(*) FROM recipient r JOIN destination d ON d.id = r.destination WHERE d.name = 'a.example/office'"};
constexpr const char* kSite = "10 mx.shared.example:25";

DestinationState failing(const QueueFixture& f, const std::string& name, Kind kind, net::Duration wait) {
  DestinationState state;
  state.kind = kind;
  state.name = name;
  state.failures = 3;
  state.next_attempt = f.now() + wait;
  state.failing_since = f.now();
  state.status = "4.4.1";
  state.reason = "refused by all";
  state.host = "mx.shared.example[192.0.2.7]:25";
  return state;
}

void join(QueueFixture& f, const std::string& destination, const std::string& site) {
  REQUIRE(f.run(f.store->join_site(destination, site, f.now() + hours(3))));
}

DestinationChange change(const QueueFixture& f, DestinationChange::Kind kind, const std::string& name) {
  DestinationChange out;
  out.kind = kind;
  out.name = name;
  out.until = f.now() + hours(2);
  out.reason = "their migration";
  out.now = f.now();
  return out;
}

/// Three destinations with a message each, of which two share a site that fails for an hour.
struct Shared : QueueFixture {
  Shared() {
    for (const char* name : {"a.example", "b.example", "c.example"})
      accept(message("s@s.example", {"r@" + std::string(name)}));
    REQUIRE(run(store->settle_destination(failing(*this, kSite, Kind::site, hours(1)))));
    join(*this, "a.example", kSite);
    join(*this, "b.example", kSite);
  }
};

}  // namespace

TEST_SUITE("queue/destination") {
  TEST_CASE("what a site did is told of each of its destinations, and one row is all that is written") {
    Shared f;
    const std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    CHECK(due[0].destination == "c.example");
    CHECK(f.next_due == f.now() + hours(1));
    for (const MessageRow& row : f.list().messages) {
      const bool waits = row.recipients[0].destination != "c.example";
      CHECK(row.recipients[0].reply == (waits ? "refused by all" : ""));
      CHECK((row.recipients[0].next_attempt == (waits ? f.now() + hours(1) : f.now())));
    }
    CHECK(f.count("error:\"refused by all\"").messages == 2);
    CHECK(f.count("state:active").messages == 1);
    const std::uint64_t operations = f.queue->stats().operations;
    REQUIRE(f.run(f.store->settle_destination(failing(f, kSite, Kind::site, hours(2)))));
    CHECK(f.queue->stats().operations == operations + 1);
    CHECK(f.due().size() == 1);
    CHECK(f.next_due == f.now() + hours(2));
  }

  TEST_CASE("a site that may be asked again: one of its destinations is due; all are when it is well") {
    Shared f;
    f.runtime.advance(hours(1));
    std::vector<Due> due = f.due();
    REQUIRE(due.size() == 2);
    CHECK(due[0].destination == "a.example");
    CHECK(due[1].destination == "c.example");
    DestinationState well;
    well.kind = Kind::site;
    well.name = kSite;
    REQUIRE(f.run(f.store->settle_destination(well)));
    CHECK(f.due().size() == 3);
  }

  TEST_CASE("a destination waits with its site for a while: then its hosts are looked up again") {
    Shared f;
    DestinationState longer = failing(f, kSite, Kind::site, hours(48));
    REQUIRE(f.run(f.store->settle_destination(longer)));
    CHECK(f.due().size() == 1);
    f.runtime.advance(hours(3));
    CHECK(f.due().size() == 3);
    REQUIRE(f.run(f.store->join_site("a.example", "", f.now())));
    REQUIRE(f.run(f.store->join_site("b.example", kSite, f.now() + hours(1))));
    CHECK(f.due().size() == 2);
  }

  TEST_CASE("retry asks the site too; other mail of it follows with it") {
    Shared f;
    const Changed changed = f.change(Change::retry, "destination:a.example");
    CHECK(changed.messages == 1);
    CHECK(f.due().size() == 2);

    // In smaller pages, too.
    std::size_t due = 0, pages = 0;
    DueQuery query;
    query.now = f.now();
    query.limit = 1;
    do {
      Result<DuePage> page = f.run(f.store->due(query));
      REQUIRE(page);
      due += page->due.size();
      query.resume = page->resume;
      ++pages;
    } while (query.resume);
    CHECK(due == 2);
    CHECK(pages > 2);
  }

  TEST_CASE("a destination that is held is not due, nor overdue, until the hold ends or is released") {
    QueueFixture f;
    f.accept(f.message("s@s.example", {"r@a.example"}));
    REQUIRE(f.run(f.store->change_destination(change(f, DestinationChange::Kind::hold, "a.example"))));
    CHECK(f.due().empty());
    CHECK(f.next_due == f.now() + hours(2));
    CHECK(f.count("state:active").messages == 0);
    // The hold is nothing that an attempt changes.
    REQUIRE(f.run(f.store->settle_destination(failing(f, "a.example", Kind::destination, minutes(1)))));
    f.runtime.advance(hours(1));
    CHECK(f.due().empty());
    f.runtime.advance(hours(1));
    CHECK(f.due().size() == 1);

    DestinationChange long_one = change(f, DestinationChange::Kind::hold, "a.example");
    long_one.until = f.now() + hours(24 * 30);
    REQUIRE(f.run(f.store->change_destination(long_one)));
    f.runtime.advance(hours(24 * 20));
    Result<std::vector<Overdue>> overdue = f.run(f.store->overdue(f.now(), 10));
    REQUIRE(overdue);
    CHECK(overdue->empty());
    REQUIRE(f.run(f.store->change_destination(change(f, DestinationChange::Kind::resume, "a.example"))));
    CHECK(f.due().size() == 1);
    f.runtime.advance(hours(3));  // it is tried first
    overdue = f.run(f.store->overdue(f.now(), 10));
    REQUIRE(overdue);
    CHECK(overdue->empty());
    f.runtime.advance(hours(2));
    overdue = f.run(f.store->overdue(f.now(), 10));
    REQUIRE(overdue);
    CHECK(overdue->size() == 1);
    const Result<> none = f.run(f.store->change_destination(change(f, DestinationChange::Kind::resume, "z.example")));
    REQUIRE_FALSE(none);
    CHECK(none.error().code == Errc::not_found);
  }

  TEST_CASE("the list: what fails or is held, a site once, with what waits for it; and one by its name") {
    Shared f;
    f.accept(f.message("s@s.example", {"q@b.example"}));
    Result<std::vector<DestinationRow>> rows = f.run(f.store->destinations("", true, f.now()));
    REQUIRE(rows);
    REQUIRE(rows->size() == 1);
    CHECK((*rows)[0].state.name == kSite);
    CHECK((*rows)[0].state.kind == Kind::site);
    CHECK((*rows)[0].waiting == 3);
    DestinationChange hold = change(f, DestinationChange::Kind::hold, "c.example");
    REQUIRE(f.run(f.store->change_destination(hold)));
    hold.name = "a.example";
    hold.with_site = true;
    hold.reason = "moving";
    REQUIRE(f.run(f.store->change_destination(hold)));
    rows = f.run(f.store->destinations("", true, f.now()));
    REQUIRE(rows);
    REQUIRE(rows->size() == 2);
    CHECK((*rows)[0].state.held_reason == "moving");
    CHECK((*rows)[1].state.name == "c.example");
    rows = f.run(f.store->destinations("b.example", true, f.now()));
    REQUIRE(rows);
    REQUIRE(rows->size() == 2);
    CHECK((*rows)[0].waiting == 2);
    CHECK((*rows)[0].state.failures == 0);
    CHECK((*rows)[1].state.name == kSite);
    CHECK((*rows)[1].waiting == 3);
    rows = f.run(f.store->destinations("z.example", true, f.now()));
    REQUIRE(rows);
    CHECK(rows->empty());
    hold.name = "c.example";
    CHECK_FALSE(f.run(f.store->change_destination(hold)));  // it waits with no site
  }

  TEST_CASE("new routes: nothing waits any more for what failed on the old ones") {
    Shared f;
    REQUIRE(f.run(f.store->settle_destination(failing(f, "c.example", Kind::destination, hours(1)))));
    Result<bool> differ = f.run(f.store->compare_routes(7, f.now()));
    REQUIRE(differ);
    CHECK(*differ);
    CHECK(f.due().size() == 3);
    REQUIRE(f.run(f.store->settle_destination(failing(f, "c.example", Kind::destination, hours(1)))));
    f.reopen();
    differ = f.run(f.store->compare_routes(7, f.now()));
    REQUIRE(differ);
    CHECK_FALSE(*differ);
    CHECK(f.due().size() == 2);
  }

  TEST_CASE("what waits is gone through, and put elsewhere; what is damaged stays to be found") {
    QueueFixture f;
    std::vector<Id> ids;
    for (int i = 0; i < 3; ++i) {
      NewMessage message = f.message("s@s.example", {"r@a.example", "s@a.example", "t@b.example"});
      message.origin.user = "ann";
      ids.push_back(f.accept(std::move(message)));
    }
    Result<WaitingPage> page = f.run(f.store->waiting(Id()));
    REQUIRE(page);
    REQUIRE(page->due.size() == 6);
    CHECK(page->resume == ids.back());
    CHECK(page->due[0].message->id == ids[0]);
    CHECK(page->due[0].message->user == "ann");
    CHECK(page->due[0].message->reverse_path.text() == "s@s.example");
    CHECK(page->due[0].destination == "a.example");
    REQUIRE(page->due[0].recipients.size() == 2);
    CHECK(page->due[1].destination == "b.example");
    CHECK(page->due[1].recipients[0].index == 2);
    Result<WaitingPage> end = f.run(f.store->waiting(ids.back()));
    REQUIRE(end);
    CHECK(end->due.empty());
    CHECK_FALSE(end->resume);

    REQUIRE(f.run(f.store->settle_destination(failing(f, "a.example", Kind::destination, hours(1)))));
    std::vector<Due> moved(page->due.begin(), page->due.begin() + 1);
    moved[0].destination = "a.example/office";
    moved[0].recipients.resize(1);
    REQUIRE(f.run(f.store->redirect(std::move(moved), f.now())));
    std::vector<std::string> due;
    for (const Due& each : f.due()) due.push_back(each.destination);
    CHECK(std::count(due.begin(), due.end(), "a.example/office") == 1);
    CHECK(std::count(due.begin(), due.end(), "a.example") == 0);
    f.reopen();
    CHECK(f.due().size() == 4);

    // What is held stays where it is.
    DestinationChange hold = change(f, DestinationChange::Kind::hold, "b.example");
    REQUIRE(f.run(f.store->change_destination(hold)));
    std::vector<Due> held(page->due.begin() + 1, page->due.begin() + 2);
    held[0].destination = "b.example/office";
    REQUIRE(f.run(f.store->redirect(std::move(held), f.now())));
    Result<WaitingPage> after = f.run(f.store->waiting(Id()));
    REQUIRE(after);
    for (const Due& each : after->due) CHECK(each.destination != "b.example/office");

    f.tamper("UPDATE recipient SET address = 'x@a.example' WHERE idx = 1");
    f.reopen();
    std::vector<Due> damaged(page->due.begin() + 2, page->due.begin() + 3);
    damaged[0].destination = "a.example/office";
    REQUIRE(f.run(f.store->redirect(std::move(damaged), f.now())));
    f.close();
    Result<Database> db = Database::open(f.folder.path() + "/queue.db", "", Database::Mode::read_only);
    REQUIRE(db);
    Run row(*db, kOfOffice);
    REQUIRE(row.step());
    CHECK(row.integer(0) == 2);  // of the first message, and of the second the one that is sound
  }

  TEST_CASE("a queue of version 1 is brought up to date, with its back-off") {
    QueueFixture f;
    f.accept(f.message("s@s.example", {"r@a.example"}));
    f.accept(f.message("s@s.example", {"r@c.example"}));
    REQUIRE(f.run(f.store->settle_destination(failing(f, "a.example", Kind::destination, hours(1)))));
    f.close();
    {
      Result<Database> db = Database::open(f.folder.path() + "/queue.db", "", Database::Mode::read_write);
      REQUIRE(db);
      for (const char* sql : {"ALTER TABLE destination DROP COLUMN kind",
                              "ALTER TABLE destination DROP COLUMN site",
                              "ALTER TABLE destination DROP COLUMN held_until",
                              "ALTER TABLE destination DROP COLUMN held_reason",
                              "ALTER TABLE destination DROP COLUMN spacing",
                              "ALTER TABLE destination DROP COLUMN slow_until",
                              "ALTER TABLE destination DROP COLUMN slow_reason",
                              "ALTER TABLE destination DROP COLUMN site_until",
                              "DELETE FROM meta WHERE key = 'routes'",
                              "DROP INDEX recipient_due",
                              "ALTER TABLE recipient DROP COLUMN in_due",
                              "ALTER TABLE recipient DROP COLUMN size",
                              "ALTER TABLE recipient DROP COLUMN flow",
                              "ALTER TABLE recipient DROP COLUMN delay_told",
                              "ALTER TABLE recipient DROP COLUMN asked",
                              "ALTER TABLE destination DROP COLUMN asked",
                              "DROP TABLE undelivered",
                              "CREATE INDEX recipient_due ON recipient(destination, next_attempt) WHERE state = 0",
                              "DROP INDEX recipient_held",
                              "DROP INDEX recipient_kept",
                              "CREATE INDEX recipient_held ON recipient(destination) WHERE state = 1",
                              "ALTER TABLE destination DROP COLUMN aside_from",
                              "ALTER TABLE destination DROP COLUMN aside_to",
                              "ALTER TABLE recipient DROP COLUMN change",
                              "ALTER TABLE recipient DROP COLUMN was",
                              "DROP TABLE change",
                              "PRAGMA user_version = 1"})
        REQUIRE(db->run(sql));
    }
    f.reopen();
    const std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    CHECK(due[0].destination == "c.example");
    CHECK(f.next_due == f.now() + hours(1));
  }
}
