// The disk that loses power, by itself and below SQLite: what a cut leaves and what it takes.
#include "tests/support/sim_disk.h"

#include <set>

#include <doctest/doctest.h>

#include "queue/sqlite.h"

using namespace waypost;
using namespace waypost::tests;
using queue::Database;

namespace {

void put(queue::Files& files, const std::string& path, const std::string& octets, bool synced) {
  Result<std::unique_ptr<queue::File>> file = files.create(path);
  REQUIRE(file);
  REQUIRE((*file)->append(octets));
  if (synced) REQUIRE((*file)->sync());
}

std::string at(const SimDisk& disk, const std::string& path) {
  return disk.octets("/data/" + path).value_or("none");
}

/// What each of many images has at `path`.
std::set<std::string> possible(SimDisk& disk, const std::string& path, Loss policy = Loss::keep_half) {
  SimDisk::Replay replay = disk.replay();
  while (replay.step()) continue;
  std::set<std::string> out;
  for (std::uint64_t seed = 0; seed < 100; ++seed) out.insert(at(*replay.image(seed, policy), path));
  return out;
}

using Found = std::set<std::string>;

constexpr const char* kSettings = "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; ";

}  // namespace

TEST_SUITE("power/sim_disk") {
  TEST_CASE("octets that were synced stay, others may; a name stays once its folder was synced") {
    SimDisk disk;
    disk.start_recording();
    put(disk.files(), "a", "one", true);
    CHECK(possible(disk, "a") == Found{"one", "none"});

    REQUIRE(disk.files().sync_folder("."));
    Result<std::unique_ptr<queue::File>> b = disk.files().create("b");
    REQUIRE(b);
    REQUIRE(disk.files().sync_folder("."));
    disk.start_recording();
    REQUIRE((*b)->append("two"));
    CHECK(possible(disk, "a") == Found{"one"});
    disk.start_recording();
    CHECK(possible(disk, "b") == Found{"", "two"});  // not synced before the record began
    disk.lose_power(1, Loss::drop_all);
    CHECK(at(disk, "a") == "one");
    CHECK(at(disk, "b") == "");
  }

  TEST_CASE("a rename is the old name or the new one, across folders too, and never both") {
    for (bool synced : {false, true}) {
      SimDisk disk;
      queue::Files& files = disk.files();
      REQUIRE(files.make_folder("tmp"));
      REQUIRE(files.make_folder("new"));
      disk.start_recording();
      put(files, "tmp/a", "x", true);
      REQUIRE(files.sync_folder("tmp"));
      REQUIRE(files.rename("tmp/a", "new/a"));
      if (synced) REQUIRE(files.sync_folder("new"));
      SimDisk::Replay replay = disk.replay();
      while (replay.step()) continue;
      std::set<std::pair<std::string, std::string>> found;
      for (std::uint64_t seed = 0; seed < 50; ++seed) {
        std::unique_ptr<SimDisk> image = replay.image(seed, Loss::keep_half);
        found.insert({at(*image, "tmp/a"), at(*image, "new/a")});
      }
      std::set<std::pair<std::string, std::string>> want = {{"none", "x"}};
      if (!synced) want.insert({"x", "none"});
      CHECK(found == want);
    }
  }

  TEST_CASE("the name of a file that was made and renamed is certain with the folder it went to alone") {
    SimDisk disk;
    queue::Files& files = disk.files();
    REQUIRE(files.make_folder("tmp"));
    REQUIRE(files.make_folder("new"));
    put(files, "tmp/a", "x", true);
    REQUIRE(files.rename("tmp/a", "new/a"));
    REQUIRE(files.sync_folder("new"));
    disk.lose_power(3, Loss::keep_all);
    CHECK(at(disk, "tmp/a") == "none");
    CHECK(at(disk, "new/a") == "x");
  }

  TEST_CASE("a removed file may come back; one in a folder without a name is gone") {
    SimDisk disk;
    put(disk.files(), "a", "x", true);
    REQUIRE(disk.files().sync_folder("."));
    disk.start_recording();
    REQUIRE(disk.files().remove("a"));
    CHECK(at(disk, "a") == "none");
    CHECK(possible(disk, "a") == Found{"x", "none"});

    disk.ignored = [](const Call& call) { return call.path == "/data"; };
    disk.start_recording();
    REQUIRE(disk.files().make_folder("sub"));
    put(disk.files(), "sub/a", "y", true);
    REQUIRE(disk.files().sync_folder("sub"));
    CHECK(possible(disk, "sub/a") == Found{"y", "none"});
  }

  TEST_CASE("writes are kept one by one, and torn at 512 octets") {
    SimDisk disk;
    put(disk.files(), "a", std::string(1536, '-'), true);
    REQUIRE(disk.files().sync_folder("."));
    Result<std::unique_ptr<queue::File>> a = disk.files().open("a");
    REQUIRE(a);
    disk.start_recording();
    REQUIRE((*a)->append(std::string(512, 'a')));
    REQUIRE((*a)->append(std::string(1024, 'b')));
    std::string old(1536, '-'), first(512, 'a'), zeros(512, '\0'), half(512, 'b');
    SimDisk::Replay replay = disk.replay();
    while (replay.step()) continue;
    std::set<std::string> kept, torn;
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
      kept.insert(at(*replay.image(seed, Loss::keep_half), "a"));
      torn.insert(at(*replay.image(seed, Loss::tear), "a"));
    }
    CHECK(kept == Found{old, old + first, old + zeros + half + half, old + first + half + half});
    CHECK(torn ==
          Found{old + zeros + half, old + first + half, old + zeros + zeros + half, old + first + zeros + half});
  }

  TEST_CASE("a sync that failed: what was not written then never is, whatever is synced later [F12]") {
    std::set<std::string> found;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      SimDisk disk(seed);
      put(disk.files(), "a", "", true);
      REQUIRE(disk.files().sync_folder("."));
      Result<std::unique_ptr<queue::File>> a = disk.files().open("a");
      REQUIRE(a);
      REQUIRE((*a)->append("one"));
      disk.before = [](const Call& call) { return call.kind == Call::Kind::sync ? Fault::io : Fault::none; };
      CHECK((*a)->sync().error().code == Errc::io);
      disk.before = nullptr;
      REQUIRE((*a)->append("two"));
      REQUIRE((*a)->sync());
      CHECK(at(disk, "a") == "onetwo");  // as the kernel remembers it
      disk.lose_power(seed, Loss::keep_all);
      found.insert(at(disk, "a"));
    }
    CHECK(found == Found{"onetwo", std::string("\0\0\0two", 6)});
  }

  TEST_CASE("a kill takes nothing, but leaves what was not synced to the power") {
    SimDisk disk;
    put(disk.files(), "a", "x", false);
    disk.kill();
    CHECK(at(disk, "a") == "x");
    disk.lose_power(1, Loss::drop_all);
    CHECK(at(disk, "a") == "none");
    put(disk.files(), "a", "x", false);
    disk.write_back();
    disk.lose_power(1, Loss::drop_all);
    CHECK(at(disk, "a") == "x");
  }

  TEST_CASE("after a cut everything fails until the power is back; what is left of the old run, for ever") {
    SimDisk disk;
    queue::Files& old = disk.files();
    queue::OpenFolder old_folders = disk.open_folder();
    put(old, "a", "x", true);
    Result<std::unique_ptr<queue::File>> file = old.open("a");
    REQUIRE(file);
    REQUIRE(old.sync_folder("."));
    std::uint64_t at_cut = disk.position() + 1;
    disk.before = [at_cut](const Call& call) { return call.position == at_cut ? Fault::cut : Fault::none; };
    REQUIRE(old.create("b"));
    CHECK(old.create("c").error().code == Errc::io);
    CHECK(disk.off());
    CHECK(disk.position() == at_cut + 1);
    CHECK(old.remove("a").error().code == Errc::io);
    CHECK((*file)->append("y").error().code == Errc::io);
    disk.lose_power(7, Loss::keep_all);
    CHECK_FALSE(disk.off());
    CHECK(old.remove("a").error().code == Errc::io);
    CHECK((*file)->append("y").error().code == Errc::io);
    CHECK_FALSE(old_folders("/mail", true));
    CHECK(disk.list() == std::map<std::string, std::uint64_t>{{"/data/a", 1}, {"/data/b", 0}});
    CHECK(disk.files().open("a"));
  }

  TEST_CASE("a full disk takes what fits") {
    SimDisk disk;
    disk.set_capacity(1000);
    CHECK(disk.files().space().value().free == 1000);
    Result<std::unique_ptr<queue::File>> a = disk.files().create("a");
    REQUIRE(a);
    CHECK((*a)->append(std::string(1500, 'x')).error().code == Errc::full);
    CHECK(disk.list().at("/data/a") == 1000);
    CHECK(disk.files().space().value().free == 0);
    REQUIRE(disk.files().remove("a"));
    REQUIRE(disk.files().set_aside("b", 900));
    CHECK(disk.files().space().value().free == 100);
    CHECK(disk.files().set_aside("c", 200).error().code == Errc::full);
    CHECK(disk.list() == std::map<std::string, std::uint64_t>{{"/data/b", 900}});
  }

  TEST_CASE("folders anywhere, several disks, and flipped bits") {
    SimDisk disk, other;
    CHECK(disk.open_folder()("/mail", false).error().code == Errc::not_found);
    Result<std::unique_ptr<queue::Files>> folder = disk.open_folder()("/mail/b.example/r", true);
    REQUIRE(folder);
    put(**folder, "a", "x", true);
    REQUIRE((*folder)->sync_folder("."));
    disk.lose_power(1, Loss::drop_all);
    CHECK(disk.octets("/mail/b.example/r/a") == "x");
    disk.flip_bit("/mail/b.example/r/a", 0);
    CHECK(disk.octets("/mail/b.example/r/a") == "y");
    CHECK(other.list().empty());
    CHECK(disk.vfs() != other.vfs());
  }

  TEST_CASE("SQLite: the same calls and seeds make the same octets") {
    auto written = [] {
      SimDisk disk(5);
      for (int start = 0; start < 3; ++start) {
        Result<Database> db = Database::open("/data/x.db", disk.vfs(), Database::Mode::read_write);
        REQUIRE(db);
        REQUIRE(db->run(kSettings));
        REQUIRE(db->run("CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES (randomblob(100)), (datetime())"));
        disk.lose_power(9, Loss::keep_all);
      }
      return disk.octets("/data/x.db").value_or("") + disk.octets("/data/x.db-wal").value_or("");
    };
    std::string first = written();
    CHECK(first.size() > 8192);
    CHECK(first == written());
  }

  TEST_CASE("SQLite: two connections on one file lock each other out; one of an earlier run does not") {
    SimDisk disk;
    Result<Database> first = Database::open("/data/x.db", disk.vfs(), Database::Mode::read_write);
    REQUIRE(first);
    REQUIRE(first->run(kSettings));
    REQUIRE(first->run("CREATE TABLE t(x)"));
    Result<Database> second = Database::open("/data/x.db", disk.vfs(), Database::Mode::read_write);
    REQUIRE(second);
    CHECK_FALSE(second->value("SELECT count(*) FROM t"));
    disk.lose_power(1, Loss::drop_all);
    Result<Database> third = Database::open("/data/x.db", disk.vfs(), Database::Mode::read_write);
    REQUIRE(third);
    REQUIRE(third->run(kSettings));
    CHECK(third->run("INSERT INTO t VALUES (1)"));
    CHECK_FALSE(first->run("INSERT INTO t VALUES (2)"));
    first = fail(Errc::closed, "");
    CHECK(third->value("SELECT count(*) FROM t") == 1);
  }
}
