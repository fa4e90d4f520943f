#include <filesystem>
#include <string>

#include <doctest/doctest.h>

#include "tests/mta/terminal.h"
#include "tests/queue/queue_fixture.h"

namespace waypost::mta {
namespace {

/// As a Waypost left it that did not know of changes.
constexpr const char* kToVersion4 =
    "DROP INDEX recipient_due; ALTER TABLE recipient DROP COLUMN in_due; ALTER TABLE recipient DROP COLUMN size; "
    "CREATE INDEX recipient_due ON recipient(destination, flow, next_attempt) WHERE state = 0; "
    "DROP INDEX recipient_kept; DROP INDEX recipient_held; "
    "CREATE INDEX recipient_held ON recipient(destination) WHERE state = 1; "
    "ALTER TABLE destination DROP COLUMN aside_from; ALTER TABLE destination DROP COLUMN aside_to; DROP TABLE change; "
    "ALTER TABLE recipient DROP COLUMN was; "
    "ALTER TABLE recipient DROP COLUMN change; PRAGMA user_version = 4";

}  // namespace

TEST_SUITE("mta/cmd_store_upkeep") {
  TEST_CASE("stats: one screen; rows that are not counted yet are said to be so") {
    Terminal t;
    t.backend.stats.version = 5;
    t.backend.stats.database_octets = 5'100'000;
    t.backend.stats.pages = 1245;
    t.backend.stats.free_pages = 1000;
    CHECK(t.run({"store", "stats"}) == 0);
    CHECK(t.said("5.1 MB"));
    CHECK(t.said("1 245, 1 000 of them free (4.1 MB)"));
    CHECK(t.said("still being counted"));
    queue::Totals totals;
    totals.messages = 1204;
    totals.deferred = 1300;
    totals.removed = 7;
    totals.oldest_deferred = tests::kNow;
    t.backend.stats.totals = totals;
    CHECK(t.run({"store", "stats"}) == 0);
    CHECK(t.said("1 300 deferred, 0 held, 7 removed and kept for undo"));
    CHECK(t.run({"store", "stats", "--json"}) == 0);
    const Json json = Json::parse(t.out.str());
    CHECK(json["messages"] == 1204);
    CHECK(json["oldest_held"].is_null());
    t.backend.failure = Error(Errc::not_found, "queue.db is not there");
    CHECK(t.run({"store", "stats"}) == 66);
  }

  TEST_CASE("vacuum: what it gave back, and a line of the audit") {
    Terminal t;
    CHECK(t.run({"store", "vacuum"}) == 0);
    CHECK(t.said("no page of queue.db is free"));
    t.backend.vacuumed.pages = 1000;
    CHECK(t.run({"store", "vacuum"}) == 0);
    CHECK(t.said("gave back 1 000 pages, 4.1 MB"));
    CHECK(t.backend.records.back().what == "store vacuum");
    t.backend.failure = Error(Errc::full, "no room");
    CHECK(t.run({"store", "vacuum"}) == 75);
  }

  TEST_CASE("migrate: says from where to where, keeps a copy, and is done once") {
    tests::QueueFixture f;
    for (int i = 0; i < 3; ++i) f.accept(f.message("s@a.example", {"r@b.example"}));
    Terminal t;
    t.data_dir = f.folder.path();
    CHECK(t.run({"store", "migrate", "--no-backup"}) == 73);
    CHECK(t.complained("stop the daemon first"));
    f.close();
    CHECK(t.run({"store", "migrate", "--no-backup"}) == 0);
    CHECK(t.said("nothing to do: queue.db is of version 7"));
    f.tamper(kToVersion4);
    CHECK(t.run({"store", "migrate", "--dry-run"}) == 0);
    CHECK(t.said("would migrate queue.db from version 4 to 7"));
    CHECK(t.run({"store", "migrate"}) == 64);
    CHECK(queue::versions_of_folder(f.folder.path())->queue == 4);
    CHECK(queue::vacuum_folder(f.folder.path()).error().code == Errc::unsupported);
    tests::TemporaryFolder outside;
    const std::string backup = outside.path() + "/before";
    CHECK(t.run({"store", "migrate", backup}) == 0);
    CHECK(t.said("migrated queue.db from version 4 to 7"));
    CHECK(t.said(backup));
    CHECK(queue::versions_of_folder(backup)->queue == 4);
    CHECK(queue::check_folder(f.folder.path())->found == 0);
    CHECK(!std::filesystem::exists(f.folder.path() + "/queue.db-wal"));
    CHECK(t.run({"store", "migrate", backup}) == 0);
    CHECK(t.said("nothing to do"));
    f.tamper("PRAGMA user_version = 99");
    CHECK(t.run({"store", "migrate", "--no-backup"}) == 78);
    CHECK(t.run({"store", "migrate", "--no-backup"}) == 78);
    t.data_dir = outside.path();
    CHECK(t.run({"store", "migrate", "--dry-run"}) == 66);
    f.tamper("PRAGMA user_version = 7");
    f.reopen();
  }
}

}  // namespace waypost::mta
