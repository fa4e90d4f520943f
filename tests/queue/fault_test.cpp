// The store under faults: a full disk, damage, a second daemon, other versions (RELIABILITY F9-F20).
#include <fstream>

#include <doctest/doctest.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/page_file.h"
#include "queue/schema.h"
#include "tests/queue/queue_fixture.h"
#include "tests/support/fake_files.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;

namespace {

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Everything in a folder but the lock: names and octets.
std::map<std::string, std::string> snapshot(const std::string& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) out[entry.path().string()] = read_file(entry.path().string());
  return out;
}

/// A VFS over the default one whose reads, writes and syncs fail on demand.
struct FaultyVfs {
  static inline bool fail_sync = false;
  static inline bool fail_read = false;
  static inline int fail_write = SQLITE_OK;  // what a write answers
  static inline sqlite3_vfs* real = nullptr;

  /// One for the database and one for the WAL: beneath they have methods of their own, of which the WAL's do not lock.
  template <int kType>
  struct Methods {
    static inline sqlite3_io_methods mine;
    static inline const sqlite3_io_methods* beneath = nullptr;
    static inline int writes = 0;
    static void put_over(sqlite3_file* file) {
      beneath = file->pMethods;
      mine = *beneath;
      mine.xSync = [](sqlite3_file* f, int how) { return fail_sync ? SQLITE_IOERR_FSYNC : beneath->xSync(f, how); };
      mine.xRead = [](sqlite3_file* f, void* data, int n, sqlite3_int64 at) {
        return fail_read ? SQLITE_IOERR_READ : beneath->xRead(f, data, n, at);
      };
      mine.xWrite = [](sqlite3_file* f, const void* data, int n, sqlite3_int64 at) {
        ++writes;
        return fail_write != SQLITE_OK ? fail_write : beneath->xWrite(f, data, n, at);
      };
      file->pMethods = &mine;
    }
  };

  static void install() {
    fail_sync = fail_read = false;
    fail_write = SQLITE_OK;
    if (real) return;
    real = sqlite3_vfs_find(nullptr);
    static sqlite3_vfs vfs = *real;
    vfs.zName = "faulty";
    vfs.pNext = nullptr;
    vfs.xOpen = [](sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out) {
      int code = real->xOpen(real, name, file, flags, out);
      if (code != SQLITE_OK) return code;
      if ((flags & SQLITE_OPEN_MAIN_DB) != 0) Methods<SQLITE_OPEN_MAIN_DB>::put_over(file);
      if ((flags & SQLITE_OPEN_WAL) != 0) Methods<SQLITE_OPEN_WAL>::put_over(file);
      return code;
    };
    sqlite3_vfs_register(&vfs, 0);
  }
};

StoreOptions on_faulty_vfs() {
  FaultyVfs::install();
  StoreOptions options;
  options.vfs = "faulty";
  return options;
}

}  // namespace

TEST_SUITE("queue/fault") {
  TEST_CASE("F9: a full database is `full`, and when there is room again mail goes on") {
    StoreOptions options;
    options.max_octets = 350 * 4096;  // stands for the disk: SQLite says the same
    QueueFixture f(options);
    std::vector<Id> ids;
    for (int i = 0; i < 20; ++i)
      ids.push_back(f.accept(f.message("s@a.example", {"r@b.example"}), std::string(60'000, 'x')));
    Result<Id> refused = f.try_accept(f.message("s@a.example", {"r@b.example"}), std::string(60'000, 'x'));
    for (int i = 0; refused && i < 20; ++i)
      refused = f.try_accept(f.message("s@a.example", {"r@b.example"}), std::string(60'000, 'x'));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::full);
    CHECK(f.failed.empty());
    // What makes room goes through.
    for (Id id : ids) REQUIRE(f.settle(id, {0}, Event::attempt_relayed));
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"}), std::string(60'000, 'x')));
  }

  TEST_CASE("F9: a full disk keeps what is held in the index of what is due, and no mail back") {
    QueueFixture f(on_faulty_vfs());
    accept_many(f, 1'500, "b.example");
    f.change(Change::hold, "destination:b.example");
    const Id good = f.accept(f.message("s@a.example", {"r@b.example"}));
    DueQuery query;
    query.per_destination = 10;
    FaultyVfs::fail_write = SQLITE_FULL;
    std::vector<Due> due = f.due(query);
    FaultyVfs::fail_write = SQLITE_OK;
    REQUIRE(due.size() == 1);
    CHECK(due[0].message->id == good);
    CHECK(f.failed.empty());
    CHECK(f.due(query).size() == 1);
  }

  TEST_CASE("the pages of a commit reach the WAL in one write") {
    QueueFixture f(on_faulty_vfs());
    f.accept(f.message("s@a.example", {"r@b.example"}));
    const int before = FaultyVfs::Methods<SQLITE_OPEN_WAL>::writes;
    f.accept(f.message("s@a.example", {"r@b.example"}));
    CHECK(FaultyVfs::Methods<SQLITE_OPEN_WAL>::writes == before + 1);
  }

  TEST_CASE("F9: where one of a batch is too much, the others of it are accepted") {
    StoreOptions options;
    options.max_octets = 200 * 4096;
    options.inline_limit = 4 << 20;
    QueueFixture f(options);
    std::vector<Result<>> results(3);
    auto commit = [](QueueFixture& fixture, Draft draft, std::size_t size, Result<>& into) -> net::Task<> {
      draft.buffer() = std::string(size, 'x');
      NewMessage message = fixture.message("s@a.example", {"r@b.example"});
      BodyNotes notes;
      into = co_await fixture.store->commit(std::move(message), std::move(draft), notes, std::nullopt);
    };
    f.scope.spawn(commit(f, f.store->draft(), 1000, results[0]));
    f.scope.spawn(commit(f, f.store->draft(), 2 << 20, results[1]));
    f.scope.spawn(commit(f, f.store->draft(), 1000, results[2]));
    f.pump();
    CHECK(results[0]);
    REQUIRE_FALSE(results[1]);
    CHECK(results[1].error().code == Errc::full);
    CHECK(results[2]);
    CHECK(f.count().messages == 2);
  }

  TEST_CASE("F10: no room for a spool file is `full`, nothing of it stays") {
    QueueFixture f;
    FakeFiles fake;
    fake.fault = [](const std::string& call, const std::string&) -> Result<> {
      if (call == "append") return fail(Errc::full, "no space");
      return {};
    };
    f.close();
    auto opened = SqliteQueue::open(f.options, fake, f.history);
    REQUIRE(opened);
    f.queue = *std::move(opened);
    f.store = f.queue->store(f.runtime);
    Result<Id> refused = f.try_accept(f.message("s@a.example", {"r@b.example"}), std::string(200'000, 'x'));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::full);
    CHECK(fake.files.empty());
    CHECK(f.count().messages == 0);
    f.close();
  }

  TEST_CASE("a spool file is synced, named, the folders synced, and only then the row is written") {
    StoreOptions options;
    options.max_octets = 60 * 4096;
    QueueFixture f(options);
    FakeFiles fake;
    f.close();
    auto opened = SqliteQueue::open(f.options, fake, f.history);
    REQUIRE(opened);
    f.queue = *std::move(opened);
    f.store = f.queue->store(f.runtime);
    std::uint64_t commits = 0;
    fake.fault = [&](const std::string& call, const std::string&) -> Result<> {
      if (call == "sync_folder") commits = f.queue->stats().commits;
      return {};
    };
    std::uint64_t before = f.queue->stats().commits;
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}), std::string(100'000, 'x'));
    CHECK(commits == before);
    CHECK(f.queue->stats().commits == before + 1);
    std::vector<std::string> tail(fake.calls.end() - 6, fake.calls.end());
    std::string path = body_path(id.text());
    CHECK(tail == std::vector<std::string>{"append " + path + ".tmp", "sync " + path + ".tmp",
                                           "rename " + path + ".tmp", "sync_folder " + path.substr(0, 7),
                                           "sync_folder body", "sync_folder ."});
    // A row that cannot be written takes its file with it.
    Result<Id> refused;
    for (int i = 0; i < 100; ++i) {
      NewMessage message = f.message("s@a.example", {"r@b.example"});
      message.trace = "R: " + std::string(5000, 'R') + "\r\n";
      refused = f.try_accept(message, std::string(100'000, 'x'));
      if (!refused) break;
    }
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::full);
    CHECK(fake.files.size() == f.count().messages);
    f.close();
  }

  TEST_CASE("F12: a sync that fails: nothing of the batch is accepted, and nothing ever after") {
    QueueFixture f(on_faulty_vfs());
    Id kept = f.accept(f.message("s@a.example", {"r@b.example"}));
    FaultyVfs::fail_sync = true;
    Result<Id> refused = f.try_accept(f.message("s@a.example", {"r@b.example"}));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::io);
    CHECK(f.failed.size() == 1);
    FaultyVfs::fail_sync = false;
    // Never retry and believe.
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"})).error().code == Errc::io);
    CHECK(f.settle(kept, {0}, Event::attempt_relayed).error().code == Errc::io);
    CHECK(f.body(kept).error().code == Errc::io);
    CHECK(f.failed.size() == 1);
    f.reopen();
    CHECK(f.body(kept));
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"})));
  }

  TEST_CASE("F12: a write that fails") {
    QueueFixture f(on_faulty_vfs());
    FaultyVfs::fail_write = SQLITE_IOERR_WRITE;
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"})).error().code == Errc::io);
    CHECK(f.failed.size() == 1);
    FaultyVfs::fail_write = SQLITE_OK;
    f.reopen();
    CHECK(f.count().messages == 0);
  }

  TEST_CASE("F12: a spool file whose sync fails ends acceptance too") {
    QueueFixture f;
    FakeFiles fake;
    f.close();
    auto opened = SqliteQueue::open(f.options, fake, f.history);
    REQUIRE(opened);
    f.queue = *std::move(opened);
    StoreEvents events;
    events.failed = [&f](const Error& error) { f.failed.push_back(error.what); };
    f.queue->set_events(events);
    f.store = f.queue->store(f.runtime);
    fake.fault = [](const std::string& call, const std::string&) -> Result<> {
      if (call == "sync") return fail(Errc::io, "told to");
      return {};
    };
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"}), std::string(100'000, 'x')).error().code == Errc::io);
    CHECK(f.failed == std::vector<std::string>{"told to"});
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"})).error().code == Errc::io);
    CHECK(fake.files.empty());
    f.close();
  }

  TEST_CASE("F11: where nothing can be recorded any more, nothing is accepted or attempted") {
    QueueFixture f(on_faulty_vfs());
    const Id id = f.accept(f.message("s@a.example", {"r@b.example"}));
    // SQLite forgets the pages that it could not write, and the next transaction begins by reading the first one.
    FaultyVfs::fail_write = SQLITE_FULL;
    FaultyVfs::fail_read = true;
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"}), std::string(50'000, 'x')).error().code ==
          Errc::damaged);
    CHECK(f.failed.size() == 1);
    FaultyVfs::fail_write = SQLITE_OK;
    FaultyVfs::fail_read = false;
    CHECK_FALSE(f.settle(id, {0}, Event::attempt_relayed));
    f.reopen();
    CHECK(f.due().size() == 1);
  }

  TEST_CASE("F9: a WAL that cannot grow is `full`, and nothing worse") {
    QueueFixture f(on_faulty_vfs());
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}));
    FaultyVfs::fail_write = SQLITE_FULL;
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"})).error().code == Errc::full);
    CHECK(f.settle(id, {0}, Event::attempt_relayed).error().code == Errc::full);
    CHECK(f.body(id));
    CHECK(f.failed.empty());
    FaultyVfs::fail_write = SQLITE_OK;
    CHECK(f.count().messages == 1);
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"})));
    REQUIRE(f.settle(id, {0}, Event::attempt_relayed));
    f.reopen();
    CHECK(f.count().messages == 1);
  }

  TEST_CASE("F14: a flipped bit in a body in the row") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}));
    f.tamper("UPDATE message SET body = CAST(replace(CAST(body AS TEXT), 'text', 'texu') AS BLOB)");
    f.reopen();
    CHECK(f.body(id).error().code == Errc::damaged);
  }

  TEST_CASE("F14: a spool file that was changed, cut or lengthened is told before the final dot") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}), std::string(200'000, 'x'));
    std::string path = f.folder.path() + "/" + body_path(id.text());
    std::string whole = read_file(path);
    for (std::string damaged : {whole.substr(1), whole + "x", "y" + whole.substr(1), std::string()}) {
      std::ofstream(path, std::ios::binary) << damaged;
      CHECK(f.body(id).error().code == Errc::damaged);
    }
    std::filesystem::remove(path);
    CHECK(f.body(id).error().code == Errc::not_found);
  }

  TEST_CASE("F14: a flipped bit in a row: that message is held, the others go on") {
    const char* const kDamage[] = {
        "UPDATE recipient SET address = 'q@b.example' WHERE message = (SELECT min(id) FROM message)",
        "UPDATE recipient SET orcpt = 'rfc822;x' WHERE message = (SELECT min(id) FROM message)",
        "UPDATE recipient SET notify = 77 WHERE message = (SELECT min(id) FROM message)",
        "UPDATE message SET reverse_path = 't@a.example' WHERE id = (SELECT min(id) FROM message)",
        "UPDATE message SET trace = 'Received: x' WHERE id = (SELECT min(id) FROM message)",
        "UPDATE message SET ret = 9 WHERE id = (SELECT min(id) FROM message)",
        "UPDATE message SET envid = char(13, 10) || 'RCPT TO:<x@y>' WHERE id = (SELECT min(id) FROM message)",
        "UPDATE message SET checksum = x'00' WHERE id = (SELECT min(id) FROM message)",
        "UPDATE message SET expires = expires + 1 WHERE id = (SELECT min(id) FROM message)",
        "UPDATE recipient SET idx = idx + (1 << 32) WHERE message = (SELECT min(id) FROM message)",
        "DELETE FROM message WHERE id = (SELECT min(id) FROM message)",
    };
    for (const char* sql : kDamage) {
      CAPTURE(sql);
      QueueFixture f;
      Id bad = f.accept(f.message("s@a.example", {"r@b.example"}));
      Id good = f.accept(f.message("s@a.example", {"r@b.example"}));
      f.tamper(sql);
      f.reopen();
      std::vector<Due> due = f.due();
      REQUIRE(due.size() == 1);
      CHECK(due[0].message->id == good);
      CHECK(f.history.kinds(bad).back() == HistoryEvent::Kind::held);
      CHECK(f.due().size() == 1);
      f.runtime.advance(std::chrono::hours(130));
      Result<std::vector<Overdue>> overdue = f.run(f.store->overdue(f.now(), 10));
      REQUIRE(overdue);
      CHECK(overdue->size() == 1);
      f.list();
      f.count();
    }
  }

  TEST_CASE("F14: a flipped bit at the top of an id, or of what is reserved, is not the end of all ids") {
    for (const char* sql : {"UPDATE message SET id = id | 0x2000000000000000",
                            "UPDATE meta SET value = value | 0x0fff000000000000 WHERE key = 'id_reserve'",
                            "UPDATE meta SET value = -value WHERE key = 'id_reserve'"}) {
      CAPTURE(sql);
      QueueFixture f;
      Id first = f.accept(f.message("s@a.example", {"r@b.example"}));
      f.tamper(sql);
      f.reopen();
      Id second = f.accept(f.message("s@a.example", {"r@b.example"}));
      CHECK(second > first);
      CHECK(second.value < Id::kMax);
      CHECK(f.body(second).has_value());
    }
  }

  TEST_CASE("a destination's row that is missing or renamed sends no mail astray") {
    for (const char* sql : {"DELETE FROM destination", "UPDATE destination SET name = 'evil.example'"}) {
      QueueFixture f;
      f.accept(f.message("s@a.example", {"r@b.example"}));
      f.tamper(sql);
      f.reopen();
      CHECK(f.due().empty());
      CHECK(f.list("state:held").messages.size() == 1);
    }
  }

  TEST_CASE("F11: a page that cannot be read costs the messages on it; the others are due, expire, and end") {
    QueueFixture f;
    std::map<std::uint64_t, std::uint32_t> pages;  // message -> where its row is
    for (int i = 0; i < 200; ++i) f.accept(f.message("s@a.example", {"r@b.example"}), std::string(300, 'x'));
    f.close();
    {
      Result<PageFile> file = PageFile::open(*f.files, "queue.db");
      REQUIRE(file);
      file->each_record([&pages](const StoredRecord& record, PageFile::Use) {
        if (record.values.size() == 26) pages[static_cast<std::uint64_t>(record.rowid)] = record.page;
      });
    }
    REQUIRE(pages.size() == 200);
    std::map<std::uint32_t, std::size_t> rows;
    for (const auto& [id, page] : pages) rows[page] += 1;
    const auto leaf = std::find_if(rows.begin(), rows.end(), [](const auto& page) { return page.second > 3; });
    REQUIRE(leaf != rows.end());
    const std::uint32_t damaged = leaf->first;
    const std::size_t expected = 200 - leaf->second;
    REQUIRE(expected > 100);
    std::string path = f.folder.path() + "/queue.db";
    std::string octets = read_file(path);
    std::fill_n(octets.begin() + (damaged - 1) * 4096, 4096, '\xff');
    std::ofstream(path, std::ios::binary) << octets;

    f.reopen();
    DueQuery query;
    query.per_destination = 1000;
    std::vector<Due> due = f.due(query);
    CHECK(due.size() == expected);
    f.runtime.advance(std::chrono::hours(121));
    Result<std::vector<Overdue>> overdue = f.run(f.store->overdue(f.now(), 1000));
    REQUIRE_MESSAGE(overdue, (overdue ? std::string() : overdue.error().what));
    CHECK(overdue->size() == expected);
    for (const Due& one : due) REQUIRE(f.settle(one.message->id, {0}, Event::attempt_relayed));
    CHECK(f.due(query).empty());
    CHECK(f.failed.empty());
  }

  TEST_CASE("F15: a file that is none of ours, is cut, or is rubbish is refused and left as it is") {
    for (const std::string& octets : {std::string(100'000, 'x'), std::string("SQLite format 3\0junk", 20)}) {
      QueueFixture f;
      f.close();
      std::filesystem::remove(f.folder.path() + "/queue.db");
      std::ofstream(f.folder.path() + "/queue.db", std::ios::binary) << octets;
      auto opened = SqliteQueue::open(f.options, *f.files, f.history);
      REQUIRE_FALSE(opened);
      CHECK(opened.error().code == Errc::damaged);
      CHECK(read_file(f.folder.path() + "/queue.db") == octets);
    }
    QueueFixture f;
    f.tamper("PRAGMA application_id = 7");
    auto opened = SqliteQueue::open(f.options, *f.files, f.history);
    REQUIRE_FALSE(opened);
    CHECK(opened.error().code == Errc::damaged);
  }

  TEST_CASE("F19: a second one on the same folder is told who has it") {
    QueueFixture f;
    auto second = SqliteQueue::open(f.options, *f.files, f.history);
    REQUIRE_FALSE(second);
    CHECK(second.error().code == Errc::busy);
    CHECK(second.error().what.find("pid " + std::to_string(::getpid())) != std::string::npos);
    auto reader = QueueReader::open(f.folder.path());
    REQUIRE_FALSE(reader);
    CHECK(reader.error().code == Errc::busy);
  }

  TEST_CASE("F20: another program that opens the file is locked out") {
    QueueFixture f;
    f.accept(f.message("s@a.example", {"r@b.example"}));
    pid_t child = ::fork();  // locks of one process do not stand in its own way
    if (child == 0) {
      Result<Database> db = Database::open(f.folder.path() + "/queue.db", "", Database::Mode::read_write);
      bool locked = db && !db->value("SELECT count(*) FROM message");
      ::_exit(locked ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
  }

  TEST_CASE("a newer schema is refused with advice, and left as it is") {
    QueueFixture f;
    f.tamper("PRAGMA user_version = 99");
    auto opened = SqliteQueue::open(f.options, *f.files, f.history);
    REQUIRE_FALSE(opened);
    CHECK(opened.error().code == Errc::unsupported);
    CHECK(opened.error().what.find("newer") != std::string::npos);
    CHECK(QueueReader::open(f.folder.path()).error().code == Errc::unsupported);
  }

  TEST_CASE("spool files without a row are removed at the start, those with one stay") {
    QueueFixture f;
    Id kept = f.accept(f.message("s@a.example", {"r@b.example"}), std::string(100'000, 'x'));
    Id inside = f.accept(f.message("s@a.example", {"r@b.example"}));
    std::string path = f.folder.path() + "/" + body_path(kept.text());
    std::string folder = path.substr(0, path.rfind('/'));
    std::string of_inside = f.folder.path() + "/" + body_path(inside.text());
    std::filesystem::create_directories(of_inside.substr(0, of_inside.rfind('/')));
    std::vector<std::string> orphans = {folder + "/01JD8Q2M3XK7", folder + "/01JD8Q2M3XK7.tmp", path + ".tmp",
                                        folder + "/junk", of_inside};
    for (const std::string& orphan : orphans) std::ofstream(orphan) << "x";
    f.reopen();
    for (const std::string& orphan : orphans) CHECK_FALSE(std::filesystem::exists(orphan));
    CHECK(f.body(kept) == std::string(100'000, 'x'));
  }

  TEST_CASE("the files are readable by their owner alone") {
    QueueFixture f;
    f.accept(f.message("s@a.example", {"r@b.example"}));
    for (const char* name : {"/queue.db", "/queue.db-wal", "/lock"}) {
      CAPTURE(name);
      auto mode = std::filesystem::status(f.folder.path() + name).permissions();
      CHECK((mode & (std::filesystem::perms::group_all | std::filesystem::perms::others_all)) ==
            std::filesystem::perms::none);
    }
    f.reopen();
    f.accept(f.message("s@a.example", {"r@b.example"}));
    CHECK_FALSE(std::filesystem::exists(f.folder.path() + "/queue.db-shm"));
  }
}

TEST_SUITE("queue/reader") {
  TEST_CASE("after a clean end: reads, and touches nothing") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}), std::string(100'000, 'x'));
    f.accept(f.message("s@a.example", {"r@b.example"}));
    f.close();
    auto before = snapshot(f.folder.path());
    {
      auto reader = QueueReader::open(f.folder.path());
      REQUIRE(reader);
      auto another = QueueReader::open(f.folder.path());
      REQUIRE(another);
      CHECK((*another)->count({}, f.now())->messages == 2);
      Result<Listing> listing = (*reader)->list({}, {}, 10, f.now());
      REQUIRE(listing);
      CHECK(listing->messages.size() == 2);
      Result<std::shared_ptr<const Content>> content = (*reader)->content(id);
      REQUIRE(content);
      CHECK((*content)->in_file);
      CHECK((*reader)->content(Id{7}).error().code == Errc::not_found);
    }
    CHECK(snapshot(f.folder.path()) == before);
    f.reopen();
    CHECK(f.count().messages == 2);
  }

  TEST_CASE("after kill -9: reads what is in the WAL alone, and leaves it there") {
    TemporaryFolder folder;
    pid_t child = ::fork();
    if (child == 0) {
      // Nothing is closed: the process is gone in the middle of its work.
      QueueFixture f;
      for (int i = 0; i < 100; ++i) f.accept(f.message("s@a.example", {"r@b.example"}));
      std::filesystem::copy(f.folder.path(), folder.path(), std::filesystem::copy_options::recursive);
      std::filesystem::remove_all(f.folder.path());
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(status == 0);
    auto before = snapshot(folder.path());
    REQUIRE(before.at(folder.path() + "/queue.db-wal").size() > 100'000);
    {
      auto reader = QueueReader::open(folder.path());
      REQUIRE_MESSAGE(reader, (reader ? std::string() : reader.error().what));
      Result<Counts> counts = (*reader)->count({}, net::WallTime(net::Duration(4'000'000'000'000)));
      REQUIRE_MESSAGE(counts, (counts ? std::string() : counts.error().what));
      CHECK(counts->messages == 100);
    }
    CHECK(snapshot(folder.path()) == before);
  }

  TEST_CASE("where there is no queue") {
    TemporaryFolder folder;
    CHECK(QueueReader::open(folder.path()).error().code == Errc::not_found);
    CHECK(QueueReader::open(folder.path() + "/none").error().code == Errc::not_found);
  }
}

TEST_SUITE("queue/schema") {
  constexpr SchemaStep kSteps[] = {{"CREATE TABLE a(x INTEGER) STRICT; INSERT INTO a VALUES (1)", false},
                                   {"ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 0", false},
                                   {"UPDATE a SET y = x + 1", true}};

  TEST_CASE("an older version is brought up to date, with a copy before data change") {
    TemporaryFolder folder;
    std::string path = folder.path() + "/x.db", copy = folder.path() + "/x.db.v1";
    Result<Database> db = Database::open(path, "", Database::Mode::read_write);
    REQUIRE(db);
    Schema first{42, std::span(kSteps).first(1), "x.db"};
    Schema all{42, kSteps, "x.db"};
    int copies = 0;
    Result<std::unique_ptr<Files>> files = open_files(folder.path());
    REQUIRE(files);
    auto make_copy = [&](int version) {
      copies += 1;
      CHECK(version == 1);
      return copy_database(*db, **files, folder.path(), "x.db.v1");
    };
    std::ofstream(copy) << "of an earlier start, which was broken off";
    REQUIRE(bring_up_to_date(*db, first, make_copy));
    CHECK(copies == 0);
    CHECK(check_version(*db, all).error().code == Errc::unsupported);
    REQUIRE(bring_up_to_date(*db, all, make_copy));
    CHECK(copies == 1);
    CHECK(db->value("SELECT y FROM a").value_or(0) == 2);
    CHECK(db->value("PRAGMA user_version").value_or(0) == 3);
    REQUIRE(bring_up_to_date(*db, all, make_copy));
    CHECK(copies == 1);
    CHECK(bring_up_to_date(*db, first, make_copy).error().code == Errc::unsupported);

    Result<Database> old = Database::open(copy, "", Database::Mode::read_write);
    REQUIRE(old);
    CHECK(old->value("PRAGMA user_version").value_or(0) == 1);
    CHECK(old->value("SELECT x FROM a").value_or(0) == 1);
    CHECK((std::filesystem::status(copy).permissions() & std::filesystem::perms::others_all) ==
          std::filesystem::perms::none);
  }

  TEST_CASE("a step that fails leaves the version before it") {
    TemporaryFolder folder;
    Result<Database> db = Database::open(folder.path() + "/x.db", "", Database::Mode::read_write);
    REQUIRE(db);
    auto make_copy = [](int) { return Result<>(); };
    REQUIRE(bring_up_to_date(*db, Schema{42, std::span(kSteps).first(1), "x.db"}, make_copy));
    const SchemaStep broken[] = {kSteps[0], kSteps[1], {"UPDATE nothing SET x = 1", false}};
    CHECK_FALSE(bring_up_to_date(*db, Schema{42, broken, "x.db"}, make_copy));
    CHECK(db->value("PRAGMA user_version").value_or(0) == 1);
    CHECK_FALSE(db->value("SELECT y FROM a"));
    CHECK(bring_up_to_date(*db, Schema{42, kSteps, "x.db"}, make_copy));
  }
}
