// queue/restore.cpp
#include "queue/restore.h"

#include <utility>

#include "base/escape.h"
#include "queue/backup.h"
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

Result<> take_over_spool(Database& backup, const std::string& from, NewFolder& to) {
  Result<std::unique_ptr<Files>> files = open_files(from);
  if (!files) return fail(files.error());
  Run row(backup, kMessages);
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) {
    if (row.integer(1) == 0) continue;
    Result<Taken> taken = take_spool_file(from, **files, to, body_path(id_of(row.integer(0)).text()));
    // A message without its body is put off, and goes back to its sender when its time is over.
    if (!taken && taken.error().code != Errc::not_found) return fail(taken.error());
  }
  if (!found) return fail(found.error());
  return {};
}

}  // namespace

Result<RestoreReport> restore(const std::string& backup, const std::string& data_dir, bool force,
                              RestoreRefusal& refusal) {
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

  Result<CheckReport> checked = check_folder(*from);
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
  Result<NewFolder> folder = make_replacement(*own, "before-restore");
  if (!folder) return fail(folder.error());
  {
    Result<Database> db = open_queue(*from);
    if (!db) return fail(db.error());
    compare(*db, *own, report);
    Result<> copied = copy_database(*db, folder->path() + "/queue.db");
    if (copied) copied = take_over_spool(*db, *from, *folder);
    if (!copied) return fail(copied.error());
  }
  Result<std::string> kept = replace_queue(*own, *std::move(folder));
  if (!kept) return fail(kept.error());
  report.kept = *std::move(kept);
  return report;
}

}  // namespace waypost::queue
