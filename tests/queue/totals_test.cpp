// What the keeper of totals says beside what the rows are.
#include "queue/totals.h"

#include <random>

#include <doctest/doctest.h>

#include "queue/rows.h"
#include "tests/queue/queue_fixture.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;

namespace {

struct Fixture : QueueFixture {
  Totals totals() {
    Result<std::optional<Totals>> found = run(queue->totals(runtime));
    REQUIRE(found);
    REQUIRE(found->has_value());
    return **found;
  }
  Id accept_for(const std::vector<std::string>& to) {
    runtime.advance(std::chrono::seconds(1));
    return accept(message("s@a.example", to));
  }
};

/// As a new start would count them.
void check_against_rows(Fixture& f) {
  const Totals kept = f.totals();
  f.reopen();
  const Totals counted = f.totals();
  CHECK(kept.messages == counted.messages);
  CHECK(kept.octets == counted.octets);
  CHECK(kept.deferred == counted.deferred);
  CHECK(kept.held == counted.held);
  CHECK(kept.removed == counted.removed);
  CHECK((kept.oldest_deferred == counted.oldest_deferred));
  CHECK((kept.oldest_held == counted.oldest_held));
  const Counts shown = f.count();
  CHECK(counted.deferred == shown.active + shown.deferred);
  CHECK(counted.held == shown.held);
}

}  // namespace

TEST_SUITE("queue/totals") {
  TEST_CASE("what comes, is held, is removed, is taken back and leaves") {
    Fixture f;
    CHECK(f.totals().messages == 0);
    CHECK(!f.totals().oldest_deferred);
    const Id first = f.accept_for({"a@b.example", "b@b.example"});
    const Id second = f.accept_for({"c@c.example"});
    Totals now = f.totals();
    CHECK(now.messages == 2);
    CHECK(now.deferred == 3);
    CHECK(now.octets == f.count().octets);
    CHECK(now.oldest_deferred == time_of(first));
    CHECK(!now.oldest_held);

    f.change(Change::hold, "to:a@b.example");
    now = f.totals();
    CHECK(now.deferred == 2);
    CHECK(now.held == 1);
    CHECK(now.oldest_held == time_of(first));
    REQUIRE(f.settle(first, {1}, Event::attempt_relayed));
    CHECK(f.totals().oldest_deferred == time_of(second));

    const Changed removed = f.change(Change::remove, first.text());
    now = f.totals();
    CHECK(now.messages == 2);
    CHECK(now.held == 0);
    CHECK(now.removed == 1);
    CHECK(!now.oldest_held);
    REQUIRE(f.undo(removed.number));
    CHECK(f.totals().held == 1);
    CHECK(f.totals().removed == 0);

    f.change(Change::release, "state:held");
    CHECK(f.totals().oldest_deferred == time_of(first));
    f.change(Change::remove, first.text(), false, true);
    REQUIRE(f.settle(second, {0}, Event::attempt_failed, {f.notification("s@a.example")}));
    now = f.totals();
    CHECK(now.messages == 1);
    CHECK(now.deferred == 1);
    check_against_rows(f);
  }

  TEST_CASE("what is not committed does not count") {
    Fixture f;
    f.options.max_octets = 400 * 1024;
    f.reopen();
    CHECK(f.totals().messages == 0);
    std::size_t accepted = 0;
    for (int i = 0; i < 40; ++i)
      if (f.try_accept(f.message("s@a.example", {"r@b.example"}), std::string(20'000, 'x'))) ++accepted;
    CHECK(accepted > 5);
    CHECK(accepted < 40);
    CHECK(f.totals().messages == accepted);
    CHECK(f.totals().deferred == accepted);
  }

  TEST_CASE("rows are counted in turns, while others come and go") {
    Fixture f;
    std::vector<Id> ids;
    for (int i = 0; i < 4500; ++i) ids.push_back(f.accept(f.message("s@a.example", {"r@b.example"})));
    f.reopen();
    f.close();
    Result<Database> db = Database::open(f.folder.path() + "/queue.db", "", Database::Mode::read_write);
    REQUIRE(db);
    TotalsKeeper keeper;
    Result<bool> whole = keeper.count(*db);
    REQUIRE(whole);
    CHECK_FALSE(*whole);
    const auto remove = [&](Id id) {
      for (const char* of : {"DELETE FROM recipient WHERE message = ", "DELETE FROM message WHERE id = "})
        REQUIRE(db->run((of + std::to_string(id.value)).c_str()));
    };
    remove(ids[0]);     // counted already
    remove(ids[4400]);  // not yet
    keeper.committed();
    {
      Transaction transaction(*db);
      REQUIRE(transaction.begin());
      remove(ids[1]);
    }
    keeper.rolled_back();
    int turns = 1;
    for (; !*whole; ++turns) {
      whole = keeper.count(*db);
      REQUIRE(whole);
    }
    CHECK(turns == 3);
    CHECK(keeper.totals().messages == 4498);
    CHECK(keeper.totals().deferred == 4498);
    CHECK(keeper.totals().oldest_deferred == time_of(ids[1]));
  }

  TEST_CASE("after any walk they are what the rows are") {
    for (const unsigned seed : {1U, 2U, 3U}) {
      CAPTURE(seed);
      Fixture f;
      std::mt19937 chance(seed);
      std::vector<Id> ids;
      std::vector<std::uint64_t> changes;
      const auto some_id = [&] { return ids[chance() % ids.size()]; };
      f.totals();
      for (int step = 0; step < 400; ++step) {
        const unsigned what = ids.empty() ? 0 : chance() % 12;
        if (what < 4) {
          ids.push_back(f.accept_for({"a@b.example", "b@c.example"}));
        } else if (what < 6) {
          const Event events[] = {Event::attempt_relayed, Event::attempt_deferred, Event::attempt_failed,
                                  Event::lifetime_over};
          const std::uint32_t index = chance() % 2;
          (void)f.settle(some_id(), {index}, events[chance() % 4]);
        } else if (what < 10) {
          const Change of[] = {Change::hold, Change::release, Change::retry, Change::remove};
          const std::string whom = chance() % 3 == 0 ? "to:a@b.example age:>30s" : some_id().text();
          changes.push_back(f.change(of[what - 6], whom, false, what == 9 && chance() % 4 == 0).number);
        } else if (what == 10 && !changes.empty()) {
          (void)f.undo(changes[chance() % changes.size()]);
        } else if (chance() % 8 == 0) {
          f.runtime.advance(kUndoTime);
          REQUIRE(f.run(f.store->forget_removed(f.now(), std::stop_token())));
        }
        if (step % 20 == 19) check_against_rows(f);
      }
    }
  }
}
