// queue/backup.cpp
#include "queue/backup.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <unistd.h>

#include "base/escape.h"
#include "queue/check.h"
#include "queue/disk_space.h"
#include "queue/lock.h"
#include "queue/new_folder.h"
#include "queue/rows.h"
#include "queue/schema.h"
#include "queue/sqlite_queue.h"

namespace waypost::queue {
namespace {

// 128 KiB: half a millisecond, and a few where the pages come from a slow disk.
constexpr int kPagesInSlice = 32;
// What is written is synced now and then where it holds nobody up: else the kernel would make a later write wait.
constexpr std::uint64_t kSyncEvery = 128;
constexpr std::uint64_t kPage = 4096;
// No mail takes so long to come in.
constexpr std::chrono::hours kSettledAfter{24};

constexpr Sql kInFile{"SELECT id FROM message WHERE in_file = 1"};

/// An empty file, whose pages are not synced as they are written: a copy that is cut off is thrown away.
Result<Database> open_copy(const std::string& path) {
  Result<> made = make_private_file(path);
  if (!made) return fail(made.error());
  Result<Database> db = Database::open(path, "", Database::Mode::read_write);
  if (!db) return db;
  Result<> set = db->run(
      "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY; "
      "PRAGMA cache_size=-512");
  if (!set) return fail(set.error());
  return db;
}

/// A copy that is whole: it lacks no WAL, whatever its original says (StoreCore::closing).
Result<> mark_closed(const std::string& path) {
  Result<Database> db = Database::open(path, "", Database::Mode::read_write);
  if (!db) return fail(db.error());
  Result<> set = db->run("PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY");
  if (!set) return set;
  Result<> marked = StoreCore::mark_closed(*db);
  if (!marked) return marked;
  // queue.db alone goes where it is to be.
  Result<Database::Checkpointed> moved = db->checkpoint();
  if (!moved) return fail(moved.error());
  return {};
}

/// A copy on its way. Made and finished off the storage thread, and stepped on it.
struct Copying {
  std::optional<Database> to;
  std::optional<PageCopy> pages;  // gone before `to`
  std::uint64_t total = 0, slices = 0;
  std::chrono::microseconds longest{0};
};

class CopyOperation : public Operation {
 public:
  CopyOperation(StoreCore& core, Copying& copying) : Operation(Kind::read), core_(core), copying_(copying) {}

  Result<> apply(Database& db) override {
    auto began = std::chrono::steady_clock::now();
    if (!copying_.pages) {
      core_.hold_files();
      Result<std::int64_t> total = db.value("PRAGMA page_count");
      if (!total) return fail(total.error());
      copying_.total = static_cast<std::uint64_t>(*total);
      Result<PageCopy> pages = PageCopy::begin(db, *copying_.to);
      if (!pages) return fail(pages.error());
      copying_.pages.emplace(*std::move(pages));
    }
    Result<bool> stepped = copying_.pages->step(kPagesInSlice);
    auto took = std::chrono::steady_clock::now() - began;
    copying_.longest = std::max(copying_.longest, std::chrono::duration_cast<std::chrono::microseconds>(took));
    copying_.slices += 1;
    if (!stepped) return fail(stepped.error());
    more = *stepped;
    return {};
  }
  bool more = false;

 private:
  StoreCore& core_;
  Copying& copying_;
};

/// Lets go of the source; without `keep_files` also of the spool files that were kept.
class EndOperation : public Operation {
 public:
  EndOperation(StoreCore& core, Copying& copying, bool keep_files)
      : Operation(Kind::read), core_(core), copying_(copying), keep_files_(keep_files) {}
  Result<> apply(Database&) override {
    copying_.pages.reset();
    if (!keep_files_) core_.release_files();
    return {};
  }

 private:
  StoreCore& core_;
  Copying& copying_;
  bool keep_files_;
};

/// One copy at a time.
class Turn {
 public:
  explicit Turn(std::atomic<bool>& busy) : busy_(busy), taken_(!busy.exchange(true)) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    if (taken_) busy_ = false;
  }
  bool taken() const { return taken_; }

 private:
  std::atomic<bool>& busy_;
  bool taken_;
};

Result<> has_room(Files& files, std::uint64_t octets) {
  Result<> room = check_room(files, octets);
  if (room) return room;
  return fail(Errc::full, "no room for a copy of queue.db, which has " + std::to_string(octets) + " octets");
}

/// Fills copying.to. `files` are those of the folder that has the copy, for its room.
net::Task<Result<>> copy_pages(LiveQueue queue, Copying& copying, Files& files, std::string path, std::stop_token stop,
                               const Watched& progress) {
  Result<> done;
  bool more = true;
  while (done && more) {
    if (stop.stop_requested()) co_return fail(stopped());
    CopyOperation slice(queue.core, copying);
    Submit end(queue.storage, queue.runtime, slice);
    done = co_await end;
    more = slice.more;
    if (!done) break;
    if (progress && copying.slices == 1) progress->begin(Progress::Unit::pages, copying.total);
    if (progress) progress->add(kPagesInSlice);
    if (copying.slices == 1) {
      std::uint64_t octets = copying.total * kPage;
      std::function<void()> room = [&done, &files, octets] { done = has_room(files, octets); };
      co_await queue.runtime.offload(std::move(room));
    } else if (copying.slices % kSyncEvery == 0) {
      std::function<void()> sync = [&done, &path] { done = sync_path(path); };
      co_await queue.runtime.offload(std::move(sync));
    }
  }
  co_return done;
}

net::Task<> end_copy(LiveQueue queue, Copying& copying, bool keep_files) {
  EndOperation operation(queue.core, copying, keep_files);
  Submit end(queue.storage, queue.runtime, operation);
  Result<> ended = co_await end;
  (void)ended;  // the store is closed: what was kept is removed at the next start
  copying.pages.reset();
}

/// The folder has its queue.db. Takes the spool files along, and counts.
Result<> fill(NewFolder& folder, const std::string& data_dir, Files& files, const std::stop_token& stop,
              const Watched& progress, BackupReport& report) {
  Result<Database> db = open_to_read(folder.path() + "/queue.db");
  if (!db) return fail(db.error());
  for (auto [sql, into] : {std::pair{"SELECT count(*) FROM message", &report.messages},
                           std::pair{"SELECT count(*) FROM recipient", &report.recipients}}) {
    Result<std::int64_t> count = db->value(sql);
    if (!count) return fail(count.error());
    *into = static_cast<std::uint64_t>(*count);
  }
  if (progress) {
    const Result<std::int64_t> count = db->value("SELECT count(*) FROM message WHERE in_file = 1");
    if (count) progress->begin(Progress::Unit::messages, static_cast<std::uint64_t>(*count));
  }
  Run row(*db, kInFile);
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) {
    if (stop.stop_requested()) return fail(stopped());
    Result<Taken> taken = take_spool_file(data_dir, files, folder, body_path(id_of(row.integer(0)).text()));
    if (progress) progress->add(1);
    bool missing = !taken && taken.error().code == Errc::not_found;
    if (!taken && !missing) return fail(taken.error());
    report.missing += missing ? 1 : 0;
    report.spool_files += missing ? 0 : 1;
    report.copied += taken && *taken == Taken::copied ? 1 : 0;
  }
  if (!found) return fail(found.error());
  return {};
}

/// The copy of queue.db stands there, and nothing uses it any more. Blocks.
Result<> complete(NewFolder& folder, const std::string& data_dir, Files& files, const std::stop_token& stop,
                  const Watched& progress, BackupReport& report) {
  Result<> marked = mark_closed(folder.path() + "/queue.db");
  if (!marked) return marked;
  Result<> filled = fill(folder, data_dir, files, stop, progress, report);
  if (!filled) return filled;
  report.folder = folder.final_path();
  return folder.done(data_dir);
}

/// A backup within the data folder would be swept away, or fill it.
Result<NewFolder> make_outside(const std::string& data_dir, const std::string& path) {
  Result<std::string> own = real_folder(data_dir);
  if (!own) return fail(own.error());
  Result<NewFolder> folder = NewFolder::make(path);
  if (folder && folder->final_path().starts_with(*own + "/"))
    return fail(Errc::invalid, escape(path) + " is within the data folder");
  return folder;
}

}  // namespace

Result<> copy_database(Database& from, const std::string& path, const Watched& progress) {
  {
    Result<std::int64_t> total = from.value("PRAGMA page_count");
    if (!total) return fail(total.error());
    if (progress) progress->begin(Progress::Unit::pages, static_cast<std::uint64_t>(*total));
    Result<Database> to = open_copy(path);
    if (!to) return fail(to.error());
    Result<PageCopy> pages = PageCopy::begin(from, *to);
    if (!pages) return fail(pages.error());
    for (Result<bool> more = true; *more;) {
      if (progress && progress->is_stopped()) return fail(stopped());
      more = pages->step(kPagesInSlice);
      if (!more) return fail(more.error());
      if (progress) progress->add(kPagesInSlice);
    }
  }
  return mark_closed(path);
}

net::Task<Result<BackupReport>> back_up(LiveQueue queue, std::string path, std::stop_token stop, Watched progress) {
  Turn turn(queue.busy);
  if (!turn.taken()) co_return fail(Errc::busy, "another backup or check is under way");
  const std::string& data_dir = queue.core.options().data_dir;
  BackupReport report;
  Copying copying;
  std::optional<NewFolder> folder;
  Result<> done;
  std::function<void()> begin = [&] {
    Result<NewFolder> made = make_outside(data_dir, path);
    if (!made) {
      done = fail(made.error());
      return;
    }
    folder.emplace(*std::move(made));
    Result<Database> to = open_copy(folder->path() + "/queue.db");
    if (to)
      copying.to.emplace(*std::move(to));
    else
      done = fail(to.error());
  };
  co_await queue.runtime.offload(std::move(begin));
  if (done) {
    std::string copy = folder->path() + "/queue.db";
    done = co_await copy_pages(queue, copying, folder->files(), std::move(copy), stop, progress);
    // The source is let go of at once; the spool files stay until they were taken along.
    co_await end_copy(queue, copying, true);
  }
  std::function<void()> end = [&] {
    copying.to.reset();
    if (done) done = complete(*folder, data_dir, queue.core.files(), stop, progress, report);
    folder.reset();
  };
  co_await queue.runtime.offload(std::move(end));
  co_await end_copy(queue, copying, false);
  if (!done) co_return fail(done.error());
  report.pages = copying.total;
  report.slices = copying.slices;
  report.longest_slice = copying.longest;
  co_return report;
}

net::Task<Result<CheckReport>> check_live(LiveQueue queue, std::stop_token stop, Watched progress) {
  Turn turn(queue.busy);
  if (!turn.taken()) co_return fail(Errc::busy, "another backup or check is under way");
  std::string path = queue.core.options().data_dir + "/queue.db.check";
  Copying copying;
  Result<> done;
  std::function<void()> begin = [&] {
    Result<Database> to = open_copy(path);
    if (to)
      copying.to.emplace(*std::move(to));
    else
      done = fail(to.error());
  };
  co_await queue.runtime.offload(std::move(begin));
  if (done) {
    done = co_await copy_pages(queue, copying, queue.core.files(), path, stop, progress);
    co_await end_copy(queue, copying, true);
  }
  Result<CheckReport> report;
  auto settled = std::chrono::duration_cast<std::chrono::milliseconds>(
      (queue.runtime.wall_now() - kSettledAfter).time_since_epoch());
  Id limit{static_cast<std::uint64_t>(std::max<std::int64_t>(settled.count(), 0)) << 18};
  std::function<void()> check = [&] {
    copying.to.reset();
    Result<Database> copy = done ? open_to_read(path) : Result<Database>(fail(done.error()));
    if (copy)
      report = check_database(*copy, queue.core.files(), limit, stop, progress);
    else
      report = fail(copy.error());
    ::unlink(path.c_str());
  };
  co_await queue.runtime.offload(std::move(check));
  co_await end_copy(queue, copying, false);
  co_return report;
}

Result<BackupReport> back_up_folder(const std::string& data_dir, const std::string& path, const Watched& progress) {
  Result<std::string> own = real_folder(data_dir);
  if (!own) return fail(own.error());
  Result<FolderLock> lock = FolderLock::shared(*own);
  if (!lock) return fail(lock.error());
  Result<> whole = check_wal(*own + "/queue.db");
  if (!whole) return fail(whole.error());
  Result<std::unique_ptr<Files>> files = open_files(*own);
  if (!files) return fail(files.error());
  BackupReport report;
  Result<NewFolder> folder = make_outside(*own, path);
  if (!folder) return fail(folder.error());
  {
    Result<Database> db = open_to_read(*own + "/queue.db");
    if (!db) return fail(db.error());
    Result<int> ours = version_of(*db, kQueueSchema);
    if (!ours) return fail(ours.error());
    Result<std::int64_t> pages = db->value("PRAGMA page_count");
    if (!pages) return fail(pages.error());
    report.pages = static_cast<std::uint64_t>(*pages);
    Result<> room = has_room(folder->files(), report.pages * kPage);
    if (!room) return fail(room.error());
    Result<> copied = copy_database(*db, folder->path() + "/queue.db", progress);
    if (!copied) return fail(copied.error());
  }
  Result<> done = complete(*folder, *own, **files, token_of(progress), progress, report);
  if (!done) return fail(done.error());
  return report;
}

}  // namespace waypost::queue
