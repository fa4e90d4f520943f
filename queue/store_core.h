// queue/store_core.h: what the operations on queue.db share: names of destinations, ids, what follows a commit.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "queue/disk_space.h"
#include "queue/files.h"
#include "queue/history.h"
#include "queue/sqlite_store.h"
#include "queue/storage_thread.h"
#include "queue/totals.h"

namespace waypost::queue {

/// What a commit made true, told to the others after those who wait for it have been told.
struct Aftermath {
  std::vector<Due> arrived;
  std::vector<HistoryEvent> history;
  std::vector<std::string> unlink;  ///< their spool files
  bool changed = false;             ///< by an administrator
};

/// All of it on the storage thread, but for what says otherwise.
class StoreCore : public StorageHooks {
 public:
  StoreCore(StoreOptions options, Files& files, History& history);

  /// Before the first operation: ids go on where they may have ended; destinations that nobody needs go away.
  Result<> begin(Database& db);

  /// The id of a destination's row, which is made where there is none.
  Result<std::int64_t> destination_id(Database& db, const std::string& name);
  /// In the transaction that accepts `id`: what was handed out up to a minute later is known never to be used again.
  Result<> reserve_ids(Database& db, Id id);
  /// From Operation::committed(): where to put what follows.
  Aftermath& aftermath() { return aftermath_; }
  void keep_reserve() { kept_reserve_ = reserve_; }

  /// Any thread. Room for `octets` of bodies that wait in memory for their first attempt; give it back by
  /// release_memory().
  bool take_memory(std::size_t octets);
  const std::shared_ptr<std::atomic<std::size_t>>& memory() const { return memory_; }

  /// Spool files of messages that leave stay from now on, until release_files(): a backup takes them along.
  void hold_files() { holds_files_ = true; }
  void release_files();

  /// That queue.db is in use, written into the file itself and not only into its WAL: found without a WAL it is a copy
  /// that lacks the newest mail (RELIABILITY F21). Taken back by closing().
  static Result<> mark_open(Database& db);
  static Result<> mark_closed(Database& db);
  /// Of a file that has no WAL beside it. What cannot be read says nothing.
  static bool is_marked_open(Database& db);

  const StoreOptions& options() const { return options_; }
  Files& files() { return files_; }
  IdSource& ids() { return ids_; }  ///< any thread
  void set_events(StoreEvents events) { events_ = std::move(events); }

  TotalsKeeper& totals() { return totals_; }

  void committed() override { totals_.committed(); }
  void rolled_back() override;
  void batch_done() override;
  void failed(const Error& error) override;
  bool has_room(Database& db, std::uint64_t octets) override;
  bool make_room() override;
  Result<bool> housekeeping(Database& db, bool idle) override;
  Result<> closing(Database& db) override { return mark_closed(db); }

 private:
  Result<bool> sweep_destinations(Database& db);
  Result<bool> shrink(Database& db);

  StoreOptions options_;
  Files& files_;
  History& history_;
  DiskSpace disk_{files_};
  bool had_room_ = true;
  bool holds_files_ = false;
  std::vector<std::string> held_files_;  // of messages that have left
  IdSource ids_;
  StoreEvents events_;
  Aftermath aftermath_;
  TotalsKeeper totals_;
  std::unordered_map<std::string, std::int64_t> destination_ids_;
  bool learnt_ = false;  // ids that only the transaction knows
  Id reserve_, kept_reserve_;
  std::int64_t swept_to_ = 0;  // destination id
  net::TimePoint next_sweep_{};
  std::shared_ptr<std::atomic<std::size_t>> memory_ = std::make_shared<std::atomic<std::size_t>>(0);
};

}  // namespace waypost::queue
