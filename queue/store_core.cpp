// queue/store_core.cpp
#include "queue/store_core.h"

#include <algorithm>
#include <utility>

#include "base/event_log.h"
#include "queue/rows.h"
#include "queue/set_aside.h"

namespace waypost::queue {
namespace {

constexpr Sql kFindDestination{"SELECT id FROM destination WHERE name = ?1"};
constexpr Sql kAddDestination{"INSERT INTO destination(name) VALUES (?1)"};
constexpr Sql kReserve{"INSERT OR REPLACE INTO meta(key, value) VALUES ('id_reserve', ?1)"};
constexpr Sql kReserved{"SELECT value FROM meta WHERE key = 'id_reserve'"};
constexpr Sql kLastId{"SELECT max(id) FROM message"};
constexpr Sql kMarkOpen{"INSERT OR REPLACE INTO meta(key, value) VALUES ('open', 1)"};
constexpr Sql kMarkClosed{"DELETE FROM meta WHERE key = 'open'"};
constexpr Sql kIsOpen{"SELECT 1 FROM meta WHERE key = 'open'"};

// A destination goes when nothing waits for it and it is not failing, or was last a day ago, and it is not held. Each
// test is a seek or two. So does a site, for which nothing waits by its own name.
constexpr Sql kSweepTo{"SELECT max(id) FROM (SELECT id FROM destination WHERE id > ?1 ORDER BY id LIMIT 500)"};
constexpr Sql kSweep{
    "DELETE FROM destination WHERE id > ?1 AND id <= ?2 AND (failures = 0 OR next_attempt < ?3) "
    "AND held_until < ?4 AND spacing = 0 AND NOT EXISTS (SELECT 1 FROM recipient INDEXED BY recipient_due "
    "WHERE in_due = 1 AND recipient.destination = destination.id) "
    "AND " WAYPOST_NONE_ASIDE};

constexpr std::size_t kKnownDestinations = 50'000;
constexpr std::uint64_t kReserveAhead = std::uint64_t{60'000} << 18;          // a minute of ids
constexpr std::uint64_t kSaneIds = Id::kMax - kReserveAhead * 60 * 24 * 365;  // a year before there are no more
constexpr std::chrono::hours kSweepEvery{1};
constexpr std::chrono::hours kForgetFailingAfter{24};

}  // namespace

StoreCore::StoreCore(StoreOptions options, Files& files, History& history)
    : options_(std::move(options)), files_(files), history_(history) {}

Result<> StoreCore::begin(Database& db) {
  disk_.keep_ballast();
  for (Sql sql : {kReserved, kLastId}) {
    Run run(db, sql);
    Result<bool> found = run.step();
    if (!found) return fail(found.error());
    if (!*found) continue;
    // A flipped bit at the top must not be the end of all ids; those that the clock gives are larger than the true
    // ones.
    Id last = id_of(std::max<std::int64_t>(run.integer(0), 0));
    if (last.value < kSaneIds) reserve_ = std::max(reserve_, last);
  }
  kept_reserve_ = reserve_;
  ids_.start_after(reserve_);
  while (true) {
    Result<bool> more = sweep_destinations(db);
    // Later, when the disk has room: what is queued must be able to leave it.
    if (!more && more.error().code == Errc::full) return {};
    if (!more) return fail(more.error());
    if (!*more) return {};
  }
}

Result<std::int64_t> StoreCore::destination_id(Database& db, const std::string& name) {
  auto known = destination_ids_.find(name);
  if (known != destination_ids_.end()) return known->second;

  std::int64_t id = 0;
  {
    Run find(db, kFindDestination);
    find << name;
    Result<bool> found = find.step();
    if (!found) return fail(found.error());
    if (*found) id = find.integer(0);
  }
  if (id == 0) {
    Run add(db, kAddDestination);
    add << name;
    Result<> added = add.done();
    if (!added) return fail(added.error());
    id = db.last_rowid();
    learnt_ = true;
  }
  if (destination_ids_.size() >= kKnownDestinations) destination_ids_.clear();
  destination_ids_.emplace(name, id);
  return id;
}

Result<> StoreCore::reserve_ids(Database& db, Id id) {
  if (id <= reserve_) return {};
  Id reserve{id.value + kReserveAhead};
  Run run(db, kReserve);
  run << number(reserve);
  Result<> done = run.done();
  if (done) reserve_ = reserve;
  return done;
}

bool StoreCore::take_memory(std::size_t octets) {
  std::size_t before = memory_->fetch_add(octets, std::memory_order_relaxed);
  if (before + octets <= options_.arrival_octets) return true;
  memory_->fetch_sub(octets, std::memory_order_relaxed);
  return false;
}

void StoreCore::rolled_back() {
  totals_.rolled_back();
  if (learnt_) destination_ids_.clear();
  learnt_ = false;
  reserve_ = kept_reserve_;
}

void StoreCore::batch_done() {
  learnt_ = false;
  Aftermath after = std::exchange(aftermath_, {});
  if (events_.arrived && !after.arrived.empty()) events_.arrived(std::move(after.arrived));
  if (events_.changed && after.changed) events_.changed();
  for (HistoryEvent& event : after.history) history_.add(std::move(event));
  if (holds_files_) {
    for (std::string& path : after.unlink) held_files_.push_back(std::move(path));
    return;
  }
  for (const std::string& path : after.unlink) {
    Result<> removed = files_.remove(path);
    // What stays is removed at the next start.
    if (!removed && removed.error().code != Errc::not_found) log::warning(removed.error().what);
  }
}

void StoreCore::release_files() {
  holds_files_ = false;
  for (std::string& path : held_files_) aftermath_.unlink.push_back(std::move(path));
  held_files_.clear();
}

Result<> StoreCore::mark_open(Database& db) {
  {
    Run run(db, kMarkOpen);
    Result<> done = run.done();
    if (!done) return done;
  }
  Result<Database::Checkpointed> moved = db.checkpoint();
  if (!moved) return fail(moved.error());
  return {};
}

Result<> StoreCore::mark_closed(Database& db) {
  Run run(db, kMarkClosed);
  return run.done();
}

bool StoreCore::is_marked_open(Database& db) {
  Run run(db, kIsOpen);
  Result<bool> found = run.step();
  return found && *found;
}

void StoreCore::failed(const Error& error) {
  log::failure("the queue cannot be written, nothing more is accepted: " + error.what);
  if (events_.failed) events_.failed(error);
}

bool StoreCore::has_room(Database& db, std::uint64_t octets) {
  bool room = disk_.has_room(octets, 0);
  if (!room) {
    Result<std::int64_t> pages = db.value("PRAGMA freelist_count");
    room = pages && disk_.has_room(octets, static_cast<std::uint64_t>(*pages) * 4096);
  }
  if (had_room_ && !room) log::warning("the disk of data_dir is nearly full: new mail is put off with 452");
  if (!had_room_ && room) log::warning("the disk of data_dir has room again: new mail is taken");
  had_room_ = room;
  return room;
}

bool StoreCore::make_room() {
  if (!disk_.give_up_ballast()) return false;
  log::warning("the disk of data_dir is full: the ballast was given up, so that queued mail can leave");
  return true;
}

Result<bool> StoreCore::housekeeping(Database& db, bool idle) {
  net::TimePoint now = options_.clock->now();
  if (now >= next_sweep_) {
    Result<bool> more = sweep_destinations(db);
    if (!more) return more;
    if (*more) return true;
    next_sweep_ = now + kSweepEvery;
  }
  if (!idle) return false;
  return shrink(db);
}

/// Some hundred rows; true while there are more.
Result<bool> StoreCore::sweep_destinations(Database& db) {
  std::int64_t to = 0;
  {
    Run find(db, kSweepTo);
    find << swept_to_;
    Result<bool> found = find.step();
    if (!found) return found;
    to = find.integer(0);
  }
  if (to == 0) {
    swept_to_ = 0;
    return false;
  }
  Run sweep(db, kSweep);
  const net::WallTime now = options_.clock->wall_now();
  sweep << swept_to_ << to << millis(now - kForgetFailingAfter) << millis(now - DestinationState::kAfterHold);
  Result<> done = sweep.done();
  if (!done) return fail(done.error());
  if (db.changed_rows() > 0) destination_ids_.clear();
  swept_to_ = to;
  return true;
}

/// After a wave has passed its pages go back to the file system, a megabyte at a time.
Result<bool> StoreCore::shrink(Database& db) {
  constexpr std::int64_t kWorthIt = 4096;
  Result<std::int64_t> free = db.value("PRAGMA freelist_count");
  if (!free) return fail(free.error());
  Result<std::int64_t> pages = db.value("PRAGMA page_count");
  if (!pages) return fail(pages.error());
  if (*free < kWorthIt || *free * 4 < *pages) return false;
  Result<> done = db.run("PRAGMA incremental_vacuum(256)");
  if (!done) return fail(done.error());
  return true;
}

}  // namespace waypost::queue
