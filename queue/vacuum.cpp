#include "queue/vacuum.h"

#include <algorithm>
#include <string>
#include <utility>

#include "queue/schema.h"
#include "queue/sqlite_queue.h"

namespace waypost::queue {
namespace {

/// One turn. `report` has what it gave back, and what is left then.
Result<> give_back(Database& db, VacuumReport& report) {
  Result<std::int64_t> before = db.value("PRAGMA freelist_count");
  if (!before) return fail(before.error());
  report = {};
  if (*before == 0) return {};
  Result<std::int64_t> pages = db.value("PRAGMA page_count");
  if (!pages) return fail(pages.error());
  Result<> done = db.run("PRAGMA incremental_vacuum(256)");
  if (!done) return done;
  Result<std::int64_t> after = db.value("PRAGMA freelist_count");
  if (!after) return fail(after.error());
  if (*after >= *before)
    return fail(Errc::unsupported, "queue.db was made without auto_vacuum, and can give no pages back");
  Result<std::int64_t> kept = db.value("PRAGMA page_count");
  if (!kept) return fail(kept.error());
  // Those that say which pages are free go with them.
  report.pages = static_cast<std::uint64_t>(std::max<std::int64_t>(*pages - *kept, 0));
  report.left = static_cast<std::uint64_t>(*after);
  return {};
}

class VacuumOperation : public Operation {
 public:
  VacuumOperation() : Operation(Kind::bulk) {}
  Result<> apply(Database& db) override { return give_back(db, turn); }
  VacuumReport turn;
};

}  // namespace

net::Task<Result<VacuumReport>> vacuum(StorageThread& storage, net::Runtime& runtime, std::stop_token stop) {
  VacuumReport report;
  bool more = true;
  while (more) {
    if (stop.stop_requested()) co_return fail(Errc::cancelled, "the daemon is stopping");
    VacuumOperation operation;
    Submit end(storage, runtime, operation);
    Result<> done = co_await end;
    if (!done) co_return fail(done.error());
    report.pages += operation.turn.pages;
    more = operation.turn.left > 0;
  }
  co_return report;
}

Result<VacuumReport> vacuum_folder(const std::string& data_dir) {
  Result<Versions> versions = versions_of_folder(data_dir);
  if (!versions) return fail(versions.error());
  if (versions->queue != versions->newest_queue)
    return fail(Errc::unsupported, "queue.db was written by an older Waypost: waypost store migrate");
  Result<OfflineQueue> queue = open_offline(data_dir);
  if (!queue) return fail(queue.error());
  VacuumReport report;
  for (bool more = true; more;) {
    VacuumReport turn;
    Transaction transaction(queue->db);
    Result<> done = transaction.begin();
    if (done) done = give_back(queue->db, turn);
    if (done) done = transaction.commit();
    if (!done) return fail(done.error());
    report.pages += turn.pages;
    more = turn.left > 0;
    // So that the WAL stays small.
    Result<Database::Checkpointed> moved = queue->db.checkpoint();
    if (!moved) return fail(moved.error());
  }
  Result<> closed = close_offline(*std::move(queue));
  if (!closed) return fail(closed.error());
  return report;
}

}  // namespace waypost::queue
