#include "queue/stats.h"

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "queue/lock.h"
#include "queue/rows.h"
#include "queue/schema.h"
#include "queue/sqlite_queue.h"
#include "queue/totals_operation.h"

namespace waypost::queue {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kSlice = 2000;
constexpr Sql kDestinations{
    "SELECT count(*), max(id) FROM (SELECT id FROM destination WHERE id > ?1 ORDER BY id LIMIT ?2)"};

/// What the head of the file knows, and how many destinations follow the one with the id `after`.
class StatsOperation : public Operation {
 public:
  explicit StatsOperation(std::int64_t after) : Operation(Kind::read), after_(after) {}

  Result<> apply(Database& db) override {
    Result<int> of = version_of(db, kQueueSchema);
    if (!of) return fail(of.error());
    version = *of;
    for (auto [pragma, into] : {std::pair{"PRAGMA page_count", &pages}, std::pair{"PRAGMA freelist_count", &free}}) {
      Result<std::int64_t> value = db.value(pragma);
      if (!value) return fail(value.error());
      *into = static_cast<std::uint64_t>(*value);
    }
    Run run(db, kDestinations);
    run << after_ << kSlice;
    Result<bool> found = run.step();
    if (!found) return fail(found.error());
    destinations = run.integer(0);
    upto = run.integer(1);
    return {};
  }

  int version = 0;
  std::uint64_t pages = 0, free = 0;
  std::int64_t destinations = 0, upto = 0;
  bool more() const { return destinations == kSlice; }
  void put(StoreStats& into) const {
    into.version = version;
    into.pages = pages;
    into.free_pages = free;
    into.destinations += static_cast<std::uint64_t>(destinations);
  }

 private:
  std::int64_t after_;
};

/// 0 for one that is not there, or not any more.
std::uint64_t octets_of(const fs::path& path) {
  std::error_code gone;
  const std::uintmax_t octets = fs::file_size(path, gone);
  return gone ? 0 : octets;
}

void measure_files(const std::string& data_dir, StoreStats& stats) {
  stats.database_octets = octets_of(data_dir + "/queue.db");
  stats.wal_octets = octets_of(data_dir + "/queue.db-wal");
  stats.history_octets = octets_of(data_dir + "/history.db") + octets_of(data_dir + "/history.db-wal");
  std::error_code failed;
  for (fs::recursive_directory_iterator at(data_dir + "/body", failed), end; !failed && at != end;
       at.increment(failed)) {
    std::error_code gone;
    if (!at->is_regular_file(gone)) continue;
    stats.spool_files += 1;
    stats.spool_octets += octets_of(at->path());
  }
}

/// All rows, at once: nobody else uses the file.
Result<Totals> count_rows(Database& db) {
  std::int64_t messages = 0, octets = 0, deferred = 0, held = 0, kept = 0, first_deferred = 0, first_held = 0;
  for (auto [sql, into] :
       {std::pair{"SELECT count(*) FROM message", &messages}, std::pair{"SELECT sum(size) FROM message", &octets},
        std::pair{"SELECT count(*) FROM recipient WHERE state = 0", &deferred},
        std::pair{"SELECT count(*) FROM recipient WHERE state = 1", &held},
        std::pair{"SELECT count(*) FROM recipient WHERE state = 6 AND change > 0", &kept},
        std::pair{"SELECT min(message) FROM recipient WHERE state = 0", &first_deferred},
        std::pair{"SELECT min(message) FROM recipient WHERE state = 1", &first_held}}) {
    Result<std::int64_t> value = db.value(sql);
    if (!value) return fail(value.error());
    *into = *value;
  }
  Totals totals;
  totals.messages = static_cast<std::uint64_t>(messages);
  totals.octets = static_cast<std::uint64_t>(octets);
  totals.deferred = static_cast<std::uint64_t>(deferred);
  totals.held = static_cast<std::uint64_t>(held);
  totals.removed = static_cast<std::uint64_t>(kept);
  if (deferred > 0) totals.oldest_deferred = time_of(id_of(first_deferred));
  if (held > 0) totals.oldest_held = time_of(id_of(first_held));
  return totals;
}

}  // namespace

net::Task<Result<StoreStats>> stats_of(StoreCore& core, StorageThread& storage, net::Runtime& runtime) {
  auto stats = std::make_shared<StoreStats>();
  std::int64_t after = 0;
  bool more = true;
  while (more) {
    StatsOperation slice(after);
    Submit end(storage, runtime, slice);
    Result<> done = co_await end;
    if (!done) co_return fail(done.error());
    slice.put(*stats);
    after = slice.upto;
    more = slice.more();
  }
  Result<std::optional<Totals>> totals = co_await totals_of(core, storage, runtime);
  if (!totals) co_return fail(totals.error());
  stats->totals = *totals;
  std::function<void()> measure = [stats, data_dir = core.options().data_dir] { measure_files(data_dir, *stats); };
  co_await runtime.offload(std::move(measure));
  StoreStats out = *stats;
  co_return out;
}

Result<StoreStats> stats_of_folder(const std::string& data_dir) {
  Result<std::string> folder = real_folder(data_dir);
  if (!folder) return fail(folder.error());
  Result<FolderLock> lock = FolderLock::shared(*folder);
  if (!lock) return fail(lock.error());
  Result<Database> db = open_to_read(*folder + "/queue.db");
  if (!db) return fail(db.error());
  Result<> ours = check_version(*db, kQueueSchema);
  if (!ours) return fail(ours.error());
  StoreStats stats;
  for (std::int64_t after = 0;;) {
    StatsOperation slice(after);
    Result<> done = slice.apply(*db);
    if (!done) return fail(done.error());
    slice.put(stats);
    after = slice.upto;
    if (!slice.more()) break;
  }
  Result<Totals> totals = count_rows(*db);
  if (!totals) return fail(totals.error());
  stats.totals = *totals;
  measure_files(*folder, stats);
  return stats;
}

}  // namespace waypost::queue
