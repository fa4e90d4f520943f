// The storage thread with real threads: what the thread sanitizer is to see.
#include "queue/storage_thread.h"

#include <chrono>
#include <cstdio>
#include <ctime>
#include <future>
#include <thread>

#include <doctest/doctest.h>

#include "net/loop.h"
#include "tests/queue/queue_fixture.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;

namespace {

NewMessage a_message(net::WallTime now, const std::string& to) {
  NewMessage message;
  message.envelope.reverse_path = path_to("s@a.example");
  message.envelope.recipients.emplace_back();
  message.envelope.recipients[0].forward_path = path_to(to);
  message.trace = "Received: x\r\n";
  message.origin = {"192.0.2.1", "c.example", "ESMTP", "mx", ""};
  message.arrival = now;
  message.expires = now + std::chrono::hours(120);
  return message;
}

struct Session {
  net::Runtime& runtime;
  Store& store;
  int messages;
  bool settle;
  std::string body;
};

/// One session after another message: accepts, and where it is asked for ends them too.
net::Task<> session(Session given, int& accepted) {
  for (int i = 0; i < given.messages; ++i) {
    Draft draft = given.store.draft();
    Id id = draft.id();
    draft.buffer() = given.body;
    NewMessage message = a_message(given.runtime.wall_now(), "r@b.example");
    BodyNotes notes;
    Result<> done = co_await given.store.commit(std::move(message), std::move(draft), notes, std::nullopt);
    if (!done) co_return;
    ++accepted;
    if (!given.settle) continue;
    Settlement settlement;
    settlement.message = id;
    settlement.recipients.emplace_back();
    settlement.recipients[0].event = Event::attempt_relayed;
    Result<bool> settled = co_await given.store.settle(std::move(settlement));
    if (!settled) co_return;
  }
}

net::Task<> stop_after(net::Scope& scope, net::LoopRuntime& runtime) {
  co_await scope.drained();
  runtime.stop();
}

/// A loop of its own with some sessions, to its end. Returns how many messages were accepted.
int run_loop(SqliteQueue& queue, int sessions, int messages, bool settle, const std::string& body) {
  std::unique_ptr<net::LoopRuntime> runtime = net::LoopRuntime::create();
  std::unique_ptr<Store> store = queue.store(*runtime);
  int accepted = 0;
  {
    net::Scope scope(*runtime, [](std::string_view) {});
    net::Scope ending(*runtime, [](std::string_view) {});
    for (int i = 0; i < sessions; ++i) {
      Session given{*runtime, *store, messages, settle, body};
      scope.spawn(session(given, accepted));
    }
    ending.spawn(stop_after(scope, *runtime));
    runtime->run();
  }
  return accepted;
}

}  // namespace

TEST_SUITE("queue/storage_thread") {
  TEST_CASE("four loops commit at once: all of it is there, in fewer commits than messages") {
    TemporaryFolder folder;
    auto files = open_files(folder.path());
    REQUIRE(files);
    auto history = open_history(folder.path() + "/history.db", std::chrono::hours(24));
    REQUIRE(history);
    StoreOptions options;
    options.data_dir = folder.path();
    int accepted = 0;
    {
      auto queue = SqliteQueue::open(options, **files, **history);
      REQUIRE(queue);
      std::atomic<std::size_t> arrived{0};
      StoreEvents events;
      events.arrived = [&arrived](std::vector<Due> due) { arrived += due.size(); };
      (*queue)->set_events(events);
      std::vector<std::future<int>> loops;
      for (int i = 0; i < 4; ++i)
        loops.push_back(
            std::async(std::launch::async, [&queue, i] { return run_loop(**queue, 10, 20, i % 2 == 0, "text\r\n"); }));
      for (std::future<int>& loop : loops) accepted += loop.get();
      CHECK(accepted == 800);
      SqliteQueue::Stats stats = (*queue)->stats();
      CHECK(stats.operations == 1200);
      CHECK(stats.commits < 600);
    }
    auto reader = QueueReader::open(folder.path());
    REQUIRE(reader);
    CHECK((*reader)->count({}, net::WallTime::max())->messages == 400);
    HistoryQuery all;
    all.limit = 10'000;
    CHECK((*history)->find(all)->size() == 1200);
  }

  TEST_CASE("what was handed in before the end is done, what comes after it is cancelled") {
    TemporaryFolder folder;
    auto files = open_files(folder.path());
    REQUIRE(files);
    HistoryList history;
    StoreOptions options;
    options.data_dir = folder.path();
    auto queue = SqliteQueue::open(options, **files, history);
    REQUIRE(queue);
    VirtualRuntime runtime;
    std::unique_ptr<Store> store = (*queue)->store(runtime);
    net::Scope scope(runtime, [](std::string_view) {});
    int accepted = 0;
    for (int i = 0; i < 5; ++i) {
      Session given{runtime, *store, 1, false, "text\r\n"};
      scope.spawn(session(given, accepted));
    }
    queue->reset();
    runtime.run_until_idle();
    CHECK(accepted == 5);
    CHECK(scope.running() == 0);
  }

  // Not a test: run with WAYPOST_RATE=1 it prints what this machine commits a second.
  TEST_CASE("rate of commits") {
    if (!std::getenv("WAYPOST_RATE")) return;
    for (bool settle : {false, true}) {
      for (int sessions : {1, 20, 100}) {
        TemporaryFolder folder;
        auto files = open_files(folder.path());
        auto history = open_history(folder.path() + "/history.db", std::chrono::hours(24));
        StoreOptions options;
        options.data_dir = folder.path();
        auto queue = SqliteQueue::open(options, **files, **history);
        REQUIRE(queue);
        int messages = sessions == 1 ? 3000 : 30'000 / sessions;
        auto begin = std::chrono::steady_clock::now();
        std::clock_t cpu = std::clock();
        int accepted = run_loop(**queue, sessions, messages, settle, std::string(4096, 'x'));
        double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        double micros = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC * 1e6;
        SqliteQueue::Stats stats = (*queue)->stats();
        std::printf("%3d sessions, %s: %.0f messages/s, %.1f operations a commit, %.1f us of CPU a message\n", sessions,
                    settle ? "accept and settle" : "accept", accepted / seconds,
                    static_cast<double>(stats.operations) / static_cast<double>(stats.commits), micros / accepted);
      }
    }
  }
}
