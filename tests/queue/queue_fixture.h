// tests/queue/queue_fixture.h: the queue on SQLite, in a folder of its own on the real disk.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "queue/sqlite.h"
#include "queue/sqlite_store.h"
#include "tests/queue/store_fixture.h"
#include "tests/support/temporary_folder.h"

namespace waypost::tests {

class QueueFixture : public StoreFixture {
 public:
  explicit QueueFixture(queue::StoreOptions given = {}) : options(std::move(given)) {
    options.data_dir = folder.path();
    options.own_thread = false;
    options.clock = &runtime;
    Result<std::unique_ptr<queue::Files>> opened = queue::open_files(folder.path());
    REQUIRE(opened);
    files = *std::move(opened);
    open();
  }
  ~QueueFixture() override { close(); }

  void close() {
    store.reset();
    queue.reset();
  }

  void reopen() override {
    close();
    open();
  }

  void pump() override {
    do runtime.run_until_idle();
    while (queue->run_pending());
    runtime.run_until_idle();
  }

  void damage(queue::Id id) override {
    tamper(("UPDATE message SET envid = 'flipped' WHERE id = " + std::to_string(id.value)).c_str());
    reopen();
  }

  std::size_t spool_files() override {
    std::size_t count = 0;
    std::filesystem::path body = std::filesystem::path(folder.path()) / "body";
    if (!std::filesystem::exists(body)) return 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(body))
      if (entry.is_regular_file()) count += 1;
    return count;
  }

  /// Statements on the closed file, as a fault would change it.
  void tamper(const char* sql) {
    close();
    Result<queue::Database> db =
        queue::Database::open(folder.path() + "/queue.db", "", queue::Database::Mode::read_write);
    REQUIRE(db);
    Result<> done = db->run(sql);
    REQUIRE_MESSAGE(done, (done ? std::string() : done.error().what));
  }

  TemporaryFolder folder;
  queue::StoreOptions options;
  std::unique_ptr<queue::Files> files;
  std::unique_ptr<queue::SqliteQueue> queue;

 private:
  void open() {
    Result<std::unique_ptr<queue::SqliteQueue>> opened = queue::SqliteQueue::open(options, *files, history);
    if (!opened) FAIL(opened.error().what);
    queue = *std::move(opened);
    queue->set_events(events());
    store = queue->store(runtime);
  }
};

/// Many messages at once, all in few commits.
inline void accept_many(QueueFixture& f, int count, const std::string& domain) {
  auto commit = [](QueueFixture& fixture, std::string to, queue::Draft draft) -> net::Task<> {
    queue::NewMessage message = fixture.message("s@a.example", {to});
    queue::BodyNotes notes;
    Result<> done = co_await fixture.store->commit(std::move(message), std::move(draft), notes, std::nullopt);
    CHECK(done);
  };
  for (int i = 0; i < count; ++i) f.scope.spawn(commit(f, std::to_string(i) + "@" + domain, f.store->draft()));
  f.pump();
}

}  // namespace waypost::tests
