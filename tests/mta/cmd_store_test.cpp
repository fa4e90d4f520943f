// tests/mta/cmd_store_test.cpp: waypost store, with the real handlers behind and no daemon.
#include "mta/cmd_store.h"

#include <algorithm>
#include <filesystem>
#include <string>

#include <doctest/doctest.h>

#include "tests/mta/terminal.h"
#include "tests/queue/queue_fixture.h"
#include "tests/support/temporary_folder.h"

using namespace waypost;
using namespace waypost::mta;

TEST_SUITE("mta/cmd_store") {
  TEST_CASE("store check: one screen, and 1 if it found something") {
    Terminal t;
    t.backend.checked.messages = 1204;
    CHECK(t.run({"store", "check"}) == 0);
    CHECK(t.said("1 204 messages"));
    CHECK(t.said("clean"));
    t.backend.checked.left_over = 2;
    CHECK(t.run({"store", "check"}) == 0);
    CHECK(t.said("2 spool files of no message"));
    for (int i = 0; i < 100; ++i)
      t.backend.checked.add(queue::Finding::Kind::body, queue::Id{1000}, "body of \x1b[31m: damaged");
    CHECK(t.run({"store", "check"}) == 1);
    CHECK(t.said("100 findings"));
    CHECK(t.said("and 70 more"));
    CHECK(t.said("store salvage --in-place"));
    CHECK(!t.said("\x1b"));
    CHECK(lines(t.out.str()) < 40);
    CHECK(t.run({"store", "check", "--json"}) == 1);
    CHECK(lines(t.out.str()) == 1);
    CHECK(Json::parse(t.out.str())["findings"].size() == 100);
    CHECK(t.run({"store", "check", "/no/such/folder"}) == 66);
  }

  TEST_CASE("store backup: the daemon gets an absolute path, and what is in the way is 73") {
    Terminal t;
    CHECK(t.run({"store", "backup", "monday", "--json"}) == 0);
    CHECK(Json::parse(t.out.str())["folder"] == (std::filesystem::current_path() / "monday").string());
    CHECK(t.run({"store", "backup", "/srv/b"}) == 0);
    CHECK(t.said("2 messages, 3 recipients"));
    t.backend.failure = Error(Errc::exists, "/srv/b is there already");
    CHECK(t.run({"store", "backup", "/srv/b"}) == 73);
    t.backend.failure = Error(Errc::denied, "making the folder /srv/b.partial: Permission denied");
    CHECK(t.run({"store", "backup", "/srv/b"}) == 77);
  }

  TEST_CASE("store restore and salvage, on the files") {
    tests::QueueFixture f;
    for (int i = 0; i < 3; ++i) f.accept(f.message("s@a.example", {"r@b.example"}));
    tests::TemporaryFolder outside;
    const std::string backup = outside.path() + "/b";
    REQUIRE(f.run(f.queue->back_up(f.runtime, backup, std::stop_token(), nullptr)));
    REQUIRE(f.settle(f.list().messages[0].info.id, {0}, queue::Event::attempt_relayed));
    Terminal t;
    t.data_dir = f.folder.path();
    CHECK(t.run({"store", "restore", backup}) == 73);
    CHECK(t.complained("in use by pid"));
    CHECK(t.complained("stop the daemon first"));
    CHECK(t.run({"store", "salvage", "--in-place"}) == 73);
    f.close();
    CHECK(t.run({"store", "check", backup}) == 0);
    CHECK(t.run({"store", "restore", backup}) == 73);
    CHECK(t.complained("holds 2 messages"));
    CHECK(t.run({"store", "restore", backup, "--force"}) == 0);
    CHECK(t.said("restored 3 messages"));
    CHECK(t.said("1 message of these has left the queue since the backup: what was delivered will be delivered again"));
    CHECK(t.said("queue.db.before-restore"));
    CHECK(t.run({"store", "restore", outside.path() + "/none"}) == 66);
    CHECK(t.run({"store", "salvage", outside.path() + "/new"}) == 0);
    CHECK(t.said("3 messages"));
    CHECK(t.run({"store", "salvage", outside.path() + "/new"}) == 73);

    // A damaged backup stays one.
    std::filesystem::resize_file(backup + "/queue.db", 8192);
    CHECK(t.run({"store", "restore", backup}) == 1);
    CHECK(t.complained("nothing was restored"));
    CHECK(t.run({"store", "restore", backup, "--force"}) == 74);  // too little of it is left
    t.data_dir = backup;
    CHECK(t.run({"store", "salvage", "--in-place"}) == 0);
    CHECK(t.said("queue.db.damaged"));
  }
}
