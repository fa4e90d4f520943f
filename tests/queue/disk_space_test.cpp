#include "queue/disk_space.h"

#include <filesystem>
#include <utility>

#include <doctest/doctest.h>

#include "tests/queue/queue_fixture.h"
#include "tests/support/fake_files.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;

namespace {

constexpr std::uint64_t kMega = 1 << 20;

/// A disk that others fill: what is set aside takes its room, what else is written does not.
class SmallDisk : public FakeFiles {
 public:
  explicit SmallDisk(std::uint64_t total, std::uint64_t free) : space_{free, total} {}
  Result<Space> space() override { return space_; }
  Result<> set_aside(const std::string& path, std::uint64_t octets) override {
    if (aside_ == octets && files.contains(path)) return {};
    if (space_.free < octets) return fail(Errc::full, "no room");
    files[path] = std::make_shared<std::string>();
    space_.free -= octets;
    aside_ = octets;
    return {};
  }
  Result<> remove(const std::string& path) override {
    Result<> removed = FakeFiles::remove(path);
    if (removed && path == "ballast") space_.free += std::exchange(aside_, 0);
    return removed;
  }
  void set_free(std::uint64_t free) { space_.free = free; }
  std::uint64_t free() const { return space_.free; }

 private:
  Space space_;
  std::uint64_t aside_ = 0;
};

/// A queue of which only what is not the database stands on the small disk.
struct QueueOnSmallDisk : QueueFixture {
  explicit QueueOnSmallDisk(StoreOptions given = {}) : QueueFixture(std::move(given)) {
    close();
    auto small = std::make_unique<SmallDisk>(1000 * kMega, 500 * kMega);
    disk = small.get();
    files = std::move(small);
    reopen();
  }
  SmallDisk* disk = nullptr;
};

net::Task<> accept(Store& store, NewMessage message, Draft body, std::optional<Result<>>& out) {
  BodyNotes notes;
  out = co_await store.commit(std::move(message), std::move(body), notes, std::nullopt);
}

net::Task<> settle(Store& store, Settlement settlement, std::vector<Result<bool>>& out) {
  Result<bool> done = co_await store.settle(std::move(settlement));
  out.push_back(std::move(done));
}

}  // namespace

TEST_SUITE("queue/disk_space") {
  TEST_CASE("what is kept free, and the ballast") {
    CHECK(kept_free(40 * kMega) == 4 * kMega);
    CHECK(kept_free(1'000'000 * kMega) == 2048 * kMega);
    CHECK(ballast_octets(40 * kMega) == 4 * kMega);
    CHECK(ballast_octets(1'000'000 * kMega) == 32 * kMega);
  }

  TEST_CASE("room for new mail is what is over the part that is kept free") {
    SmallDisk disk(1000 * kMega, 500 * kMega);
    DiskSpace space(disk);
    space.keep_ballast();
    CHECK(disk.free() == 468 * kMega);
    CHECK(space.has_room(368 * kMega, 0));
    CHECK_FALSE(space.has_room(369 * kMega, 0));
    CHECK(space.has_room(369 * kMega, kMega));
    // Free pages of the database are no room for the WAL.
    disk.set_free(49 * kMega);
    CHECK_FALSE(space.has_room(kMega, 400 * kMega));
    disk.set_free(50 * kMega);
    CHECK(space.has_room(kMega, 400 * kMega));
  }

  TEST_CASE("without its ballast no mail is taken; it comes back with the room") {
    SmallDisk disk(1000 * kMega, 500 * kMega);
    DiskSpace space(disk);
    space.keep_ballast();
    disk.set_free(0);
    CHECK(space.give_up_ballast());
    CHECK(disk.free() == 32 * kMega);
    CHECK_FALSE(space.give_up_ballast());
    disk.set_free(120 * kMega);
    CHECK_FALSE(space.has_room(1, 0));
    disk.set_free(140 * kMega);
    CHECK(space.has_room(1, 0));
    CHECK(disk.free() == 108 * kMega);
  }

  TEST_CASE("a start on a full disk takes no ballast, and finds the one that is there") {
    SmallDisk disk(1000 * kMega, 120 * kMega);
    DiskSpace(disk).keep_ballast();
    CHECK(disk.free() == 120 * kMega);
    disk.set_free(500 * kMega);
    DiskSpace(disk).keep_ballast();
    disk.set_free(0);
    DiskSpace again(disk);
    again.keep_ballast();
    CHECK(disk.free() == 0);
    CHECK(again.give_up_ballast());
  }

  TEST_CASE("a file set aside takes up its size, once") {
    TemporaryFolder folder;
    Result<std::unique_ptr<Files>> files = open_files(folder.path());
    REQUIRE(files);
    Result<Space> space = (*files)->space();
    REQUIRE(space);
    CHECK(space->free <= space->total);
    for (int i = 0; i < 2; ++i) {
      Result<> aside = (*files)->set_aside("ballast", kMega);
      if (!aside && aside.error().code == Errc::unsupported) return;
      REQUIRE(aside);
      CHECK(std::filesystem::file_size(folder.path() + "/ballast") == kMega);
    }
    Result<> too_much = (*files)->set_aside("ballast", std::uint64_t{1} << 60);
    REQUIRE_FALSE(too_much);
    CHECK(too_much.error().code == Errc::full);
    CHECK_FALSE(std::filesystem::exists(folder.path() + "/ballast"));
  }

  TEST_CASE("new mail is put off while the disk is nearly full, outcomes are not (F9)") {
    QueueOnSmallDisk f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example", "q@b.example"}));
    f.disk->set_free(101 * kMega);
    f.accept(f.message("s@a.example", {"r@b.example"}));
    f.disk->set_free(99 * kMega);
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"})).error().code == Errc::full);
    CHECK(f.settle(id, {0}, Event::attempt_relayed));
    CHECK(f.settle(id, {1}, Event::attempt_failed, {f.notification("s@a.example")}));
    CHECK(f.count().messages == 2);
    f.disk->set_free(101 * kMega);
    f.accept(f.message("s@a.example", {"r@b.example"}));
    CHECK(f.failed.empty());
  }

  TEST_CASE("a body in a spool file is put off while it comes in (F9)") {
    QueueOnSmallDisk f;
    f.disk->set_free(99 * kMega);
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"}), std::string(200'000, 'x')).error().code ==
          Errc::full);
    CHECK(f.disk->files.size() == 1);  // the ballast
  }

  TEST_CASE("in one batch new mail is put off, and the rest is one transaction") {
    QueueOnSmallDisk f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example", "q@b.example"}));
    f.disk->set_free(99 * kMega);
    const std::uint64_t commits = f.queue->stats().commits;
    Draft draft = f.store->draft();
    draft.buffer() = "text\r\n";
    std::optional<Result<>> accepted;
    std::vector<Result<bool>> settled;
    f.scope.spawn(accept(*f.store, f.message("s@a.example", {"r@b.example"}), std::move(draft), accepted));
    for (std::uint32_t index : {0U, 1U}) {
      Settlement settlement;
      settlement.message = id;
      settlement.recipients.push_back({});
      settlement.recipients[0].index = index;
      settlement.recipients[0].event = Event::attempt_relayed;
      f.scope.spawn(settle(*f.store, std::move(settlement), settled));
    }
    f.pump();
    REQUIRE(accepted);
    CHECK(accepted->error().code == Errc::full);
    REQUIRE(settled.size() == 2);
    CHECK((settled[0] && settled[1]));
    CHECK(f.queue->stats().commits == commits + 1);
    CHECK(f.count().messages == 0);
  }

  TEST_CASE("when an outcome finds the disk full the ballast goes, and new mail waits for it to come back (F9)") {
    StoreOptions options;
    options.max_octets = 400 * 1024;
    QueueOnSmallDisk f(options);
    const Id id = f.accept(f.message("s@a.example", {"r@b.example"}));
    std::optional<Error> full;
    for (int i = 0; i < 100 && !full; ++i) {
      Result<Id> more = f.try_accept(f.message("s@a.example", {"r@b.example"}), std::string(20'000, 'x'));
      if (!more) full = more.error();
    }
    REQUIRE(full);
    CHECK(full->code == Errc::full);
    CHECK(f.disk->files.contains("ballast"));
    f.disk->set_free(99 * kMega);
    Notification large = f.notification("s@a.example");
    large.body.assign(50'000, 'x');
    CHECK_FALSE(f.settle(id, {0}, Event::attempt_failed, {large}));
    CHECK_FALSE(f.disk->files.contains("ballast"));
    CHECK(f.disk->free() == 131 * kMega);
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"}), "text\r\n").error().code == Errc::full);
    for (const Due& due : f.due()) CHECK(f.settle(due.message->id, {0}, Event::attempt_relayed));
    f.disk->set_free(140 * kMega);
    f.accept(f.message("s@a.example", {"r@b.example"}));
    CHECK(f.disk->files.contains("ballast"));
  }
}
