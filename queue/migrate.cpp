// queue/migrate.cpp: what a start of the daemon does to files of an older version, without one.
#include <string>

#include <sys/stat.h>

#include "queue/history.h"
#include "queue/lock.h"
#include "queue/schema.h"
#include "queue/sqlite_queue.h"
#include "queue/upkeep.h"

namespace waypost::queue {
namespace {

bool is_there(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0;
}

Result<int> version_at(const std::string& path, const Schema& schema) {
  Result<Database> db = open_to_read(path);
  if (!db) return fail(db.error());
  return version_of(*db, schema);
}

}  // namespace

Result<Versions> versions_of_folder(const std::string& data_dir) {
  Result<std::string> folder = real_folder(data_dir);
  if (!folder) return fail(folder.error());
  Result<FolderLock> lock = FolderLock::shared(*folder);
  if (!lock) return fail(lock.error());
  Versions versions;
  versions.newest_queue = static_cast<int>(kQueueSchema.steps.size());
  versions.newest_history = static_cast<int>(kHistorySchema.steps.size());
  Result<int> queue = version_at(*folder + "/queue.db", kQueueSchema);
  if (!queue) return fail(queue.error());
  versions.queue = *queue;
  if (!is_there(*folder + "/history.db")) return versions;
  Result<int> history = version_at(*folder + "/history.db", kHistorySchema);
  if (!history) return fail(history.error());
  versions.history = *history;
  return versions;
}

Result<> migrate_folder(const std::string& data_dir) {
  Result<OfflineQueue> queue = open_offline(data_dir);
  if (!queue) return fail(queue.error());
  const std::string history = data_dir + "/history.db";
  if (is_there(history)) {
    // Nothing is added to it, so that nothing is forgotten either.
    constexpr std::chrono::hours kKeepAll{24 * 365 * 100};
    Result<std::unique_ptr<History>> opened = open_history(history, kKeepAll);
    if (!opened) return fail(opened.error());
  }
  return close_offline(*std::move(queue));
}

}  // namespace waypost::queue
