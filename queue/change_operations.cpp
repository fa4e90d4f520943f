// queue/change_operations.cpp
#include "queue/change_operations.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/event_log.h"
#include "queue/due_operations.h"
#include "queue/set_aside.h"
#include "queue/write_operations.h"

namespace waypost::queue {
namespace {

constexpr Sql kClearBackOff{
    "UPDATE destination SET next_attempt = ?2 WHERE id IN (?1, (SELECT site FROM destination WHERE id = ?1)) "
    "AND next_attempt > ?2"};
// Nothing of the index of what is due.
constexpr Sql kChange{"UPDATE recipient SET state = ?3, change = ?4, was = ?5 WHERE message = ?1 AND idx = ?2"};
constexpr Sql kMakeDue{"UPDATE recipient SET next_attempt = ?3, in_due = 1 WHERE message = ?1 AND idx = ?2"};
constexpr Sql kWaits{"SELECT 1 FROM recipient WHERE message = ?1 AND state IN (0, 1) LIMIT 1"};
// What is there again is tried before it expires.
constexpr Sql kLookSoon{"UPDATE message SET check_at = ?2 WHERE id = ?1 AND (check_at = ?3 OR check_at < ?2)"};
constexpr Sql kNotKept{"UPDATE recipient SET change = 0 WHERE message = ?1 AND idx = ?2"};

constexpr Sql kRecord{
    "INSERT INTO change(time, what, who, meant, reason, messages, recipients) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"};
constexpr Sql kAddToRecord{
    "UPDATE change SET messages = messages + ?2, recipients = recipients + ?3, kept = ?4 WHERE number = ?1"};
constexpr Sql kDropEmpty{"DELETE FROM change WHERE number = ?1 AND recipients = 0"};
constexpr Sql kMarkUndone{"UPDATE change SET undone_by = ?2 WHERE number = ?1"};
constexpr Sql kFindRecord{"SELECT what, time FROM change WHERE number = ?1"};
constexpr Sql kRecords{
    "SELECT number, time, what, who, meant, reason, messages, recipients, undone_by FROM change WHERE number < ?1 "
    "ORDER BY number DESC LIMIT ?2"};
// A record of the future is of a clock that was set wrong.
constexpr Sql kMendTimes{"UPDATE change SET time = ?1 WHERE time > ?1"};
constexpr Sql kForgettable{"SELECT 1 FROM change WHERE kept = 1 AND time <= ?1 LIMIT 1"};
constexpr Sql kForgotten{"UPDATE change SET kept = 0 WHERE kept = 1 AND time <= ?1"};
constexpr Sql kKept{
    "SELECT r.message, r.idx, c.time <= ?3 FROM recipient r INDEXED BY recipient_kept "
    "LEFT JOIN change c ON c.number = r.change WHERE r.state = 6 AND r.change > 0 "
    "AND (r.message, r.idx) > (?1, ?2) ORDER BY r.message, r.idx LIMIT ?4"};
constexpr Sql kForgetRecords{"DELETE FROM change WHERE number <= (SELECT max(number) FROM change) - ?1 AND kept = 0"};

constexpr std::array<std::pair<Change, std::string_view>, 4> kNames{
    {{Change::hold, "hold"}, {Change::release, "release"}, {Change::retry, "retry"}, {Change::remove, "delete"}}};

Event event_of(Change change) {
  switch (change) {
    case Change::hold:
      return Event::hold;
    case Change::release:
      return Event::release;
    case Change::retry:
      return Event::retry;
    case Change::remove:
      return Event::remove;
  }
  return Event::retry;
}

/// A line, not a file: what a person wrote may be as long as a request. Not cut within a character.
std::string line_of(std::string_view text) {
  constexpr std::size_t kMost = 500;
  if (text.size() <= kMost) return std::string(text);
  std::size_t end = kMost;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

}  // namespace

std::string_view to_text(Change change) {
  for (const auto& [known, name] : kNames)
    if (known == change) return name;
  return "";
}

std::optional<Event> undoing(Change change, State was) {
  switch (change) {
    case Change::hold:
      return Event::release;
    case Change::release:
      return Event::hold;
    case Change::remove:
      return was == State::held ? Event::restore_held : Event::restore;
    case Change::retry:
      break;
  }
  return std::nullopt;
}

Result<> RecordOperation::apply(Database& db) {
  const std::string meant = line_of(record_.meant), reason = line_of(record_.reason);
  Run row(db, kRecord);
  row << millis(record_.time) << record_.what << record_.who << meant << reason << record_.messages
      << record_.recipients;
  Result<> done = row.done();
  if (done) record_.number = static_cast<std::uint64_t>(db.last_rowid());
  return done;
}

Result<> UndoableOperation::apply(Database& db) {
  const std::string name = "change " + std::to_string(number_);
  Run row(db, kFindRecord);
  row << number_;
  Result<bool> found = row.step();
  if (!found) return fail(found.error());
  if (!*found) return fail(Errc::not_found, "there is no " + name);
  const std::string what(row.text(0));
  const auto* known =
      std::find_if(kNames.begin(), kNames.end(), [&what](const auto& each) { return each.second == what; });
  if (known == kNames.end() || !undoing(known->first, State::deferred))
    return fail(Errc::invalid, name + " cannot be undone: it was \"" + what + "\"");
  if (wall_time(row.integer(1)) + kUndoTime <= now_)
    return fail(Errc::invalid, name + " is more than a day old, and cannot be undone any more");
  change = known->first;
  return {};
}

ChangeOperation::ChangeOperation(StoreCore& core, const ChangePlan& plan, Id after)
    : Operation(plan.dry_run ? Kind::read : Kind::bulk, 64 * 1024), core_(core), plan_(plan), after_(after) {}

Result<> ChangeOperation::apply(Database& db) {
  changed = {};
  left_.clear();
  history_.clear();
  destinations_.clear();
  slice.upto = after_;
  do {
    Result<> done = change_slice(db);
    if (!done) return done;
  } while (!slice.last && !turn_is_over());
  return plan_.dry_run || changed.recipients == 0 ? Result<>() : add_to_record(db);
}

Result<> ChangeOperation::change_slice(Database& db) {
  Result<Slice> next = next_slice(db, plan_.filter, slice.upto);
  if (!next) return fail(next.error());
  slice = *next;
  Result<std::vector<Match>> matches = match_slice(db, plan_.conditions, slice);
  if (!matches) return fail(matches.error());

  for (std::size_t i = 0; i < matches->size();) {
    Id message = (*matches)[i].message;
    std::uint64_t moved = 0;
    for (; i < matches->size() && (*matches)[i].message == message; ++i) {
      const Match& match = (*matches)[i];
      const std::optional<Event> event = event_for(match);
      std::optional<State> to = event ? next_state(match.state, *event) : std::nullopt;
      if (plan_.for_good && match.is_kept) to = State::removed;
      if (!to) continue;
      moved += 1;
      if (plan_.dry_run) continue;
      Result<> done = move(db, match, *event, *to);
      if (!done) return done;
    }
    changed.recipients += moved;
    changed.messages += moved > 0 ? 1 : 0;
    if (plan_.dry_run || moved == 0 || plan_.change != Change::remove) continue;
    Result<> done = message_done(db, message);
    if (!done) return done;
  }
  return {};
}

std::optional<Event> ChangeOperation::event_for(const Match& match) const {
  return plan_.undo ? undoing(plan_.change, match.was) : event_of(plan_.change);
}

Result<> ChangeOperation::move(Database& db, const Match& match, Event event, State to) {
  if (event == Event::retry) {
    Run row(db, kMakeDue);
    row << number(match.message) << match.index << millis(plan_.now);
    Result<> written = row.done();
    return written ? clear_back_off(db, match.destination) : written;
  }
  // What is not kept belongs to no change.
  const std::uint64_t change = plan_.for_good ? 0 : plan_.number;
  Run row(db, kChange);
  row << number(match.message) << match.index << static_cast<int>(to) << change << static_cast<int>(match.state);
  Result<> written = row.done();
  const bool now = event == Event::release && !plan_.undo;
  if (written && to == State::deferred && (now || !match.in_due)) {
    Run due(db, kMakeDue);
    due << number(match.message) << match.index << (now ? millis(plan_.now) : match.next_attempt);
    written = due.done();
  }
  const bool apart = to == State::held || (to == State::removed && change > 0);
  // Marked up to now at once, so that a whole walk marks a destination once.
  const bool is_marked = match.message <= plan_.newest && destinations_.contains(match.destination);
  if (written && apart && !is_marked) {
    written = set_aside(db, match.destination, match.message, std::max(match.message, plan_.newest));
    destinations_.insert(match.destination);
  }
  // Of one that was removed before, and is so for good now, the history knows.
  if (!written || to == match.state) return written;
  HistoryEvent told;
  told.message = match.message;
  told.time = plan_.now;
  told.kind = *kind_of(event);
  told.recipient = match.address;
  told.text = plan_.reason;
  history_.push_back(std::move(told));
  return {};
}

/// The count of its failures stays: if it fails again the waits go on growing.
Result<> ChangeOperation::clear_back_off(Database& db, std::int64_t destination) {
  if (!destinations_.insert(destination).second) return {};
  Run row(db, kClearBackOff);
  row << destination << millis(plan_.now);
  return row.done();
}

/// Recipients of it were removed, or are there again.
Result<> ChangeOperation::message_done(Database& db, Id message) {
  if (plan_.undo) {
    Run row(db, kLookSoon);
    row << number(message) << millis(plan_.now + kLookAgainAfter) << kNeverLookedAt;
    return row.done();
  }
  Left left{message, false};
  if (plan_.for_good) {
    Result<bool> gone = remove_if_ended(db, message, left.in_file);
    if (!gone) return fail(gone.error());
    if (*gone) left_.push_back(left);
    return {};
  }
  Run waits(db, kWaits);
  waits << number(message);
  Result<bool> found = waits.step();
  if (!found) return fail(found.error());
  if (!*found) left_.push_back(left);
  return {};
}

Result<> ChangeOperation::add_to_record(Database& db) {
  const bool kept = plan_.change == Change::remove && !plan_.for_good && !plan_.undo;
  Run row(db, kAddToRecord);
  row << plan_.number << changed.messages << changed.recipients << kept;
  return row.done();
}

void ChangeOperation::committed() {
  Aftermath& after = core_.aftermath();
  for (HistoryEvent& event : history_) after.history.push_back(std::move(event));
  for (const Left& left : left_) {
    announce_end(core_, left.message, left.in_file);
    log::left_queue(left.message.text());
  }
}

ChangedOperation::ChangedOperation(StoreCore& core, std::uint64_t number, std::uint64_t undone, bool any)
    : Operation(Kind::write, 256), core_(core), number_(number), undone_(undone), any_(any) {}

Result<> ChangedOperation::apply(Database& db) {
  if (!any_) {
    Run row(db, kDropEmpty);
    row << number_;
    return row.done();
  }
  if (undone_ == 0) return {};
  Run row(db, kMarkUndone);
  row << undone_ << number_;
  return row.done();
}

void ChangedOperation::committed() {
  if (any_) core_.aftermath().changed = true;
}

Result<> ChangesOperation::apply(Database& db) {
  changes.clear();
  Run row(db, kRecords);
  row << static_cast<std::int64_t>(std::min<std::uint64_t>(before_, INT64_MAX)) << static_cast<std::int64_t>(limit_);
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) {
    ChangeRecord change;
    change.number = static_cast<std::uint64_t>(row.integer(0));
    change.time = wall_time(row.integer(1));
    change.what = row.text(2);
    change.who = row.text(3);
    change.meant = row.text(4);
    change.reason = row.text(5);
    change.messages = static_cast<std::uint64_t>(row.integer(6));
    change.recipients = static_cast<std::uint64_t>(row.integer(7));
    change.undone_by = static_cast<std::uint64_t>(row.integer(8));
    changes.push_back(std::move(change));
  }
  return found ? Result<>() : fail(found.error());
}

Result<> ForgettableOperation::apply(Database& db) {
  any = false;
  {
    Run old(db, kForgetRecords);
    old << static_cast<std::int64_t>(ChangeRecord::kMost);
    Result<> done = old.done();
    if (!done) return done;
  }
  {
    Run times(db, kMendTimes);
    times << millis(now_);
    Result<> done = times.done();
    if (!done) return done;
  }
  Run row(db, kForgettable);
  row << millis(now_ - kUndoTime);
  Result<bool> found = row.step();
  if (!found) return fail(found.error());
  any = *found;
  return {};
}

ForgetOperation::ForgetOperation(StoreCore& core, Place after, WallTime now)
    : Operation(Kind::bulk, 64 * 1024), core_(core), after_(after), now_(now) {}

Result<> ForgetOperation::apply(Database& db) {
  files_.clear();
  place = after_;
  std::vector<std::pair<Id, std::int64_t>> over;
  std::size_t read = 0;
  {
    Run row(db, kKept);
    row << number(after_.message) << after_.index << millis(now_ - kUndoTime) << static_cast<std::int64_t>(kSlice);
    Result<bool> found = row.step();
    for (; found && *found; found = row.step()) {
      ++read;
      place = {id_of(row.integer(0)), row.integer(1)};
      // Without its record nobody can undo it.
      if (row.is_null(2) || row.integer(2) != 0) over.emplace_back(place.message, place.index);
    }
    if (!found) return fail(found.error());
  }
  last = read < kSlice;
  for (const auto& [message, index] : over) {
    Run row(db, kNotKept);
    row << number(message) << index;
    Result<> done = row.done();
    if (!done) return done;
    bool in_file = false;
    Result<bool> gone = remove_if_ended(db, message, in_file);
    if (!gone) return fail(gone.error());
    if (*gone && in_file) files_.push_back(message);
  }
  if (!last) return {};
  Run row(db, kForgotten);
  row << millis(now_ - kUndoTime);
  return row.done();
}

void ForgetOperation::committed() {
  for (const Id message : files_) announce_end(core_, message, true);
}

}  // namespace waypost::queue
