// Over a WAL that counts and fails: what reaches the file, when, and what stands after an error.
#include "queue/wal_writes.h"

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/temporary_folder.h"

using namespace waypost::queue;
using namespace waypost::tests;

namespace {

/// The methods beneath, counted; their writes fail on demand.
struct Beneath {
  static inline const sqlite3_io_methods* real = nullptr;
  static inline sqlite3_io_methods counted;
  static inline std::vector<int> writes;  // how long each was
  static inline int syncs = 0;
  static inline int fail_write = SQLITE_OK;

  static void put_under(sqlite3_file& file) {
    real = file.pMethods;
    counted = *real;
    counted.xWrite = [](sqlite3_file* f, const void* octets, int size, sqlite3_int64 at) {
      if (fail_write != SQLITE_OK) return fail_write;
      writes.push_back(size);
      return real->xWrite(f, octets, size, at);
    };
    counted.xSync = [](sqlite3_file* f, int how) {
      ++syncs;
      return real->xSync(f, how);
    };
    file.pMethods = &counted;
    reset();
  }
  static void reset() {
    writes.clear();
    syncs = 0;
    fail_write = SQLITE_OK;
  }
};

struct Fixture {
  TemporaryFolder folder;
  sqlite3* db = nullptr;
  std::unique_ptr<WalWrites> writes;

  explicit Fixture(const std::string& cache = "-2000") {
    REQUIRE(sqlite3_open((folder.path() + "/x.db").c_str(), &db) == SQLITE_OK);
    run("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0");
    run("CREATE TABLE t(id INTEGER PRIMARY KEY, octets BLOB); PRAGMA cache_size=" + cache);
    sqlite3_file* wal = nullptr;
    REQUIRE(sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal) == SQLITE_OK);
    Beneath::put_under(*wal);
    writes = std::make_unique<WalWrites>(*wal);
  }
  ~Fixture() { sqlite3_close(db); }

  int try_run(const std::string& sql) { return sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr); }
  void run(const std::string& sql) { REQUIRE(try_run(sql) == SQLITE_OK); }
  void insert(int first, int count, int octets) {
    run("WITH RECURSIVE n(i) AS (SELECT " + std::to_string(first) + " UNION ALL SELECT i + 1 FROM n WHERE i < " +
        std::to_string(first + count - 1) + ") INSERT INTO t SELECT i, zeroblob(" + std::to_string(octets) +
        ") FROM n");
  }
  std::string value(const std::string& sql) {
    std::string out;
    auto first = [](void* into, int, char** values, char**) {
      *static_cast<std::string*>(into) = values[0] != nullptr ? values[0] : "";
      return 0;
    };
    REQUIRE(sqlite3_exec(db, sql.c_str(), first, &out, nullptr) == SQLITE_OK);
    return out;
  }
};

constexpr int kFrame = 24 + 4096;  // a page in a WAL

}  // namespace

TEST_SUITE("queue/wal_writes") {
  TEST_CASE("the pages of a commit are one write, before its sync") {
    Fixture f;
    f.insert(1, 1, 20'000);
    REQUIRE(Beneath::writes.size() == 1);
    CHECK(Beneath::writes[0] % kFrame == 0);
    CHECK(Beneath::writes[0] >= 5 * kFrame);
    CHECK(Beneath::syncs == 1);
  }

  TEST_CASE("more than is gathered at once goes in several writes, and all of it is there") {
    Fixture f;
    f.insert(1, 100, 5'000);
    CHECK(Beneath::writes.size() > 3);
    CHECK(Beneath::writes.size() < 10);
    CHECK(Beneath::syncs == 1);
    CHECK(f.value("SELECT sum(length(octets)) FROM t") == "500000");
  }

  TEST_CASE("pages that left the cache before the commit are read back, written again and rolled back") {
    Fixture f("10");
    f.run("BEGIN");
    f.insert(1, 300, 1'000);
    CHECK(f.value("SELECT count(*) FROM t WHERE length(octets) = 1000") == "300");
    f.run("UPDATE t SET octets = zeroblob(900) WHERE id % 3 = 0; SAVEPOINT s");
    f.insert(301, 300, 1'000);
    f.run("DELETE FROM t WHERE id % 2 = 0; ROLLBACK TO s; RELEASE s");
    CHECK(f.value("SELECT sum(length(octets)) FROM t") == "290000");
    f.run("COMMIT");
    f.run("BEGIN; DELETE FROM t; ROLLBACK");
    f.run("UPDATE t SET octets = zeroblob(800) WHERE id = 7");
    // What another finds in the files after this one was killed.
    for (const char* name : {"/x.db", "/x.db-wal"})
      std::filesystem::copy_file(f.folder.path() + name, f.folder.path() + "/copy" + (name + 2));
    sqlite3* copy = nullptr;
    REQUIRE(sqlite3_open((f.folder.path() + "/copy.db").c_str(), &copy) == SQLITE_OK);
    std::swap(copy, f.db);
    CHECK(f.value("PRAGMA integrity_check") == "ok");
    CHECK(f.value("SELECT count(*) || ' ' || sum(length(octets)) FROM t") == "300 289800");
    std::swap(copy, f.db);
    sqlite3_close(copy);
    CHECK(f.value("PRAGMA integrity_check") == "ok");
  }

  TEST_CASE("a WAL that begins anew is as any") {
    Fixture f;
    for (int round = 0; round < 3; ++round) {
      f.insert(1 + 10 * round, 10, 3'000);
      f.run("PRAGMA wal_checkpoint");
    }
    CHECK(f.value("SELECT count(*) FROM t") == "30");
    CHECK(f.value("PRAGMA integrity_check") == "ok");
  }

  TEST_CASE("an error of the write is that of the commit, which then does not stand") {
    Fixture f;
    f.insert(1, 10, 3'000);
    for (int code : {SQLITE_FULL, SQLITE_IOERR_WRITE}) {
      Beneath::reset();
      Beneath::fail_write = code;
      CHECK(f.try_run("INSERT INTO t VALUES (100, zeroblob(3000))") == (code & 0xff));
      CHECK(Beneath::syncs == 0);
      Beneath::fail_write = SQLITE_OK;
      CHECK(f.value("SELECT count(*) FROM t") == "10");
    }
    f.run("INSERT INTO t VALUES (100, zeroblob(3000))");
    CHECK(f.value("SELECT count(*) FROM t") == "11");
    CHECK(f.value("PRAGMA integrity_check") == "ok");
  }
}
