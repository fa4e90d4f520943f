// queue/sqlite_queue.h: opening queue.db, and the handles on it.
#pragma once
#include <memory>
#include <string>

#include "queue/files.h"
#include "queue/lock.h"
#include "queue/schema.h"
#include "queue/sqlite_store.h"
#include "queue/storage_thread.h"
#include "queue/store_core.h"

namespace waypost::queue {

/// queue/sqlite_store.cpp
std::unique_ptr<Store> make_store(StoreCore& core, StorageThread& storage, net::Runtime& runtime);

/// Locks the file for this connection alone, and makes sure that it is ours and of a version that can be used.
/// Errors: busy, unsupported, damaged.
Result<> take_over(Database& db, const Schema& schema);

/// What every connection that writes is set to (RELIABILITY, "Settings"); before any table is made.
Result<> configure(Database& db, const char* settings);
extern const char* const kQueueSettings;
extern const char* const kHistorySettings;

/// Makes the file, readable by its owner alone, where it is missing: SQLite would ask the umask.
Result<> make_private_file(const std::string& path);
/// The folder's own path, without symbolic links: SQLite is told to follow none.
Result<std::string> real_folder(const std::string& folder);

/// Before queue.db is opened at `path`: where it has no WAL beside it, it is one that was closed, not a copy of one in
/// use (RELIABILITY F21). Errors: damaged.
Result<> check_wal(const std::string& path);

/// Removes spool files that no row names, and those that were being written. Syncs the names of their folders.
Result<> remove_orphans(Database& db, Files& files);

/// A data folder that no daemon uses, opened to be written to as a start of the daemon opens it: what was left in the
/// WAL is in the database, which is of the newest version. Errors: as SqliteQueue::open(), and not_found.
struct OfflineQueue {
  FolderLock lock;  // given back last
  std::unique_ptr<Files> files;
  Database db;
};
Result<OfflineQueue> open_offline(const std::string& data_dir);
/// As a daemon's end: no WAL stays.
Result<> close_offline(OfflineQueue queue);

/// `path`-wal is there and not empty.
bool has_wal(const std::string& path);

/// A file that no daemon has open, with what its WAL holds. Nothing is written, beside it neither.
/// queue/queue_reader.cpp
Result<Database> open_to_read(const std::string& path);

}  // namespace waypost::queue
