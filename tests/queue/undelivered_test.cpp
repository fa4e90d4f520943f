// What the postmaster is to be told (Undelivered), and what notifications need to know of recipients.
#include <doctest/doctest.h>

#include "queue/backup.h"
#include "queue/check.h"
#include "queue/salvage.h"
#include "tests/queue/queue_fixture.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;
using Kind = HistoryEvent::Kind;

namespace {

RecipientOutcome ended(std::uint32_t index, Event event) {
  RecipientOutcome out;
  out.index = index;
  out.event = event;
  out.status = "5.1.1";
  out.reply = "550 5.1.1 nobody";
  out.host = "mx.b.example[192.0.2.7]:25";
  return out;
}

/// Recipients of a message with a null reverse-path end.
Result<bool> end(QueueFixture& f, Id id, std::vector<std::uint32_t> indexes, Event event) {
  Settlement settlement;
  settlement.message = id;
  settlement.for_digest = true;
  for (const std::uint32_t index : indexes) settlement.recipients.push_back(ended(index, event));
  return f.run(f.store->settle(std::move(settlement)));
}

Undelivered untold(QueueFixture& f) {
  Result<Undelivered> found = f.run(f.store->undelivered());
  REQUIRE(found);
  return *std::move(found);
}

Notification digest(QueueFixture& f) {
  Notification out = f.notification("postmaster@here.example");
  out.message.origin.listener = Origin::kDigest;
  return out;
}

/// Mail of nobody that fails, `count` times.
void fail_some(QueueFixture& f, int count) {
  for (int i = 0; i < count; ++i)
    REQUIRE(end(f, f.accept(f.message("", {"r" + std::to_string(i) + "@b.example"})), {0}, Event::attempt_failed));
}

}  // namespace

TEST_SUITE("queue/undelivered") {
  TEST_CASE("what fails or expires of the null reverse-path is noted with its end, and stays through a restart") {
    QueueFixture f;
    CHECK(untold(f).entries.empty());
    const Id id = f.accept(f.message("", {"0@b.example", "1@b.example", "2@b.example", "3@b.example"}));
    std::uint64_t commits = f.queue->stats().commits;
    REQUIRE(end(f, id, {1}, Event::attempt_failed));
    CHECK(f.queue->stats().commits == commits + 1);
    REQUIRE(end(f, id, {2}, Event::attempt_relayed));
    REQUIRE(end(f, id, {3}, Event::attempt_deferred));
    REQUIRE(end(f, id, {1}, Event::attempt_failed));  // it has ended: without effect
    const net::WallTime first = f.now();
    f.runtime.advance(std::chrono::hours(1));
    REQUIRE(end(f, id, {0, 3}, Event::lifetime_over));
    REQUIRE(f.settle(f.accept(f.message("s@a.example", {"r@b.example"})), {0}, Event::attempt_failed));
    f.reopen();
    const Undelivered found = untold(f);
    REQUIRE(found.entries.size() == 3);
    CHECK(found.more == 0);
    const Undelivered::Entry& one = found.entries[0];
    CHECK(one.message == id);
    CHECK(one.at == first);
    CHECK(one.address == "1@b.example");
    CHECK(one.status == "5.1.1");
    CHECK(one.reply == "550 5.1.1 nobody");
    CHECK(one.host == "mx.b.example[192.0.2.7]:25");
    CHECK(found.entries[1].address == "0@b.example");
    CHECK(found.entries[2].address == "3@b.example");
    CHECK(found.entries[2].at == first + std::chrono::hours(1));
  }

  TEST_CASE("a digest and what it tells are one transaction; what came meanwhile is for the next one") {
    QueueFixture f;
    fail_some(f, 2);
    const Undelivered told = untold(f);
    fail_some(f, 1);
    Notification bad = digest(f);
    bad.message.id = f.accept(f.message("s@a.example", {"r@b.example"}));  // taken: the insert fails
    CHECK_FALSE(f.run(f.store->commit_digest(bad, told)));
    CHECK(untold(f).entries.size() == 3);

    const Notification good = digest(f);
    f.arrived.clear();
    const std::uint64_t commits = f.queue->stats().commits;
    REQUIRE(f.run(f.store->commit_digest(good, told)));
    CHECK(f.queue->stats().commits == commits + 1);
    REQUIRE(f.arrived.size() == 1);
    CHECK(f.arrived[0].message->id == good.message.id);
    CHECK(f.arrived[0].message->reverse_path.is_null());
    CHECK(f.history.kinds(good.message.id) == std::vector<Kind>{Kind::accepted});
    CHECK(untold(f).entries.size() == 1);
    f.reopen();
    CHECK(f.body(good.message.id) == good.body);
    CHECK(untold(f).entries.size() == 1);
    REQUIRE(f.run(f.store->commit_digest(digest(f), untold(f))));
    CHECK(untold(f).entries.empty());
  }

  TEST_CASE("a digest that cannot be delivered causes no other one") {
    QueueFixture f;
    fail_some(f, 1);
    const Notification told = digest(f);
    REQUIRE(f.run(f.store->commit_digest(told, untold(f))));
    REQUIRE(end(f, told.message.id, {0}, Event::attempt_failed));
    CHECK(f.count().messages == 0);
    CHECK(untold(f).entries.empty());
    CHECK(f.history.kinds(told.message.id) == std::vector<Kind>{Kind::accepted, Kind::bounced});
  }

  TEST_CASE("of more than a hundred the first are kept, the others counted; none is counted twice") {
    QueueFixture f;
    fail_some(f, 103);
    const Undelivered told = untold(f);
    REQUIRE(told.entries.size() == Undelivered::kMaxEntries);
    CHECK(told.entries.front().address == "r0@b.example");
    CHECK(told.entries.back().address == "r99@b.example");
    CHECK(told.more == 3);
    fail_some(f, 4);
    f.reopen();
    REQUIRE(f.run(f.store->commit_digest(digest(f), told)));
    CHECK(untold(f).entries.empty());
    CHECK(untold(f).more == 4);
    fail_some(f, 1);
    const Undelivered next = untold(f);
    CHECK(next.entries.size() == 1);
    CHECK(next.upto > told.upto);
    REQUIRE(f.run(f.store->commit_digest(digest(f), next)));
    CHECK(untold(f).entries.empty());
    CHECK(untold(f).more == 0);
  }

  TEST_CASE("check, backup and salvage know of it") {
    QueueFixture f;
    NewMessage message = f.message("s@a.example", {"0@b.example", "1@b.example"});
    message.warn_at = f.now();
    const Id id = f.accept(message);
    Settlement warning;
    warning.message = id;
    warning.warned = true;
    warning.delay_told = {1};
    REQUIRE(f.run(f.store->settle(warning)));
    fail_some(f, 102);
    f.close();
    const Result<CheckReport> checked = check_folder(f.folder.path());
    REQUIRE(checked);
    CHECK(checked->found == 0);
    TemporaryFolder outside;
    REQUIRE(back_up_folder(f.folder.path(), outside.path() + "/copy"));
    REQUIRE(salvage(f.folder.path(), outside.path() + "/salvaged"));
    for (const char* name : {"/copy", "/salvaged"}) {
      CAPTURE(name);
      QueueFixture other;
      other.close();
      std::filesystem::copy(
          outside.path() + name, other.folder.path(),
          std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
      other.reopen();
      const Undelivered found = untold(other);
      CHECK(found.entries.size() == Undelivered::kMaxEntries);
      CHECK(found.more == 2);
      CHECK(found.entries.front().reply == "550 5.1.1 nobody");
      other.runtime.advance(f.now() - other.now());
      const std::vector<Due> due = other.due();
      REQUIRE(due.size() == 1);
      REQUIRE(due[0].recipients.size() == 2);
      CHECK_FALSE(due[0].recipients[0].delay_told);
      CHECK(due[0].recipients[1].delay_told);
    }
    f.tamper("INSERT INTO undelivered(message, time, address, status, reply, host) VALUES (1, 1, '', '', '', '')");
    const Result<CheckReport> again = check_folder(f.folder.path());
    REQUIRE(again);
    REQUIRE(again->found == 1);
    CHECK(again->findings[0].text.find("101 entries") != std::string::npos);
  }

  TEST_CASE("whose sender was told of the delay is known of each recipient, once") {
    QueueFixture f;
    NewMessage message = f.message("s@a.example", {"0@b.example", "1@b.example", "2@b.example"});
    message.warn_at = f.now();
    const Id id = f.accept(message);
    Settlement warning;
    warning.message = id;
    warning.warned = true;
    warning.delay_told = {0, 2};
    REQUIRE(f.run(f.store->settle(warning)));
    warning.delay_told = {1};
    REQUIRE(f.run(f.store->settle(warning)));  // it was warned of: without effect
    REQUIRE(f.settle(id, {0, 1}, Event::attempt_deferred));
    f.reopen();
    f.runtime.advance(std::chrono::hours(1));
    const std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    REQUIRE(due[0].recipients.size() == 3);
    for (const DueRecipient& recipient : due[0].recipients) CHECK(recipient.delay_told == (recipient.index != 1));
  }

  TEST_CASE("what each host said the last time is kept until the next attempt, whatever an administrator does") {
    QueueFixture f;
    const Id id = f.accept(f.message("s@a.example", {"0@b.example", "1@c.example"}));
    Settlement attempt;
    attempt.message = id;
    attempt.recipients.push_back(ended(0, Event::attempt_deferred));
    attempt.recipients[0].asked = "mx1 could not be reached: refused\nmx2 answered: 450 later";
    REQUIRE(f.run(f.store->settle(attempt)));
    DestinationState state;
    state.name = "c.example";
    state.failures = 1;
    state.next_attempt = f.now() + std::chrono::hours(1);
    state.asked = "mx3 could not be reached: refused\nmx4 could not be reached: refused";
    REQUIRE(f.run(f.store->settle_destination(state)));
    f.change(Change::hold, "");
    f.change(Change::release, "");
    f.reopen();
    Result<Overdue> found = f.run(f.store->unsettled(id));
    REQUIRE(found);
    REQUIRE(found->recipients.size() == 2);
    CHECK(found->recipients[0].last_asked == attempt.recipients[0].asked);
    CHECK(found->recipients[1].last_asked.empty());
    CHECK(found->destinations[1].asked == state.asked);
    attempt.recipients[0].asked.clear();
    REQUIRE(f.run(f.store->settle(attempt)));
    CHECK(f.run(f.store->unsettled(id))->recipients[0].last_asked.empty());
  }

  TEST_CASE("a destination that waits with its site has what the hosts of that said") {
    QueueFixture f;
    const Id id = f.accept(f.message("s@a.example", {"r@b.example"}));
    DestinationState site;
    site.kind = DestinationState::Kind::site;
    site.name = "10 mx.b.example:25";
    site.failures = 1;
    site.next_attempt = f.now() + std::chrono::hours(1);
    site.asked = "mx1 could not be reached: refused\nmx2 could not be reached: refused";
    REQUIRE(f.run(f.store->settle_destination(site)));
    REQUIRE(f.run(f.store->join_site("b.example", site.name, f.now() + std::chrono::hours(1))));
    CHECK(f.run(f.store->unsettled(id))->destinations.at(0).asked == site.asked);
  }

  TEST_CASE("a queue of version 3 is brought up to date, with its mail") {
    QueueFixture f;
    const Id id = f.accept(f.message("s@a.example", {"r@b.example"}));
    REQUIRE(f.settle(id, {0}, Event::attempt_deferred, {}, std::chrono::seconds(0)));
    for (const char* sql :
         {"DROP INDEX recipient_due", "ALTER TABLE recipient DROP COLUMN in_due",
          "ALTER TABLE recipient DROP COLUMN size",
          "CREATE INDEX recipient_due ON recipient(destination, flow, next_attempt) WHERE state = 0",
          "ALTER TABLE recipient DROP COLUMN delay_told", "ALTER TABLE recipient DROP COLUMN asked",
          "ALTER TABLE destination DROP COLUMN asked", "DROP TABLE undelivered", "DROP INDEX recipient_held",
          "DROP INDEX recipient_kept", "CREATE INDEX recipient_held ON recipient(destination) WHERE state = 1",
          "ALTER TABLE destination DROP COLUMN aside_from", "ALTER TABLE destination DROP COLUMN aside_to",
          "ALTER TABLE recipient DROP COLUMN change", "ALTER TABLE recipient DROP COLUMN was", "DROP TABLE change",
          "PRAGMA user_version = 3"})
      f.tamper(sql);
    // Rows that were written before have fewer columns.
    TemporaryFolder outside;
    REQUIRE(salvage(f.folder.path(), outside.path() + "/salvaged"));
    CHECK(check_folder(outside.path() + "/salvaged")->recipients == 1);
    f.reopen();
    const std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    CHECK(due[0].message->id == id);
    CHECK_FALSE(due[0].recipients.at(0).delay_told);
    CHECK(due[0].recipients.at(0).last_reply == "452 4.2.2 Mailbox full");
    fail_some(f, 1);
    CHECK(untold(f).entries.size() == 1);
  }
}
