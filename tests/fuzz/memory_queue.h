// tests/fuzz/memory_queue.h: the queue's own code on a database in memory, on the thread of the target.
#pragma once
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net/scope.h"
#include "queue/sqlite_queue.h"
#include "tests/fuzz/input.h"
#include "tests/support/fake_files.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::fuzz {

/// Takes all, and knows nothing.
class NoHistory : public queue::History {
 public:
  void add(queue::HistoryEvent) override {}
  Result<std::vector<queue::HistoryEvent>> find(const queue::HistoryQuery&) override {
    return std::vector<queue::HistoryEvent>();
  }
  std::uint64_t dropped() const override { return 0; }
};

/// What makes the tables of the newest version.
inline std::string tables() {
  std::string sql;
  for (const queue::SchemaStep& step : queue::kQueueSchema.steps) sql += step.sql;
  return sql;
}

class MemoryQueue {
 public:
  /// `fill` writes the tables before the queue begins. `schema`: what makes them.
  explicit MemoryQueue(const std::string& schema = tables(), const std::function<void(queue::Database&)>& fill = {}) {
    Result<queue::Database> db = queue::Database::open(":memory:", "", queue::Database::Mode::read_write);
    check(db.has_value(), "a database in memory opens");
    check(db->run(schema.c_str()).has_value(), "and takes the tables");
    if (fill) fill(*db);
    queue::StoreOptions options;
    options.own_thread = false;
    options.inline_limit = 1024;
    core = std::make_unique<queue::StoreCore>(std::move(options), files, history_);
    begun = core->begin(*db);
    storage = std::make_unique<queue::StorageThread>(*std::move(db), *core, false);
    store = queue::make_store(*core, *storage, runtime);
  }

  /// Runs a task to its end, with the storage thread's work done in between.
  template <class T>
  T run(net::Task<T> task) {
    std::optional<T> result;
    scope.spawn(keep(std::move(task), result));
    do runtime.run_until_idle();
    while (storage->run_pending());
    runtime.run_until_idle();
    check(result.has_value(), "the store answers");
    return *std::move(result);
  }

  tests::VirtualRuntime runtime;
  tests::FakeFiles files;
  std::unique_ptr<queue::StoreCore> core;
  std::unique_ptr<queue::StorageThread> storage;
  std::unique_ptr<queue::Store> store;
  Result<> begun;  ///< what the start made of the tables
  net::Scope scope{runtime, [](std::string_view) { check(false, "nothing throws"); }};

 private:
  template <class T>
  static net::Task<> keep(net::Task<T> task, std::optional<T>& result) {
    result = co_await task;
  }
  NoHistory history_;
};

}  // namespace waypost::fuzz
