// Backups under load, checks, restores; a copy that lacks its WAL (RELIABILITY F21).
#include "queue/backup.h"

#include <doctest/doctest.h>

#include "queue/check.h"
#include "queue/lock.h"
#include "queue/restore.h"
#include "tests/queue/queue_fixture.h"
#include "tests/queue/store_files.h"
#include "tests/support/fake_files.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;
namespace fs = std::filesystem;

namespace {

Result<CheckReport> check(const std::string& folder) {
  Result<CheckReport> report = check_folder(folder);
  if (report)
    for (const Finding& finding : report->findings) MESSAGE(finding.text);
  return report;
}

Result<BackupReport> back_up(QueueFixture& f, const std::string& folder) {
  return f.run(f.queue->back_up(f.runtime, folder, std::stop_token(), nullptr));
}

/// Mail of all sizes, in many pages.
std::vector<Id> fill(QueueFixture& f, int count) {
  std::vector<Id> ids;
  for (int i = 0; i < count; ++i) {
    std::string body(i % 10 == 0 ? 100'000 : 500 + 3000 * static_cast<std::size_t>(i % 9),
                     static_cast<char>('a' + i % 26));
    ids.push_back(f.accept(f.message("s@a.example", {"r@b.example", "r" + std::to_string(i) + "@c.example"}), body));
  }
  return ids;
}

/// Relays the first messages and takes new ones, one after the other.
net::Task<> traffic(QueueFixture& f, std::vector<Id> leave, int arrive, std::vector<Id>& arrived, bool& ended) {
  for (Id id : leave) {
    Settlement settlement;
    settlement.message = id;
    for (std::uint32_t index : {0U, 1U}) {
      RecipientOutcome outcome;
      outcome.index = index;
      outcome.event = Event::attempt_relayed;
      settlement.recipients.push_back(outcome);
    }
    Result<bool> settled = co_await f.store->settle(std::move(settlement));
    CHECK(settled);
  }
  for (int i = 0; i < arrive; ++i) {
    Draft draft = f.store->draft();
    Id id = draft.id();
    draft.buffer() = std::string(5000, 'n');
    NewMessage message = f.message("s@a.example", {"new@b.example"});
    BodyNotes notes;
    Result<> done = co_await f.store->commit(std::move(message), std::move(draft), notes, std::nullopt);
    CHECK(done);
    arrived.push_back(id);
  }
  ended = true;
}

template <class Report>
net::Task<> keep(net::Task<Result<Report>> task, std::optional<Result<Report>>& into, const bool& other_ended,
                 bool& was_under_way) {
  Result<Report> report = co_await task;
  into = std::move(report);
  was_under_way = !other_ended;
}

}  // namespace

TEST_SUITE("queue/backup") {
  TEST_CASE("a backup while mail comes and goes is of one moment, and sound; every row has its file") {
    QueueFixture f;
    std::vector<Id> ids = fill(f, 120);
    TemporaryFolder outside;
    std::string folder = outside.path() + "/b";
    std::optional<Result<BackupReport>> report;
    std::vector<Id> arrived;
    bool ended = false, backup_was_first = false;
    std::vector<Id> leave(ids.begin(), ids.begin() + 60);
    f.scope.spawn(
        keep(f.queue->back_up(f.runtime, folder, std::stop_token(), nullptr), report, ended, backup_was_first));
    f.scope.spawn(traffic(f, leave, 200, arrived, ended));
    f.pump();
    REQUIRE(report.has_value());
    REQUIRE_MESSAGE(*report, (*report ? std::string() : report->error().what));
    CHECK(ended);
    CHECK(backup_was_first);  // there was traffic all the while
    CHECK((*report)->slices > 5);
    CHECK((*report)->missing == 0);

    Result<CheckReport> checked = check(folder);
    REQUIRE(checked);
    CHECK(checked->found == 0);
    CHECK(checked->left_over == 0);
    CHECK(checked->messages == (*report)->messages);
    // Of one moment: what left before it was the first so many, what came before it likewise.
    Stock stock = stock_of(folder);
    auto is_there = [&stock](Id id) { return stock.bodies.contains(id.value); };
    CHECK(std::is_partitioned(leave.begin(), leave.end(), [&](Id id) { return !is_there(id); }));
    CHECK(std::is_partitioned(arrived.begin(), arrived.end(), is_there));
    CHECK(std::all_of(ids.begin() + 60, ids.end(), is_there));
    CHECK(std::any_of(leave.begin(), leave.end(), [&](Id id) { return !is_there(id); }));
    CHECK(std::none_of(leave.begin(), leave.end(), [&](Id id) { return is_there(id) && is_there(arrived.front()); }));
    // What had to stay for it is gone now.
    f.close();
    checked = check(f.folder.path());
    REQUIRE(checked);
    CHECK(checked->found == 0);
    CHECK(checked->left_over == 0);
  }

  TEST_CASE("a backup opens as a queue, and holds the same mail") {
    QueueFixture f;
    fill(f, 30);
    TemporaryFolder outside;
    REQUIRE(back_up(f, outside.path() + "/b"));
    f.close();
    Stock before = stock_of(f.folder.path());
    QueueFixture g;
    g.close();
    g.options.data_dir = outside.path() + "/b";
    g.files = *open_files(g.options.data_dir);
    g.reopen();
    CHECK(g.count().messages == 30);
    g.close();
    CHECK(stock_of(g.options.data_dir).bodies == before.bodies);
  }

  TEST_CASE("a backup goes where nothing is, outside the data folder, and leaves nothing when it fails") {
    QueueFixture f;
    fill(f, 3);
    TemporaryFolder outside;
    fs::create_directory(outside.path() + "/there");
    fs::create_directory(outside.path() + "/cut.partial");
    struct Case {
      std::string folder;
      Errc want;
    };
    for (const Case& c :
         {Case{"relative", Errc::invalid}, Case{"/", Errc::invalid}, Case{outside.path() + "/there", Errc::exists},
          Case{outside.path() + "/cut", Errc::exists}, Case{outside.path() + "/no/where", Errc::not_found},
          Case{f.folder.path() + "/b", Errc::invalid}, Case{f.folder.path() + "/body/b", Errc::invalid}}) {
      CAPTURE(c.folder);
      Result<BackupReport> report = back_up(f, c.folder);
      REQUIRE_FALSE(report);
      CHECK(report.error().code == c.want);
    }
    std::stop_source stop;
    stop.request_stop();
    Result<BackupReport> stopped = f.run(f.queue->back_up(f.runtime, outside.path() + "/s", stop.get_token(), nullptr));
    REQUIRE_FALSE(stopped);
    CHECK(stopped.error().code == Errc::cancelled);
    CHECK_FALSE(fs::exists(outside.path() + "/s.partial"));
    CHECK_FALSE(fs::exists(f.folder.path() + "/b.partial"));
    // And mail goes on, its files too.
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}), std::string(100'000, 'x'));
    REQUIRE(f.settle(id, {0}, Event::attempt_relayed));
    CHECK_FALSE(fs::exists(f.folder.path() + "/" + body_path(id.text())));
    CHECK(back_up(f, outside.path() + "/s"));
  }

  TEST_CASE("a missing spool file does not keep the rest from being backed up") {
    QueueFixture f;
    std::vector<Id> ids = fill(f, 11);
    fs::remove(f.folder.path() + "/" + body_path(ids[0].text()));
    TemporaryFolder outside;
    Result<BackupReport> report = back_up(f, outside.path() + "/b");
    REQUIRE(report);
    CHECK(report->missing == 1);
    CHECK(report->spool_files == 1);
  }

  TEST_CASE("while no daemon runs: with what the WAL of a killed one holds, which stays as it is") {
    QueueFixture f;
    fill(f, 12);
    TemporaryFolder outside;
    std::string killed = outside.path() + "/killed";
    fs::copy(f.folder.path(), killed, fs::copy_options::recursive);
    std::string wal = octets_of(killed + "/queue.db-wal");
    REQUIRE(!wal.empty());
    CHECK(back_up_folder(f.folder.path(), outside.path() + "/b").error().code == Errc::busy);
    const Watched progress = std::make_shared<Progress>();
    REQUIRE(back_up_folder(killed, outside.path() + "/b", progress));
    CHECK(progress->seen().done > 0);
    const Watched stopped = std::make_shared<Progress>();
    stopped->stop();
    CHECK(back_up_folder(killed, outside.path() + "/c", stopped).error().code == Errc::cancelled);
    CHECK(!std::filesystem::exists(outside.path() + "/c"));
    CHECK(check_folder(killed, stopped).error().code == Errc::cancelled);
    CHECK(octets_of(killed + "/queue.db-wal") == wal);
    Result<CheckReport> checked = check(outside.path() + "/b");
    REQUIRE(checked);
    CHECK(checked->found == 0);
    CHECK(checked->messages == 12);
    CHECK_FALSE(fs::exists(outside.path() + "/b/queue.db-wal"));
  }

  TEST_CASE("F14: a check finds what is wrong, and where") {
    struct Case {
      std::string sql;
      Finding::Kind want;
    };
    for (const Case& c :
         {Case{"UPDATE message SET reverse_path = 'x@evil.example' WHERE id = (SELECT max(id) FROM message)",
               Finding::Kind::message},
          Case{"UPDATE message SET body = zeroblob(length(body)) WHERE in_file = 0", Finding::Kind::body},
          Case{"UPDATE recipient SET address = 'x@evil.example' WHERE idx = 0", Finding::Kind::recipient},
          Case{"UPDATE recipient SET state = 99 WHERE idx = 0", Finding::Kind::recipient},
          Case{"DELETE FROM message WHERE in_file = 0", Finding::Kind::recipient},
          Case{"DELETE FROM recipient", Finding::Kind::message},
          Case{"UPDATE recipient SET state = 3", Finding::Kind::message},
          Case{"DELETE FROM destination", Finding::Kind::destination}}) {
      CAPTURE(c.sql);
      QueueFixture f;
      fill(f, 3);
      f.tamper(c.sql.c_str());
      Result<CheckReport> report = check_folder(f.folder.path());
      REQUIRE(report);
      CHECK(report->found > 0);
      CHECK(report->found == report->findings.size());
      bool all = std::all_of(report->findings.begin(), report->findings.end(),
                             [&c](const Finding& finding) { return finding.kind == c.want; });
      CHECK(all);
    }
  }

  TEST_CASE("spool files: missing, cut, longer, damaged, and those of no message") {
    QueueFixture f;
    std::vector<Id> ids;
    for (int i = 0; i < 5; ++i)
      ids.push_back(f.accept(f.message("s@a.example", {"r@b.example"}), std::string(100'000, 'x')));
    f.close();
    auto path = [&](int i) { return f.folder.path() + "/" + body_path(ids[static_cast<std::size_t>(i)].text()); };
    fs::remove(path(0));
    write_octets(path(1), std::string(99'999, 'x'));
    write_octets(path(2), std::string(100'001, 'x'));
    write_octets(path(3), std::string(99'999, 'x') + "y");
    write_octets(path(4) + ".tmp", "x");
    Result<CheckReport> report = check_folder(f.folder.path());
    REQUIRE(report);
    CHECK(report->found == 4);
    CHECK(report->left_over == 1);
    for (const Finding& finding : report->findings) CHECK(finding.kind == Finding::Kind::spool);
  }

  TEST_CASE("a check of the queue in use: of one moment, with its damage, and nothing is left of it") {
    QueueFixture f;
    std::vector<Id> ids = fill(f, 40);
    write_octets(f.folder.path() + "/" + body_path(ids[10].text()), "cut");
    fs::remove(f.folder.path() + "/" + body_path(ids[20].text()));
    Draft coming = f.store->draft();
    coming.buffer() = std::string(70'000, 'x');
    REQUIRE(f.run(coming.spill()));
    Result<CheckReport> report = f.run(f.queue->check(f.runtime, std::stop_token(), nullptr));
    REQUIRE(report);
    CHECK(report->messages == 40);
    CHECK(report->found == 2);
    CHECK(report->left_over == 0);
    CHECK_FALSE(fs::exists(f.folder.path() + "/queue.db.check"));
    CHECK(f.failed.empty());
  }

  TEST_CASE("a check while mail leaves finds every spool file in its place") {
    QueueFixture f;
    std::vector<Id> ids = fill(f, 120);
    std::optional<Result<CheckReport>> report;
    std::vector<Id> arrived;
    bool ended = false, check_was_first = false;
    f.scope.spawn(keep(f.queue->check(f.runtime, std::stop_token(), nullptr), report, ended, check_was_first));
    f.scope.spawn(traffic(f, ids, 100, arrived, ended));
    f.pump();
    REQUIRE(report.has_value());
    REQUIRE_MESSAGE(*report, (*report ? std::string() : report->error().what));
    CHECK(check_was_first);
    CHECK((*report)->spool_files > 0);
    CHECK((*report)->found == 0);
    CHECK(ended);
    CHECK(f.spool_files() == 0);

    std::stop_source stop;
    stop.request_stop();
    Result<CheckReport> stopped = f.run(f.queue->check(f.runtime, stop.get_token(), nullptr));
    REQUIRE_FALSE(stopped);
    CHECK(stopped.error().code == Errc::cancelled);
    CHECK(f.run(f.queue->check(f.runtime, std::stop_token(), nullptr)));
  }

  TEST_CASE("what a check or a replacement left that was cut off is removed by the next start") {
    QueueFixture f;
    f.accept(f.message("s@a.example", {"r@b.example"}), "x");
    f.close();
    const std::string at = f.folder.path();
    write_octets(at + "/queue.db.check", "x");
    write_octets(at + "/queue.db.check-journal", "x");
    fs::create_directories(at + "/incoming.before-restore.partial/body");
    f.reopen();
    CHECK(f.count().messages == 1);
    for (const char* name : {"queue.db.check", "queue.db.check-journal", "incoming.before-restore.partial"})
      CHECK_FALSE(fs::exists(at + "/" + name));
  }

  TEST_CASE("a check of files that are damaged, or none of ours, is a finding; of none at all an error") {
    TemporaryFolder empty;
    CHECK(check_folder(empty.path()).error().code == Errc::not_found);
    for (const std::string& octets : {std::string(100'000, 'x'), std::string("SQLite format 3\0junk", 20)}) {
      TemporaryFolder foreign;
      write_octets(foreign.path() + "/queue.db", octets);
      Result<CheckReport> report = check_folder(foreign.path());
      REQUIRE(report);
      CHECK(report->found == 1);
    }
    QueueFixture f;
    fill(f, 40);
    f.close();
    std::string octets = octets_of(f.folder.path() + "/queue.db");
    write_octets(f.folder.path() + "/queue.db", octets.substr(0, octets.size() / 2));
    Result<CheckReport> cut = check_folder(f.folder.path());
    REQUIRE(cut);
    CHECK(cut->found > 0);
    CHECK(octets_of(f.folder.path() + "/queue.db").size() == octets.size() / 2);
  }

  TEST_CASE("F21: a copy of a queue in use without its WAL is not opened; with it, and after a clean end, it is") {
    QueueFixture f;
    fill(f, 12);
    TemporaryFolder outside;
    std::string with = outside.path() + "/with", without = outside.path() + "/without";
    fs::copy(f.folder.path(), with, fs::copy_options::recursive);
    fs::copy(f.folder.path(), without, fs::copy_options::recursive);
    fs::remove(without + "/queue.db-wal");
    auto open = [&f](const std::string& folder) {
      StoreOptions options = f.options;
      options.data_dir = folder;
      Result<std::unique_ptr<Files>> files = open_files(folder);
      REQUIRE(files);
      auto opened = SqliteQueue::open(options, **files, f.history);
      return opened ? Result<>() : Result<>(fail(opened.error()));
    };
    Result<> refused = open(without);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::damaged);
    CHECK(refused.error().what.find("queue.db-wal is missing") != std::string::npos);
    Result<CheckReport> checked = check_folder(without);
    REQUIRE(checked);
    CHECK(checked->found >= 1);
    CHECK(open(with));
    CHECK_FALSE(fs::exists(with + "/queue.db-wal"));
    CHECK(open(with));
    CHECK(stock_of(with).bodies.size() == 12);
  }

  TEST_CASE("F21: a start that fails after a kill leaves the WAL, and the next one finds it") {
    QueueFixture f;
    fill(f, 12);
    TemporaryFolder outside;
    std::string killed = outside.path() + "/killed";
    fs::copy(f.folder.path(), killed, fs::copy_options::recursive);
    StoreOptions options = f.options;
    options.data_dir = killed;
    {
      FakeFiles broken;
      broken.fault = [](const std::string& call, const std::string&) -> Result<> {
        if (call == "list") return fail(Errc::io, "a broken disk");
        return {};
      };
      REQUIRE_FALSE(SqliteQueue::open(options, broken, f.history));
    }
    Result<std::unique_ptr<Files>> files = open_files(killed);
    REQUIRE(files);
    auto opened = SqliteQueue::open(options, **files, f.history);
    CHECK_MESSAGE(opened, (opened ? std::string() : opened.error().what));
  }

  TEST_CASE("a backup of an older version is restored as one of this") {
    QueueFixture f;
    fill(f, 22);
    const Counts counts = f.count();
    TemporaryFolder outside;
    const std::string backup = outside.path() + "/b";
    REQUIRE(back_up(f, backup));
    {
      Result<Database> db = Database::open(backup + "/queue.db", "", Database::Mode::read_write);
      REQUIRE(db);
      REQUIRE(db->run(
          "DROP INDEX recipient_due; ALTER TABLE recipient DROP COLUMN in_due; ALTER TABLE recipient DROP COLUMN size; "
          "CREATE INDEX recipient_due ON recipient(destination, flow, next_attempt) WHERE state = 0; "
          "PRAGMA user_version = 6"));
    }
    f.close();
    CHECK(check_folder(backup).error().code == Errc::unsupported);
    RestoreRefusal refusal;
    REQUIRE_FALSE(restore(backup, f.folder.path(), false, refusal));
    CHECK(refusal.messages_in_queue == 22U);
    refusal = {};
    Result<RestoreReport> report = restore(backup, f.folder.path(), true, refusal);
    REQUIRE_MESSAGE(report, (report ? std::string() : report.error().what));
    CHECK(report->messages == 22);
    CHECK(report->dropped == 0);
    Result<CheckReport> checked = check(f.folder.path());
    REQUIRE(checked);
    CHECK(checked->found == 0);
    f.reopen();
    CHECK(f.count().octets == counts.octets);
    CHECK(f.due().size() == 44);
    f.close();

    // Damaged, it is refused: what would be restored is looked at.
    {
      Result<Database> db = Database::open(backup + "/queue.db", "", Database::Mode::read_write);
      REQUIRE(db);
      REQUIRE(db->run("UPDATE message SET envid = 'flipped' WHERE id = (SELECT min(id) FROM message)"));
    }
    refusal = {};
    REQUIRE_FALSE(restore(backup, f.folder.path(), false, refusal));
    REQUIRE(refusal.damaged);
    CHECK(refusal.damaged->found == 1);
    CHECK_FALSE(fs::exists(backup + "/queue.db-wal"));
    f.reopen();
    CHECK(f.count().messages == 22);
  }

  TEST_CASE("a restore keeps the queue before, and counts what comes again and what is dropped") {
    QueueFixture f;
    std::vector<Id> ids = fill(f, 22);
    TemporaryFolder outside;
    std::string backup = outside.path() + "/b";
    REQUIRE(back_up(f, backup));
    for (int i = 0; i < 5; ++i) REQUIRE(f.settle(ids[static_cast<std::size_t>(i)], {0, 1}, Event::attempt_relayed));
    Id later = f.accept(f.message("s@a.example", {"r@b.example"}), std::string(90'000, 'z'));
    RestoreRefusal refusal;
    CHECK(restore(backup, f.folder.path(), true, refusal).error().code == Errc::busy);
    f.close();
    Stock of_backup = stock_of(backup), before = stock_of(f.folder.path());

    const Watched stopped = std::make_shared<Progress>();
    stopped->stop();
    CHECK(restore(backup, f.folder.path(), true, refusal, stopped).error().code == Errc::cancelled);
    REQUIRE_FALSE(restore(backup, f.folder.path(), false, refusal));
    CHECK(refusal.messages_in_queue == 18U);
    CHECK(stock_of(f.folder.path()).bodies == before.bodies);
    refusal = {};
    Result<RestoreReport> report = restore(backup, f.folder.path(), true, refusal);
    REQUIRE_MESSAGE(report, (report ? std::string() : report.error().what));
    CHECK(report->messages == 22);
    CHECK(report->compared);
    CHECK(report->again == 5);
    CHECK(report->dropped == 1);
    CHECK(report->kept == f.folder.path() + "/queue.db.before-restore");
    CHECK(fs::exists(f.folder.path() + "/body.before-restore/" + later.text().substr(10) + "/" + later.text()));
    CHECK(stock_of(f.folder.path()).bodies == of_backup.bodies);
    Result<CheckReport> checked = check(f.folder.path());
    REQUIRE(checked);
    CHECK(checked->found == 0);
    f.reopen();
    CHECK(f.count().messages == 22);
    f.close();
    // Again: the first old one stays.
    report = restore(backup, f.folder.path(), true, refusal);
    REQUIRE(report);
    CHECK(report->kept == f.folder.path() + "/queue.db.before-restore-2");
    // The backup is as it was.
    CHECK(stock_of(backup).bodies == of_backup.bodies);
  }

  TEST_CASE("a damaged backup is not restored; an empty queue makes way") {
    QueueFixture f;
    std::vector<Id> ids = fill(f, 22);
    TemporaryFolder outside;
    std::string backup = outside.path() + "/b";
    REQUIRE(back_up(f, backup));
    QueueFixture g;
    g.close();
    RestoreRefusal refusal;
    REQUIRE(restore(backup, g.folder.path(), false, refusal));
    CHECK(stock_of(g.folder.path()).bodies.size() == 22);

    fs::remove(backup + "/" + body_path(ids[0].text()));
    QueueFixture h;
    h.close();
    REQUIRE_FALSE(restore(backup, h.folder.path(), false, refusal));
    REQUIRE(refusal.damaged.has_value());
    CHECK(refusal.damaged->found == 1);
    CHECK(restore(h.folder.path(), h.folder.path(), false, refusal).error().code == Errc::invalid);

    // Where it is all that is left it is better than nothing.
    Result<RestoreReport> forced = restore(backup, h.folder.path(), true, refusal);
    REQUIRE_MESSAGE(forced, (forced ? std::string() : forced.error().what));
    CHECK(forced->messages == 22);
    h.reopen();
    CHECK(h.count().messages == 22);
    CHECK_FALSE(h.body(ids[0]));
    CHECK(h.body(ids[1]));
  }

  TEST_CASE("a restore that was cut off at any of its renames is finished by the next start") {
    // What stands in the folder after so many steps of it, made by hand.
    for (int steps = 0; steps <= 5; ++steps) {
      CAPTURE(steps);
      QueueFixture f;
      f.accept(f.message("old@a.example", {"r@b.example"}), std::string(100'000, 'o'));
      f.close();
      QueueFixture g;
      Id id = g.accept(g.message("new@a.example", {"r@b.example"}), std::string(100'000, 'n'));
      g.close();
      const std::string at = f.folder.path(), incoming = at + "/incoming.before-restore";
      fs::create_directory(incoming);
      fs::copy(g.folder.path() + "/queue.db", incoming + "/queue.db");
      fs::copy(g.folder.path() + "/body", incoming + "/body", fs::copy_options::recursive);
      if (steps >= 1) fs::rename(at + "/queue.db", at + "/queue.db.before-restore");
      if (steps >= 2) fs::rename(at + "/body", at + "/body.before-restore");
      if (steps >= 3) fs::rename(incoming + "/body", at + "/body");
      if (steps >= 4) fs::rename(incoming + "/queue.db", at + "/queue.db");
      if (steps >= 5) fs::remove(incoming);
      f.reopen();
      CHECK(f.list("from:new@a.example").messages.size() == 1);
      CHECK(f.count().messages == 1);
      CHECK(f.body(id) == std::string(100'000, 'n'));
      CHECK_FALSE(fs::exists(incoming));
      f.close();
      fs::rename(at + "/queue.db.before-restore", at + "/queue.db");
      fs::remove_all(at + "/body");
      fs::rename(at + "/body.before-restore", at + "/body");
      f.reopen();
      CHECK(f.list("from:old@a.example").messages.size() == 1);
    }
  }
}
