#include "queue/vacuum.h"

#include <filesystem>
#include <string>

#include <doctest/doctest.h>

#include "queue/stats.h"
#include "tests/queue/queue_fixture.h"

using namespace waypost;
using namespace waypost::queue;
using tests::QueueFixture;

namespace {

/// Mail that left: its pages are free.
void fill_and_empty(QueueFixture& f) {
  for (int i = 0; i < 60; ++i) f.accept(f.message("s@a.example", {"r@b.example"}), std::string(60'000, 'x') + "\r\n");
  f.tamper("DELETE FROM recipient; DELETE FROM message");
}

}  // namespace

TEST_SUITE("queue/vacuum") {
  TEST_CASE("a running queue gives its free pages back, and takes mail meanwhile") {
    QueueFixture f;
    fill_and_empty(f);
    f.reopen();
    f.accept(f.message("s@a.example", {"r@b.example"}));
    const Result<StoreStats> before = f.run(f.queue->store_stats(f.runtime));
    REQUIRE(before);
    CHECK(before->free_pages > 800);
    REQUIRE(before->totals);
    CHECK(before->totals->messages == 1);
    CHECK(before->destinations == 1);
    const Result<VacuumReport> report = f.run(f.queue->vacuum(f.runtime, std::stop_token()));
    REQUIRE(report);
    CHECK(report->pages >= before->free_pages);
    const Result<StoreStats> after = f.run(f.queue->store_stats(f.runtime));
    REQUIRE(after);
    CHECK(after->free_pages == 0);
    CHECK(after->pages == before->pages - report->pages);
    const Result<VacuumReport> again = f.run(f.queue->vacuum(f.runtime, std::stop_token()));
    REQUIRE(again);
    CHECK(again->pages == 0);
    std::stop_source stop;
    stop.request_stop();
    CHECK(f.run(f.queue->vacuum(f.runtime, stop.get_token())).error().code == Errc::cancelled);
    f.close();
    CHECK(check_folder(f.folder.path())->found == 0);
  }

  TEST_CASE("so does a queue without a daemon, and the file is small at once") {
    QueueFixture f;
    fill_and_empty(f);
    const std::string file = f.folder.path() + "/queue.db";
    const auto size = std::filesystem::file_size(file);
    const Result<StoreStats> before = stats_of_folder(f.folder.path());
    REQUIRE(before);
    CHECK(before->database_octets == size);
    const Result<VacuumReport> report = vacuum_folder(f.folder.path());
    REQUIRE(report);
    CHECK(report->pages >= before->free_pages);
    CHECK(std::filesystem::file_size(file) == size - report->pages * VacuumReport::kPage);
    CHECK(!std::filesystem::exists(file + "-wal"));
    f.reopen();
    CHECK(vacuum_folder(f.folder.path()).error().code == Errc::busy);
    CHECK(stats_of_folder(f.folder.path()).error().code == Errc::busy);
  }

  TEST_CASE("stats count what is there, spool files too, in one way with and without a daemon") {
    QueueFixture f;
    f.accept(f.message("s@a.example", {"r@b.example", "t@c.example"}), std::string(100'000, 'x') + "\r\n");
    f.accept(f.message("s@a.example", {"r@b.example"}));
    const Result<StoreStats> live = f.run(f.queue->store_stats(f.runtime));
    REQUIRE(live);
    REQUIRE(live->totals);
    f.close();
    const Result<StoreStats> down = stats_of_folder(f.folder.path());
    REQUIRE(down);
    REQUIRE(down->totals);
    for (const StoreStats* stats : {&*live, &*down}) {
      CHECK(stats->spool_files == 1);
      CHECK(stats->spool_octets > 100'000);
      CHECK(stats->totals->messages == 2);
      CHECK(stats->totals->deferred == 3);
      CHECK(stats->destinations == 2);
      CHECK(stats->version == 7);
    }
    CHECK(live->totals->octets == down->totals->octets);
    CHECK(live->totals->oldest_deferred == down->totals->oldest_deferred);
  }
}
