// queue/restore.cpp
#include "queue/restore.h"

#include <utility>

#include "base/escape.h"
#include "queue/backup.h"
#include "queue/check.h"
#include "queue/lock.h"
#include "queue/replacement.h"
#include "queue/rows.h"
#include "queue/schema.h"
#include "queue/sqlite_queue.h"

namespace waypost::queue {
namespace {

constexpr Sql kMessages{"SELECT id, in_file FROM message ORDER BY id"};
// What was removed, and is kept for an undo, is no mail that waits.
#define WAYPOST_WAITING "EXISTS (SELECT 1 FROM recipient r WHERE r.message = m.id AND r.state IN (0, 1))"
constexpr Sql kWaiting{"SELECT m.id FROM message m WHERE " WAYPOST_WAITING " ORDER BY m.id"};
constexpr Sql kWaits{"SELECT 1 FROM message m WHERE m.id = ?1 AND " WAYPOST_WAITING};

Result<Database> open_queue(const std::string& folder) {
  Result<Database> db = open_to_read(folder + "/queue.db");
  if (!db) return db;
  Result<> ours = check_version(*db, kQueueSchema);
  if (!ours) return fail(ours.error());
  return db;
}

/// Messages that wait in `these`, and not in `others`.
Result<std::uint64_t> missing(Database& these, Database& others) {
  std::uint64_t count = 0;
  Run row(these, kWaiting);
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) {
    Run waits(others, kWaits);
    waits << row.integer(0);
    Result<bool> found_there = waits.step();
    if (!found_there) return fail(found_there.error());
    count += *found_there ? 0 : 1;
  }
  if (!found) return fail(found.error());
  return count;
}

/// Of the queue that is there, if it can be read.
void compare(Database& backup, const std::string& data_dir, RestoreReport& report) {
  Result<Database> old = open_queue(data_dir);
  Result<std::uint64_t> again = old ? missing(backup, *old) : Result<std::uint64_t>(fail(old.error()));
  Result<std::uint64_t> dropped = old ? missing(*old, backup) : Result<std::uint64_t>(fail(old.error()));
  report.compared = again && dropped;
  if (!report.compared) return;
  report.again = *again;
  report.dropped = *dropped;
}

/// nullopt: nothing is in the way.
std::optional<std::uint64_t> mail_in(const std::string& data_dir) {
  Result<Database> old = open_queue(data_dir);
  if (!old && old.error().code == Errc::not_found) return std::nullopt;
  Result<std::int64_t> messages =
      old ? old->value("SELECT count(*) FROM message m WHERE " WAYPOST_WAITING) : fail(old.error());
  if (!messages) return 0;
  if (*messages == 0) return std::nullopt;
  return static_cast<std::uint64_t>(*messages);
}

Result<> take_over_spool(Database& backup, const std::string& from, NewFolder& to, const Watched& progress) {
  Result<std::unique_ptr<Files>> files = open_files(from);
  if (!files) return fail(files.error());
  if (progress) {
    const Result<std::int64_t> count = backup.value("SELECT count(*) FROM message");
    if (count) progress->begin(Progress::Unit::messages, static_cast<std::uint64_t>(*count));
  }
  Run row(backup, kMessages);
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) {
    if (progress && progress->is_stopped()) return fail(stopped());
    if (progress) progress->add(1);
    if (row.integer(1) == 0) continue;
    Result<Taken> taken = take_spool_file(from, **files, to, body_path(id_of(row.integer(0)).text()));
    // A message without its body is put off, and goes back to its sender when its time is over.
    if (!taken && taken.error().code != Errc::not_found) return fail(taken.error());
  }
  if (!found) return fail(found.error());
  return {};
}

/// A copy of the backup's queue.db, of this version, in a folder that is to take the queue's place.
Result<NewFolder> copy_of(const std::string& backup, const std::string& data_dir, const Watched& progress) {
  Result<Database> source = open_to_read(backup + "/queue.db");
  if (!source) return fail(source.error());
  Result<NewFolder> folder = make_replacement(data_dir, "before-restore");
  if (!folder) return folder;
  const std::string path = folder->path() + "/queue.db";
  Result<> done = copy_database(*source, path, progress);
  if (!done) return fail(done.error());
  Result<Database> copy = Database::open(path, "", Database::Mode::read_write);
  if (!copy) return fail(copy.error());
  done = copy->run("PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY");
  if (done) done = bring_up_to_date(*copy, kQueueSchema, [](int) { return Result<>(); });
  if (!done) return fail(done.error());
  // queue.db alone is what is put in place.
  Result<Database::Checkpointed> moved = copy->checkpoint();
  if (!moved) return fail(moved.error());
  return folder;
}

bool is_older(const std::string& backup) {
  Result<Database> db = open_to_read(backup + "/queue.db");
  const Result<int> version = db ? version_of(*db, kQueueSchema) : fail(db.error());
  return version && *version < static_cast<int>(kQueueSchema.steps.size());
}

/// Of a backup of an older version what would be restored.
Result<CheckReport> check_copy(const NewFolder& copy, const std::string& backup, const Watched& progress) {
  Result<Database> db = open_queue(copy.path());
  if (!db) return fail(db.error());
  Result<std::unique_ptr<Files>> bodies = open_files(backup);
  if (!bodies) return fail(bodies.error());
  return check_database(*db, **bodies, std::nullopt, token_of(progress), progress);
}

}  // namespace

Result<RestoreReport> restore(const std::string& backup, const std::string& data_dir, bool force,
                              RestoreRefusal& refusal, const Watched& progress) {
  Result<std::string> own = real_folder(data_dir);
  if (!own) return fail(own.error());
  Result<std::string> from = real_folder(backup);
  if (!from) return fail(from.error());
  if (*from == *own) return fail(Errc::invalid, escape(backup) + " is the queue itself");
  Result<FolderLock> lock = FolderLock::exclusive(*own);
  if (!lock) return fail(lock.error());
  Result<> ready = give_to_owner_of(*own, *own + "/lock");
  if (ready) ready = finish_replacements(*own);
  if (!ready) return fail(ready.error());

  std::optional<NewFolder> folder;
  if (is_older(*from)) {
    Result<NewFolder> made = copy_of(*from, *own, progress);
    if (!made) return fail(made.error());
    folder.emplace(*std::move(made));
  }
  Result<CheckReport> checked = folder ? check_copy(*folder, *from, progress) : check_folder(*from, progress);
  if (!checked) return fail(checked.error());
  if (checked->found > 0 && !force) {
    refusal.damaged = *std::move(checked);
    return fail(Errc::exists, "the backup is damaged");
  }
  if (!force) refusal.messages_in_queue = mail_in(*own);
  if (refusal.messages_in_queue) return fail(Errc::exists, "there is a queue already");

  RestoreReport report;
  report.messages = checked->messages;
  report.recipients = checked->recipients;
  if (!folder) {
    Result<NewFolder> made = copy_of(*from, *own, progress);
    if (!made) return fail(made.error());
    folder.emplace(*std::move(made));
  }
  {
    Result<Database> db = open_queue(folder->path());
    if (!db) return fail(db.error());
    compare(*db, *own, report);
    Result<> taken = take_over_spool(*db, *from, *folder, progress);
    if (!taken) return fail(taken.error());
  }
  if (progress && progress->is_stopped()) return fail(stopped());
  Result<std::string> kept = replace_queue(*own, *std::move(folder));
  if (!kept) return fail(kept.error());
  report.kept = *std::move(kept);
  return report;
}

}  // namespace waypost::queue
