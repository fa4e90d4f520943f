// queue/sqlite_store.h: the Store on SQLite: one connection, one thread that writes (DESIGN §4).
#pragma once
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "net/clock.h"
#include "net/runtime.h"
#include "queue/files.h"
#include "queue/history.h"
#include "queue/id.h"
#include "queue/progress.h"
#include "queue/store.h"

namespace waypost::queue {

struct BackupReport;
struct CheckReport;
struct StoreStats;
struct Totals;
struct VacuumReport;

struct StoreOptions {
  std::string data_dir;
  std::uint64_t inline_limit = 64 * 1024;
  std::string vfs;  ///< SQLite VFS; "": the default one
  std::size_t arrival_octets =
      32 << 20;                  ///< bodies that Due::content keeps in memory until their first attempt, in all
  std::uint64_t max_octets = 0;  ///< queue.db does not grow beyond it (then `full`); 0: as far as the disk goes
  bool own_thread = true;        ///< false: what the storage thread does is done in run_pending() and run_idle()
  const net::Clock* clock = &net::system_clock();  ///< of the storage thread
};

/// The database, its storage thread and its files. Made before the loops, destroyed after them.
class SqliteQueue {
 public:
  /// Takes the lock on the data folder, opens or makes queue.db, migrates it, removes orphaned spool files.
  /// Errors: busy (another process has it, with its pid), unsupported (newer schema), damaged, full, io, denied.
  static Result<std::unique_ptr<SqliteQueue>> open(StoreOptions options, Files& files, History& history);
  virtual ~SqliteQueue() = default;  ///< finishes what was handed in, checkpoints, closes

  /// Before the first store is used.
  virtual void set_events(StoreEvents events) = 0;
  /// A handle for one loop. The queue and the runtime outlive it.
  virtual std::unique_ptr<Store> store(net::Runtime& runtime) = 0;
  /// own_thread = false: runs what has gathered as one transaction; false if there was nothing.
  virtual bool run_pending() = 0;
  /// own_thread = false: what is done after a while without operations; true if there is more of it.
  virtual bool run_idle() = 0;

  struct Stats {
    std::uint64_t commits = 0, operations = 0, wal_pages = 0;
  };
  virtual Stats stats() const = 0;
  /// How much is in it, without a question to all of its rows but the first time. nullopt: they are still being
  /// counted, and each call goes on with that for a moment.
  virtual net::Task<Result<std::optional<Totals>>> totals(net::Runtime& runtime) = 0;

  /// While mail goes on: queue/stats.h and queue/vacuum.h.
  virtual net::Task<Result<StoreStats>> store_stats(net::Runtime& runtime) = 0;
  virtual net::Task<Result<VacuumReport>> vacuum(net::Runtime& runtime, std::stop_token stop) = 0;
  /// While mail goes on: queue/backup.h. They end on the loop of `runtime`, which, like the queue, outlives them.
  /// `progress` is in pages of queue.db first, and then in messages.
  virtual net::Task<Result<BackupReport>> back_up(net::Runtime& runtime, std::string folder, std::stop_token stop,
                                                  Watched progress) = 0;
  virtual net::Task<Result<CheckReport>> check(net::Runtime& runtime, std::stop_token stop, Watched progress) = 0;
};

/// queue.db while no daemon runs, for `waypost queue list|count|show`. Never writes. Errors: busy (a daemon has it),
/// not_found.
class QueueReader {
 public:
  static Result<std::unique_ptr<QueueReader>> open(const std::string& data_dir);
  virtual ~QueueReader() = default;
  virtual Result<Listing> list(const Filter& filter, std::optional<Id> after, std::size_t limit, WallTime now) = 0;
  virtual Result<Counts> count(const Filter& filter, WallTime now) = 0;
  virtual Result<Groups> group(const Filter& filter, GroupBy by, std::size_t limit, WallTime now) = 0;
  virtual Result<std::shared_ptr<const Content>> content(Id id) = 0;
  virtual Result<std::vector<DestinationRow>> destinations(std::string name, bool count, WallTime now) = 0;
  virtual Result<std::vector<ChangeRecord>> changes(std::uint64_t before, std::size_t limit) = 0;
};

}  // namespace waypost::queue
