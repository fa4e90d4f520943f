// queue/storage_thread.h: the one thread that uses queue.db: all that waits becomes one transaction (DESIGN §4).
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/result.h"
#include "net/runtime.h"
#include "queue/sqlite.h"

namespace waypost::queue {

/// Something to be done on the database, owned by the coroutine that awaits its end (Submit).
class Operation {
 public:
  enum class Kind : std::uint8_t {
    write,  ///< runs in the transaction of its batch
    bulk,   ///< a write that takes its time: one at a time, in a transaction of its own after that of the batch
    read,   ///< runs last; all of a batch have one turn together
  };
  explicit Operation(Kind kind, std::size_t octets = 0) : kind_(kind), octets_(octets) {}
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  virtual ~Operation() = default;

  /// On the storage thread. After an error nothing of it is kept. May run twice: where another operation of the batch
  /// failed, or this one, each is run again on its own.
  virtual Result<> apply(Database& db) = 0;
  /// On the storage thread, after the commit and before anybody hears of it.
  virtual void committed() {}
  /// New mail, which waits outside while the disk has no room for it.
  virtual bool brings_mail() const { return false; }

 protected:
  /// What goes through the whole queue asks after each slice: true when others should have their turn.
  bool turn_is_over() const {
    const auto now = std::chrono::steady_clock::now();
    return now >= turn_.most || (now >= turn_.least && turn_.others->load(std::memory_order_relaxed));
  }

 private:
  friend class StorageThread;
  friend class Submit;
  Kind kind_;
  std::size_t octets_;  // about: what it adds to a transaction
  Result<> result_;
  struct Turn {
    std::chrono::steady_clock::time_point least{}, most{};  ///< it ends between them as soon as others wait
    const std::atomic<bool>* others = nullptr;
  } turn_;
  net::Runtime* runtime_ = nullptr;
  std::coroutine_handle<> waiting_;
};

/// What the thread tells its owner. All of it on the storage thread.
class StorageHooks {
 public:
  virtual ~StorageHooks() = default;
  virtual void committed() = 0;
  virtual void rolled_back() = 0;  ///< what was learnt of the database in the transaction does not hold
  virtual void batch_done() = 0;   ///< its completions were posted
  /// A write or sync failed: nothing is committed any more.
  virtual void failed(const Error& error) = 0;
  /// For new mail that needs `octets` of the disk.
  virtual bool has_room(Database& db, std::uint64_t octets) = 0;
  /// The disk is full. True if there is more room now, which is not for new mail.
  virtual bool make_room() = 0;
  /// Small work now and then, with no transaction open; true: there is more of it. Errors of the disk count as in an
  /// operation.
  virtual Result<bool> housekeeping(Database& db, bool idle) = 0;
  /// The last write, after which the WAL goes. After an error it stays.
  virtual Result<> closing(Database& db) = 0;
};

class StorageThread {
 public:
  /// `own_thread` false: nothing happens but in run_pending() and run_idle().
  StorageThread(Database db, StorageHooks& hooks, bool own_thread);
  ~StorageThread();  ///< finishes what was handed in; then cancelled. Closes the database.

  void submit(Operation& operation);
  bool run_pending();
  bool run_idle();
  /// What waits is done, then the thread ends and the database is closed. Later operations are cancelled.
  void stop();

  std::uint64_t commits() const { return commits_.load(std::memory_order_relaxed); }
  std::uint64_t operations() const { return operations_.load(std::memory_order_relaxed); }
  std::uint64_t wal_pages() const { return wal_pages_.load(std::memory_order_relaxed); }

 private:
  using Batch = std::vector<Operation*>;
  void thread_main() noexcept;
  bool wait_for_work();
  bool take_batch();
  void run_bulk();
  std::size_t run_batch();
  void run_writes(const Batch& writes);
  Operation::Turn turn(std::chrono::milliseconds least) const;
  bool bulk_goes_on() const;
  Result<> run_out(Operation& operation);
  Batch admitted(const Batch& writes);
  bool has_room(std::uint64_t octets);
  Result<> run_together(const Batch& operations);
  void run_reads();
  void complete(const Batch& operations);
  void fail_for_good(const Error& error);
  void checkpoint();
  void housekeep(bool idle);
  void idle_work();

  std::optional<Database> db_;  // gone after stop()
  StorageHooks& hooks_;
  const bool own_thread_;
  Batch writes_, reads_;         // of the batch that runs
  std::deque<Operation*> bulk_;  // in turn
  std::chrono::steady_clock::time_point last_bulk_{};
  std::optional<Error> failed_;
  bool work_for_idle_ = false;
  std::atomic<std::uint64_t> commits_{0}, operations_{0}, wal_pages_{0};

  std::mutex mutex_;  // of the mailbox below, held for a few instructions
  std::condition_variable wake_;
  std::deque<Operation*> incoming_;
  std::atomic<bool> others_wait_ = false;  // there are some in it
  bool asleep_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

/// Hands an operation in and awaits its end: `Submit end(storage, runtime, operation); Result<> done = co_await end;`
class Submit {
 public:
  Submit(StorageThread& storage, net::Runtime& runtime, Operation& operation)
      : storage_(storage), operation_(operation) {
    operation.runtime_ = &runtime;
  }
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    operation_.waiting_ = waiting;
    storage_.submit(operation_);
  }
  Result<> await_resume() { return std::move(operation_.result_); }

 private:
  StorageThread& storage_;
  Operation& operation_;
};

}  // namespace waypost::queue
