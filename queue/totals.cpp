#include "queue/totals.h"

#include <algorithm>

#include "queue/rows.h"

namespace waypost::queue {
namespace {

constexpr std::int64_t kSlice = 2000;
constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();

// Temporary: they are this connection's, not the file's. The kind of a recipient as TotalsKeeper::Kind.
#define WAYPOST_KIND(row)                                                                \
  "CASE WHEN " row ".state IN (0, 1) THEN " row ".state WHEN " row ".state = 6 AND " row \
  ".change > 0 THEN 2 ELSE -1 END"
constexpr const char* kTriggers =
    "CREATE TEMP TRIGGER IF NOT EXISTS total_message_in AFTER INSERT ON main.message BEGIN "
    "SELECT waypost_total(new.id, 1, new.size, -1, -1); END;"
    "CREATE TEMP TRIGGER IF NOT EXISTS total_message_out AFTER DELETE ON main.message BEGIN "
    "SELECT waypost_total(old.id, -1, -old.size, -1, -1); END;"
    "CREATE TEMP TRIGGER IF NOT EXISTS total_recipient_in AFTER INSERT ON main.recipient BEGIN "
    "SELECT waypost_total(new.message, 0, 0, -1, " WAYPOST_KIND("new") "); END;"
    "CREATE TEMP TRIGGER IF NOT EXISTS total_recipient_moved AFTER UPDATE OF state, change ON main.recipient BEGIN "
    "SELECT waypost_total(old.message, 0, 0, " WAYPOST_KIND("old") ", " WAYPOST_KIND("new") "); END;"
    "CREATE TEMP TRIGGER IF NOT EXISTS total_recipient_out AFTER DELETE ON main.recipient BEGIN "
    "SELECT waypost_total(old.message, 0, 0, " WAYPOST_KIND("old") ", -1); END;";
constexpr int kArguments = 5;

constexpr Sql kMessages{
    "SELECT max(id), count(*), sum(size) FROM (SELECT id, size FROM message WHERE id > ?1 ORDER BY id LIMIT ?2)"};
constexpr Sql kRecipients{"SELECT " WAYPOST_KIND(
    "r") " AS kind, count(*), min(r.message) FROM recipient r "
         "WHERE r.message > ?1 AND r.message <= ?2 GROUP BY kind"};
constexpr Sql kSliceFrom{"SELECT max(id), count(*) FROM (SELECT id FROM message WHERE id >= ?1 ORDER BY id LIMIT ?2)"};
constexpr Sql kFirstOf{
    "SELECT message FROM recipient WHERE message >= ?1 AND message <= ?2 AND state = ?3 ORDER BY message LIMIT 1"};

}  // namespace

Result<bool> TotalsKeeper::count(Database& db) {
  if (!watching_) {
    Result<> watched = watch(db);
    if (!watched) return fail(watched.error());
  }
  if (counted_to_ < kAll) {
    Result<> counted = count_slice(db);
    if (!counted) return fail(counted.error());
    if (counted_to_ < kAll) return false;
  }
  for (const Kind kind : {deferred, held}) {
    if (oldest_[static_cast<std::size_t>(kind)].known) continue;
    Result<> looked = look_for(db, kind);
    if (!looked) return fail(looked.error());
    if (!oldest_[static_cast<std::size_t>(kind)].known) return false;
  }
  return true;
}

Result<> TotalsKeeper::watch(Database& db) {
  const auto changed = [this](const std::int64_t* of) {
    changes_.push_back({of[0], of[1], of[2], static_cast<Kind>(of[3]), static_cast<Kind>(of[4])});
  };
  Result<> added = db.add_function("waypost_total", kArguments, changed);
  if (added) added = db.run(kTriggers);
  if (added) watching_ = true;
  return added;
}

Result<> TotalsKeeper::count_slice(Database& db) {
  Run messages(db, kMessages);
  messages << counted_to_ << kSlice;
  Result<bool> row = messages.step();
  if (!row) return fail(row.error());
  const bool is_last = messages.integer(1) < kSlice;
  const std::int64_t upto = is_last ? kAll : messages.integer(0);
  std::array<std::int64_t, 3> numbers{};
  std::array<std::int64_t, 3> first{};
  Run recipients(db, kRecipients);
  recipients << counted_to_ << upto;
  Result<bool> found_one = recipients.step();
  for (; found_one && *found_one; found_one = recipients.step()) {
    if (recipients.integer(0) == none) continue;
    numbers[static_cast<std::size_t>(recipients.integer(0))] = recipients.integer(1);
    first[static_cast<std::size_t>(recipients.integer(0))] = recipients.integer(2);
  }
  if (!found_one) return fail(found_one.error());
  messages_ += messages.integer(1);
  octets_ += messages.integer(2);
  for (const Kind kind : {deferred, held, removed}) {
    const auto at = static_cast<std::size_t>(kind);
    recipients_[at] += numbers[at];
    if (numbers[at] > 0) found(kind, first[at]);
  }
  counted_to_ = upto;
  return {};
}

/// From where none is older, some messages on.
Result<> TotalsKeeper::look_for(Database& db, Kind kind) {
  Oldest& oldest = oldest_[static_cast<std::size_t>(kind)];
  Run slice(db, kSliceFrom);
  slice << oldest.id << kSlice;
  Result<bool> row = slice.step();
  if (!row) return fail(row.error());
  const std::int64_t upto = slice.integer(1) < kSlice ? kAll : slice.integer(0);
  Run first(db, kFirstOf);
  first << oldest.id << upto << static_cast<std::int64_t>(kind);
  Result<bool> is_there = first.step();
  if (!is_there) return fail(is_there.error());
  oldest.id = *is_there ? first.integer(0) : upto;
  oldest.known = *is_there || upto == kAll;
  return {};
}

void TotalsKeeper::found(Kind kind, std::int64_t id) {
  if (kind != deferred && kind != held) return;
  Oldest& oldest = oldest_[static_cast<std::size_t>(kind)];
  if (id < oldest.id) oldest = {id, true};
}

void TotalsKeeper::committed() {
  for (const Change& change : changes_) {
    // What is not counted yet is found as it is by then.
    if (change.id <= counted_to_) apply(change);
  }
  changes_.clear();
}

void TotalsKeeper::apply(const Change& change) {
  messages_ += change.messages;
  octets_ += change.octets;
  if (change.before == change.after) return;
  if (change.before != none) {
    recipients_[static_cast<std::size_t>(change.before)] -= 1;
    const bool has_oldest = change.before == deferred || change.before == held;
    Oldest* oldest = has_oldest ? &oldest_[static_cast<std::size_t>(change.before)] : nullptr;
    if (oldest != nullptr && change.id == oldest->id) oldest->known = false;  // unless another recipient is left
    if (oldest != nullptr && recipients_[static_cast<std::size_t>(change.before)] == 0) *oldest = {};
  }
  if (change.after != none) {
    recipients_[static_cast<std::size_t>(change.after)] += 1;
    found(change.after, change.id);
  }
}

Totals TotalsKeeper::totals() const {
  const auto number = [](std::int64_t value) { return static_cast<std::uint64_t>(std::max<std::int64_t>(value, 0)); };
  const auto time = [this](Kind kind) {
    const Oldest& oldest = oldest_[static_cast<std::size_t>(kind)];
    return oldest.id < kAll ? std::optional<WallTime>(time_of(id_of(oldest.id))) : std::nullopt;
  };
  Totals out;
  out.messages = number(messages_);
  out.octets = number(octets_);
  out.deferred = number(recipients_[deferred]);
  out.held = number(recipients_[held]);
  out.removed = number(recipients_[removed]);
  out.oldest_deferred = time(deferred);
  out.oldest_held = time(held);
  return out;
}

}  // namespace waypost::queue
