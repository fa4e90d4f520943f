// queue/sqlite_queue.cpp
#include "queue/sqlite_queue.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/escape.h"
#include "base/event_log.h"
#include "queue/backup.h"
#include "queue/lock.h"
#include "queue/replacement.h"
#include "queue/rows.h"
#include "queue/schema.h"
#include "queue/stats.h"
#include "queue/totals_operation.h"
#include "queue/vacuum.h"

namespace waypost::queue {

// Exclusive locking is set before the first access, so that no -shm file is made. 32 MiB of pages: the indexes of a
// million messages are read again and again while all of them are changed.
const char* const kQueueSettings =
    "PRAGMA journal_mode=WAL; "
    "PRAGMA synchronous=FULL; PRAGMA secure_delete=OFF; PRAGMA wal_autocheckpoint=0; PRAGMA "
    "journal_size_limit=67108864; "
    "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-32768; PRAGMA mmap_size=0; PRAGMA trusted_schema=OFF; "
    "PRAGMA cell_size_check=ON; PRAGMA foreign_keys=OFF";

// Losing the tail of the history at a power cut is allowed.
const char* const kHistorySettings =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
    "PRAGMA secure_delete=OFF; PRAGMA wal_autocheckpoint=2000; "
    "PRAGMA journal_size_limit=67108864; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-4096; PRAGMA mmap_size=0; "
    "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON";

Result<> take_over(Database& db, const Schema& schema) {
  // Before the first access: then the index of the WAL is kept in memory, and no -shm file is made.
  Result<> exclusive = db.run("PRAGMA locking_mode=EXCLUSIVE");
  if (!exclusive) return exclusive;
  Result<int> version = version_of(db, schema);
  if (version) return {};
  // A file of somebody else, or of a newer version, is left as it is.
  db.abandon();
  return fail(version.error());
}

Result<> configure(Database& db, const char* settings) {
  Result<std::int64_t> pages = db.value("PRAGMA page_count");
  if (!pages) return fail(pages.error());
  // Without effect once WAL is on or a table exists; and the second would write a page all the same, which a full disk
  // has no room for.
  Result<> set = *pages > 0 ? Result<>() : db.run("PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL");
  if (set) set = db.run(settings);
  if (!set) return set;
  Run mode(db, std::string("PRAGMA journal_mode"));
  Result<bool> found = mode.step();
  if (!found) return fail(found.error());
  // A file system without what WAL needs would silently leave another mode.
  if (mode.text(0) != "wal") return fail(Errc::unsupported, "the database cannot be put into WAL mode here");
  return {};
}

Result<> make_private_file(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd >= 0) {
    ::close(fd);
    return {};
  }
  int code = errno;
  Errc errc = code == EACCES || code == EPERM || code == ELOOP ? Errc::denied : Errc::io;
  if (code == ENOSPC || code == EDQUOT) errc = Errc::full;
  if (code == ENOENT || code == ENOTDIR) errc = Errc::not_found;
  return fail(errc, "opening " + escape(path) + ": " + std::strerror(code));
}

Result<std::string> real_folder(const std::string& folder) {
  char* real = ::realpath(folder.c_str(), nullptr);
  if (!real) {
    Errc errc = errno == EACCES ? Errc::denied : Errc::not_found;
    return fail(errc, "the folder " + escape(folder) + ": " + std::strerror(errno));
  }
  std::string out = real;
  std::free(real);
  return out;
}

Result<> remove_orphans(Database& db, Files& files) {
  Result<std::vector<std::string>> folders = files.list("body");
  if (!folders && folders.error().code == Errc::not_found) return {};
  if (!folders) return fail(folders.error());
  // Who made the folders may have been killed before their names were synced, and whoever finds them asks no more.
  Result<> synced = files.sync_folder("body");
  if (!synced) return synced;
  constexpr Sql kNamed{"SELECT 1 FROM message WHERE id = ?1 AND in_file = 1"};
  for (const std::string& folder : *folders) {
    Result<std::vector<std::string>> names = files.list("body/" + folder);
    if (!names) return fail(names.error());
    for (const std::string& name : *names) {
      // Also `.tmp`, which is no id.
      std::optional<Id> id = Id::parse(name);
      if (id) {
        Run row(db, kNamed);
        row << number(*id);
        Result<bool> named = row.step();
        if (!named) return fail(named.error());
        if (*named) continue;
      }
      Result<> removed = files.remove("body/" + folder + "/" + name);
      if (!removed) log::warning(removed.error().what);
    }
  }
  return {};
}

namespace {

class Queue : public SqliteQueue {
 public:
  Queue(std::optional<FolderLock> lock, std::unique_ptr<StoreCore> core, Database db, bool own_thread)
      : lock_(std::move(lock)), core_(std::move(core)), storage_(std::move(db), *core_, own_thread) {}

  void set_events(StoreEvents events) override { core_->set_events(std::move(events)); }
  std::unique_ptr<Store> store(net::Runtime& runtime) override { return make_store(*core_, storage_, runtime); }
  bool run_pending() override { return storage_.run_pending(); }
  bool run_idle() override { return storage_.run_idle(); }
  Stats stats() const override {
    Stats stats;
    stats.commits = storage_.commits();
    stats.operations = storage_.operations();
    stats.wal_pages = storage_.wal_pages();
    return stats;
  }
  net::Task<Result<std::optional<Totals>>> totals(net::Runtime& runtime) override {
    return totals_of(*core_, storage_, runtime);
  }
  net::Task<Result<StoreStats>> store_stats(net::Runtime& runtime) override {
    return stats_of(*core_, storage_, runtime);
  }
  net::Task<Result<VacuumReport>> vacuum(net::Runtime& runtime, std::stop_token stop) override {
    return queue::vacuum(storage_, runtime, std::move(stop));
  }
  net::Task<Result<BackupReport>> back_up(net::Runtime& runtime, std::string folder, std::stop_token stop,
                                          Watched progress) override {
    LiveQueue queue{*core_, storage_, runtime, copying_};
    return queue::back_up(queue, std::move(folder), std::move(stop), std::move(progress));
  }
  net::Task<Result<CheckReport>> check(net::Runtime& runtime, std::stop_token stop, Watched progress) override {
    LiveQueue queue{*core_, storage_, runtime, copying_};
    return check_live(queue, std::move(stop), std::move(progress));
  }

 private:
  std::atomic<bool> copying_ = false;
  // In this order: the lock is given back last.
  std::optional<FolderLock> lock_;
  std::unique_ptr<StoreCore> core_;
  StorageThread storage_;
};

/// What the last run left in the WAL may be in the kernel's memory alone. Without it the next power cut would take all
/// that were appended to it, and would find parts of it in the database after a checkpoint.
Result<> rewrite_wal(Files& files) {
  Result<> done = files.rewrite("queue.db-wal");
  // A full disk, where it does not write in place, must not keep the mail from leaving it.
  const bool well = done || done.error().code == Errc::not_found || done.error().code == Errc::full;
  return well ? Result<>() : done;
}

/// Opens the file, makes its tables or brings them up to date.
Result<Database> open_database(const StoreOptions& options, const std::string& folder, Files& files) {
  std::string path = folder + "/queue.db";
  if (options.vfs.empty()) {
    Result<> whole = check_wal(path);
    if (!whole) return fail(whole.error());
    Result<> made = make_private_file(path);
    if (!made) return fail(made.error());
  }
  Result<> rewritten = rewrite_wal(files);
  if (!rewritten) return fail(rewritten.error());
  Result<Database> db = Database::open(path, options.vfs, Database::Mode::read_write);
  if (!db) return db;
  // Where opening fails the WAL stays: a daemon that was killed left its mark (StoreCore::mark_open).
  db->abandon();
  Result<> ours = take_over(*db, kQueueSchema);
  if (!ours) return fail(ours.error());
  Result<> configured = configure(*db, kQueueSettings);
  if (!configured) return fail(configured.error());
  if (options.max_octets > 0) {
    // A number of our own: pragmas take no bound values.
    std::string bound =
        "PRAGMA max_page_count = " + std::to_string(std::max<std::uint64_t>(options.max_octets / 4096, 1));
    Result<> bounded = db->run(bound.c_str());
    if (!bounded) return fail(bounded.error());
  }
  auto copy = [&](int from) { return copy_database(*db, files, folder, "queue.db.v" + std::to_string(from)); };
  Result<> ready = bring_up_to_date(*db, kQueueSchema, copy);
  if (!ready) return fail(ready.error());
  // The name queue.db itself must survive a power cut.
  Result<> synced = files.sync_folder(".");
  if (!synced) return fail(synced.error());
  Result<> gathered = db->gather_wal_writes();
  if (!gathered) return fail(gathered.error());
  return db;
}

}  // namespace

Result<OfflineQueue> open_offline(const std::string& data_dir) {
  StoreOptions options;
  Result<std::string> folder = real_folder(data_dir);
  if (!folder) return fail(folder.error());
  options.data_dir = *folder;
  struct stat facts {};
  if (::stat((*folder + "/queue.db").c_str(), &facts) != 0)
    return fail(Errc::not_found, escape(*folder) + "/queue.db is not there");
  Result<FolderLock> lock = FolderLock::exclusive(*folder);
  if (!lock) return fail(lock.error());
  Result<> finished = finish_replacements(*folder);
  if (!finished) return fail(finished.error());
  Result<std::unique_ptr<Files>> files = open_files(*folder);
  if (!files) return fail(files.error());
  Result<Database> db = open_database(options, *folder, **files);
  if (!db) return fail(db.error());
  return OfflineQueue{*std::move(lock), *std::move(files), *std::move(db)};
}

Result<> close_offline(OfflineQueue queue) {
  Result<> marked = StoreCore::mark_closed(queue.db);
  if (!marked) return marked;
  Result<Database::Checkpointed> moved = queue.db.checkpoint();
  if (!moved) return fail(moved.error());
  queue.db.checkpoint_on_close();
  return {};
}

Result<std::unique_ptr<SqliteQueue>> SqliteQueue::open(StoreOptions options, Files& files, History& history) {
  std::string folder = options.data_dir;
  std::optional<FolderLock> lock;
  if (options.vfs.empty()) {
    Result<std::string> real = real_folder(folder);
    if (!real) return fail(real.error());
    folder = options.data_dir = *std::move(real);
    Result<FolderLock> locked = FolderLock::exclusive(folder);
    if (!locked) return fail(locked.error());
    lock = *std::move(locked);
    Result<> finished = finish_replacements(folder);
    if (!finished) return fail(finished.error());
  }
  Result<Database> db = open_database(options, folder, files);
  if (!db) return fail(db.error());
  bool own_thread = options.own_thread;
  auto core = std::make_unique<StoreCore>(std::move(options), files, history);
  Result<> begun = core->begin(*db);
  if (!begun) return fail(begun.error());
  Result<> swept = remove_orphans(*db, files);
  if (!swept) return fail(swept.error());
  // The last step: from here on it is taken back when the queue is closed. A full disk must not keep mail from leaving.
  Result<> marked = StoreCore::mark_open(*db);
  if (!marked && marked.error().code != Errc::full) return fail(marked.error());
  db->checkpoint_on_close();
  return std::make_unique<Queue>(std::move(lock), std::move(core), *std::move(db), own_thread);
}

}  // namespace waypost::queue
