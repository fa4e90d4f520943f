// A new version's first start, cut off anywhere (RELIABILITY F7).
#include <doctest/doctest.h>

#include "queue/schema.h"
#include "queue/sqlite_queue.h"
#include "tests/support/sim_disk.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;

namespace {

constexpr SchemaStep kSteps[] = {
    {"CREATE TABLE a(x INTEGER) STRICT; INSERT INTO a WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
     "WHERE i < 3000) SELECT i FROM n",
     false},
    {"ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 0", false},
    {"UPDATE a SET y = x + 1", true}};
const Schema kFirst{42, std::span(kSteps).first(1), "x.db"};
const Schema kAll{42, kSteps, "x.db"};

Result<Database> open(SimDisk& disk, const std::string& name) {
  Result<Database> db = Database::open("/data/" + name, disk.vfs(), Database::Mode::read_write);
  Result<> alone = db ? db->run("PRAGMA locking_mode=EXCLUSIVE") : Result<>();
  if (!alone) return fail(alone.error());
  return db;
}

Result<> migrate(SimDisk& disk, const Schema& schema) {
  Result<Database> db = open(disk, "x.db");
  if (!db) return fail(db.error());
  Result<> configured = configure(*db, kQueueSettings);
  if (!configured) return configured;
  auto copy = [&](int version) {
    return copy_database(*db, disk.files(), SimDisk::data_dir(), "x.db.v" + std::to_string(version));
  };
  return bring_up_to_date(*db, schema, copy);
}

}  // namespace

TEST_SUITE("power/migration") {
  TEST_CASE("F7: all or nothing, with a whole copy of what was; and the next start goes on") {
    SimDisk disk;
    REQUIRE(migrate(disk, kFirst));
    disk.start_recording();
    REQUIRE(migrate(disk, kAll));
    SimDisk::Replay replay = disk.replay();
    std::size_t old = 0, done = 0;
    do {
      for (Loss policy : {Loss::drop_all, Loss::keep_all, Loss::keep_half, Loss::tear}) {
        std::unique_ptr<SimDisk> image = replay.image(replay.position(), policy);
        int version = 0;
        {
          Result<Database> db = open(*image, "x.db");
          REQUIRE(db);
          version = version_of(*db, kAll).value_or(0);
          (version == 1 ? old : done) += 1;
          const bool whole = version == 1 ? db->value("SELECT count(*) FROM a").value_or(0) == 3000
                                          : db->value("SELECT count(*) FROM a WHERE y = x + 1").value_or(0) == 3000;
          CHECK(whole);
        }
        if (version != 3) {
          Result<> again = migrate(*image, kAll);
          CHECK_MESSAGE(again, (again ? std::string() : again.error().what));
        }
        Result<Database> copy = open(*image, "x.db.v1");
        REQUIRE(copy);
        CHECK(copy->value("PRAGMA user_version") == 1);
        CHECK(copy->value("SELECT count(*) FROM a") == 3000);
      }
    } while (replay.step());
    CHECK(old > 10);
    CHECK(done > 10);
  }
}
