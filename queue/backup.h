// queue/backup.h: a copy of the queue while mail goes on: a folder that is a data folder itself (ARCHITECTURE.md).
#pragma once
#include <atomic>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "net/runtime.h"
#include "net/task.h"
#include "queue/progress.h"
#include "queue/storage_thread.h"
#include "queue/store_core.h"
#include "queue/upkeep.h"

namespace waypost::queue {

/// What a copy needs of the running store. References outlive it.
struct LiveQueue {
  StoreCore& core;
  StorageThread& storage;
  net::Runtime& runtime;
  std::atomic<bool>& busy;  ///< a copy is under way: one at a time
};

/// Copies queue.db between commits, a slice at a time, and takes the spool files along, which stay until then though
/// their messages leave. When it returns the folder is on stable storage. `folder`: absolute, not there yet.
/// Errors: as NewFolder; busy, full, damaged (a page of queue.db cannot be read), cancelled (stop, or the store
/// closes).
net::Task<Result<BackupReport>> back_up(LiveQueue queue, std::string folder, std::stop_token stop, Watched progress);

/// Checks a copy of queue.db that is made like that beside it and removed again, with the spool files, which stay until
/// then. So nothing that takes long runs on the storage thread. Errors: busy, full, cancelled, and of Files.
net::Task<Result<CheckReport>> check_live(LiveQueue queue, std::stop_token stop, Watched progress);

/// Makes `path`, a copy of queue.db as it stands in `from`. Blocks. Errors: exists, damaged, full, io, cancelled.
Result<> copy_database(Database& from, const std::string& path, const Watched& progress);

}  // namespace waypost::queue
