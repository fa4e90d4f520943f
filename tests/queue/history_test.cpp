#include "queue/history.h"

#include <thread>

#include <doctest/doctest.h>

#include "queue/schema.h"
#include "tests/queue/queue_fixture.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;
using Kind = HistoryEvent::Kind;

namespace {

net::WallTime now() {
  return std::chrono::floor<net::Duration>(std::chrono::system_clock::now());
}

HistoryEvent accepted(std::uint64_t id, const std::string& from, net::WallTime time = now()) {
  HistoryEvent event;
  event.message = Id{id};
  event.time = time;
  event.from = from;
  event.host = "192.0.2.1";
  event.text = "mx ESMTP";
  event.message_id = "<" + std::to_string(id) + "@c.example>";
  event.size = 1234;
  return event;
}

HistoryEvent relayed(std::uint64_t id, const std::string& to, net::WallTime time = now()) {
  HistoryEvent event;
  event.message = Id{id};
  event.time = time;
  event.kind = Kind::relayed;
  event.recipient = to;
  event.host = "mx.b.example[192.0.2.7]:25";
  event.status = "2.0.0";
  event.text = "250 2.0.0 Ok: queued as 4711";
  return event;
}

std::size_t found(History& history, const HistoryQuery& query) {
  Result<std::vector<HistoryEvent>> events = history.find(query);
  REQUIRE_MESSAGE(events, (events ? std::string() : events.error().what));
  return events->size();
}

}  // namespace

TEST_SUITE("queue/history") {
  TEST_CASE("what was written is found, also after a restart and read-only") {
    TemporaryFolder folder;
    std::string path = folder.path() + "/history.db";
    HistoryQuery one;
    one.id = Id{1};
    {
      auto history = open_history(path, std::chrono::hours(24));
      REQUIRE(history);
      (*history)->add(accepted(1, "s@a.example"));
      HistoryEvent deferred = relayed(1, "r@b.example");
      deferred.kind = Kind::deferred;
      deferred.next_attempt = now() + std::chrono::minutes(5);
      (*history)->add(deferred);
      HistoryEvent notified;
      notified.message = Id{1};
      notified.time = now();
      notified.kind = Kind::notified;
      notified.other = Id{9};
      (*history)->add(notified);
      (*history)->add(accepted(2, ""));
      CHECK(found(**history, one) == 3);
      // Each kind, of a message of its own, is read as it was written.
      for (int kind = 0; kind <= static_cast<int>(Kind::restored); ++kind) {
        HistoryEvent event;
        event.message = Id{100 + static_cast<std::uint64_t>(kind)};
        event.time = now();
        event.kind = static_cast<Kind>(kind);
        (*history)->add(event);
        HistoryQuery of_it;
        of_it.id = event.message;
        const Result<std::vector<HistoryEvent>> read = (*history)->find(of_it);
        REQUIRE(read);
        REQUIRE(read->size() == 1);
        CHECK(read->front().kind == event.kind);
      }
    }
    auto check = [&one](History& history) {
      Result<std::vector<HistoryEvent>> events = history.find(one);
      REQUIRE(events);
      REQUIRE(events->size() == 3);
      CHECK(events->at(0).kind == Kind::accepted);
      CHECK(events->at(0).from == "s@a.example");
      CHECK(events->at(0).message_id == "<1@c.example>");
      CHECK(events->at(0).size == 1234);
      CHECK_FALSE(events->at(0).next_attempt);
      CHECK(events->at(1).recipient == "r@b.example");
      CHECK(events->at(1).status == "2.0.0");
      CHECK(events->at(1).next_attempt);
      CHECK(events->at(2).other == Id{9});
    };
    {
      auto reader = open_history_read_only(path);
      REQUIRE(reader);
      check(**reader);
    }
    auto again = open_history(path, std::chrono::hours(24));
    REQUIRE(again);
    check(**again);
  }

  TEST_CASE("a search by sender, recipient, Message-ID and time gives the whole life of what it finds") {
    TemporaryFolder folder;
    auto history = open_history(folder.path() + "/history.db", std::chrono::hours(240));
    REQUIRE(history);
    net::WallTime yesterday = now() - std::chrono::hours(24);
    (*history)->add(accepted(1, "ann@shop.example", yesterday));
    (*history)->add(relayed(1, "x@gmail.com", yesterday));
    (*history)->add(accepted(2, "bob@shop.example"));
    (*history)->add(relayed(2, "y@gmail.com"));
    (*history)->add(relayed(2, "z_100%@b.example"));
    (*history)->add(accepted(3, ""));
    struct {
      HistoryQuery query;
      std::size_t events;
    } table[15];
    table[0].events = 6;
    table[1].query.from = "*@shop.example", table[1].events = 5;
    table[2].query.from = "ANN@shop.example", table[2].events = 2;
    table[3].query.from = "<>", table[3].events = 1;
    table[4].query.to = "@gmail.com", table[4].events = 5;
    table[5].query.to = "z_100%@b.example", table[5].events = 3;
    table[6].query.to = "zx100%@b.example", table[6].events = 0;
    table[7].query.message_id = "<2@c.example>", table[7].events = 3;
    table[8].query.since = now() - std::chrono::hours(1), table[8].events = 4;
    table[9].query.since = yesterday, table[9].query.to = "x@*", table[9].events = 2;
    table[10].query.limit = 1, table[10].events = 1;  // the newest
    table[11].query.id = Id{2}, table[11].query.from = "ann@*", table[11].events = 0;
    table[12].query.from = "' OR 1=1 --", table[12].events = 0;
    table[13].query.message_id = "<2@c.example>", table[13].query.from = "bob@*", table[13].events = 3;
    table[14].query.from = std::string("*\0x", 3), table[14].events = 0;  // not everything
    for (std::size_t i = 0; i < std::size(table); ++i) {
      CAPTURE(i);
      CHECK(found(**history, table[i].query) == table[i].events);
    }
  }

  TEST_CASE("what is older than it is kept goes away") {
    TemporaryFolder folder;
    std::string path = folder.path() + "/history.db";
    {
      auto history = open_history(path, std::chrono::hours(24 * 365));
      REQUIRE(history);
      for (std::uint64_t i = 0; i < 5000; ++i)
        (*history)->add(accepted(i, "s@a.example", now() - std::chrono::hours(50)));
      (*history)->add(accepted(9000, "s@a.example"));
    }
    auto history = open_history(path, std::chrono::hours(24));
    REQUIRE(history);
    // The sweep is in the background, some thousand at a time.
    std::size_t left = 0;
    for (int tries = 0; tries < 200; ++tries) {
      left = found(**history, {});
      if (left == 1) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    CHECK(left == 1);
  }

  TEST_CASE("several threads add, one searches: nothing is lost") {
    TemporaryFolder folder;
    auto history = open_history(folder.path() + "/history.db", std::chrono::hours(24));
    REQUIRE(history);
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 3; ++t)
      threads.emplace_back([&history, t] {
        for (std::uint64_t i = 0; i < 2000; ++i) (*history)->add(accepted(t * 10'000 + i, "s@a.example"));
      });
    for (int i = 0; i < 5; ++i) found(**history, {});
    for (std::thread& thread : threads) thread.join();
    HistoryQuery all;
    all.limit = 100'000;
    CHECK(found(**history, all) + (*history)->dropped() == 6000);
    CHECK((*history)->dropped() == 0);
  }

  TEST_CASE("what version 1 wrote, which knew nothing of TLS, is kept") {
    TemporaryFolder folder;
    std::string path = folder.path() + "/history.db";
    {
      Result<Database> db = Database::open(path, "", Database::Mode::read_write);
      REQUIRE(db);
      const Schema first{kHistorySchema.application_id, kHistorySchema.steps.first(1), "history.db"};
      REQUIRE(bring_up_to_date(*db, first, [](int) { return Result<>(); }));
      REQUIRE(
          db->run("INSERT INTO event(message, time, kind, sender, recipient, host, status, text, message_id, size) "
                  "VALUES (1, 1000, 3, '', 'r@b.example', 'mx', '2.0.0', 'ok', '', 0)"));
    }
    CHECK(open_history_read_only(path).error().code == Errc::unsupported);
    auto history = open_history(path, std::chrono::hours(24 * 365 * 200));
    REQUIRE(history);
    HistoryEvent event = relayed(1, "q@b.example");
    event.tls = "none: not offered; opportunistic by delivery.tls";
    (*history)->add(event);
    HistoryQuery query;
    query.id = Id{1};
    Result<std::vector<HistoryEvent>> events = (*history)->find(query);
    REQUIRE(events);
    REQUIRE(events->size() == 2);
    CHECK(events->at(0).recipient == "r@b.example");
    CHECK(events->at(0).tls == "");
    CHECK(events->at(1).tls == event.tls);
  }

  TEST_CASE("a file of something else, or of a newer version, is refused") {
    TemporaryFolder folder;
    std::string path = folder.path() + "/history.db";
    { REQUIRE(open_history(path, std::chrono::hours(24))); }
    {
      Result<Database> db = Database::open(path, "", Database::Mode::read_write);
      REQUIRE(db);
      REQUIRE(db->run("PRAGMA user_version = 50"));
    }
    CHECK(open_history(path, std::chrono::hours(24)).error().code == Errc::unsupported);
    CHECK(open_history_read_only(folder.path() + "/none.db").error().code == Errc::not_found);
  }
}
