// Over a WAL that counts and fails: what reaches the file, when, and what stands after an error.
#include "queue/wal_writes.h"

#include <filesystem>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/temporary_folder.h"

using namespace waypost::queue;
using namespace waypost::tests;

namespace {

/// The methods beneath, counted; their writes fail on demand, after so many that do not.
struct Beneath {
  static inline const sqlite3_io_methods* real = nullptr;
  static inline sqlite3_io_methods counted;
  static inline std::vector<int> writes;  // how long each was
  static inline int syncs = 0;
  static inline int fail_write = SQLITE_OK;
  static inline std::size_t fail_after = 0;

  static void put_under(sqlite3_file& file) {
    real = file.pMethods;
    counted = *real;
    counted.xWrite = [](sqlite3_file* f, const void* octets, int size, sqlite3_int64 at) {
      if (fail_write != SQLITE_OK && writes.size() >= fail_after) return fail_write;
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
    fail_after = 0;
  }
};

struct Fixture {
  TemporaryFolder folder;
  sqlite3* db = nullptr;

  Fixture() {
    REQUIRE(sqlite3_open((folder.path() + "/x.db").c_str(), &db) == SQLITE_OK);
    run("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0");
    run("PRAGMA journal_size_limit=8192; PRAGMA cache_size=10; PRAGMA cache_spill=OFF");
    run("CREATE TABLE t(id INTEGER PRIMARY KEY, octets BLOB)");
    sqlite3_file* wal = nullptr;
    REQUIRE(sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal) == SQLITE_OK);
    Beneath::put_under(*wal);
    WalWrites::gather(*wal);
  }
  ~Fixture() { sqlite3_close_v2(db); }

  int try_run(const std::string& sql) { return sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr); }
  void run(const std::string& sql) { REQUIRE(try_run(sql) == SQLITE_OK); }
  /// Rows from `first` on with so many octets.
  static std::string rows(int first, int count, int octets) {
    return "WITH RECURSIVE n(i) AS (SELECT " + std::to_string(first) + " UNION ALL SELECT i + 1 FROM n WHERE i < " +
           std::to_string(first + count - 1) + ") INSERT INTO t SELECT i, zeroblob(" + std::to_string(octets) +
           ") FROM n";
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
    f.run(Fixture::rows(1, 1, 20'000));
    REQUIRE(Beneath::writes.size() == 1);
    CHECK(Beneath::writes[0] % kFrame == 0);
    CHECK(Beneath::writes[0] >= 5 * kFrame);
    CHECK(Beneath::syncs == 1);
  }

  TEST_CASE("more than is gathered at once goes in several writes, none of them before the commit") {
    Fixture f;
    f.run("BEGIN; " + Fixture::rows(1, 300, 1'000));
    CHECK(f.value("SELECT count(*) FROM t WHERE length(octets) = 1000") == "300");
    f.run("UPDATE t SET octets = zeroblob(900) WHERE id % 3 = 0; SAVEPOINT s");
    f.run(Fixture::rows(301, 300, 1'000));
    f.run("DELETE FROM t WHERE id % 2 = 0; ROLLBACK TO s; RELEASE s");
    CHECK(Beneath::writes.empty());
    f.run("COMMIT");
    CHECK(Beneath::writes.size() >= 3);
    CHECK(Beneath::writes.size() < 10);
    CHECK(Beneath::syncs == 1);
    f.run("BEGIN; DELETE FROM t; ROLLBACK");
    f.run("UPDATE t SET octets = zeroblob(800) WHERE id = 7");
    CHECK(f.value("PRAGMA integrity_check") == "ok");
    // What another finds in the files after this one was killed.
    for (const char* end : {"", "-wal"})
      std::filesystem::copy_file(f.folder.path() + "/x.db" + end, f.folder.path() + "/copy.db" + end);
    sqlite3_close_v2(f.db);
    REQUIRE(sqlite3_open((f.folder.path() + "/copy.db").c_str(), &f.db) == SQLITE_OK);
    CHECK(f.value("PRAGMA integrity_check") == "ok");
    CHECK(f.value("SELECT count(*) || ' ' || sum(length(octets)) FROM t") == "300 289800");
  }

  TEST_CASE("a WAL that begins anew, and is cut, is as any") {
    Fixture f;
    for (int round = 0; round < 3; ++round) {
      f.run(Fixture::rows(1 + 10 * round, 10, 3'000));
      f.run("PRAGMA wal_checkpoint");
    }
    CHECK(f.value("SELECT count(*) FROM t") == "30");
    CHECK(f.value("PRAGMA integrity_check") == "ok");
  }

  TEST_CASE("an error of a write is that of the commit, which then does not stand") {
    for (int code : {SQLITE_FULL, SQLITE_IOERR_WRITE}) {
      for (std::size_t writes : {0, 1}) {
        CAPTURE(code);
        CAPTURE(writes);
        Fixture f;
        f.run(Fixture::rows(1, 10, 3'000));
        Beneath::reset();
        Beneath::fail_write = code;
        Beneath::fail_after = writes;
        f.run("BEGIN; " + Fixture::rows(100, 100, 3'000));
        f.run("INSERT INTO t SELECT id + 1000, octets FROM t; CREATE TABLE u(x)");
        CHECK(f.try_run("COMMIT") == (code & 0xff));
        CHECK(Beneath::syncs == 0);
        CHECK(sqlite3_get_autocommit(f.db) == 1);
        Beneath::fail_write = SQLITE_OK;
        CHECK(f.value("SELECT count(*) FROM t") == "10");
        f.run("INSERT INTO t VALUES (100, zeroblob(3000))");
        CHECK(f.value("SELECT count(*) FROM t") == "11");
        f.run("PRAGMA wal_checkpoint");
        CHECK(f.value("PRAGMA integrity_check") == "ok");
      }
    }
  }

  TEST_CASE("a WAL that is closed later than its connection, by the end of a copy") {
    sqlite3* copy = nullptr;
    REQUIRE(sqlite3_open(":memory:", &copy) == SQLITE_OK);
    sqlite3_backup* copying = nullptr;
    {
      Fixture f;
      f.run(Fixture::rows(1, 10, 3'000));
      copying = sqlite3_backup_init(copy, "main", f.db, "main");
      REQUIRE(copying != nullptr);
      REQUIRE(sqlite3_backup_step(copying, 1) == SQLITE_OK);
    }
    CHECK(sqlite3_backup_finish(copying) == SQLITE_OK);
    sqlite3_close(copy);
  }
}
