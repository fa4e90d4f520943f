// queue/admin_operations.cpp
#include "queue/admin_operations.h"

#include <utility>

#include "base/event_log.h"
#include "queue/write_operations.h"

namespace waypost::queue {
namespace {

constexpr Sql kClearBackOff{
    "UPDATE destination SET next_attempt = ?2 WHERE id IN (?1, (SELECT site FROM destination WHERE id = ?1)) "
    "AND next_attempt > ?2"};

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

std::optional<HistoryEvent::Kind> kind_of(Change change) {
  switch (change) {
    case Change::hold:
      return HistoryEvent::Kind::held;
    case Change::release:
      return HistoryEvent::Kind::released;
    case Change::remove:
      return HistoryEvent::Kind::removed;
    case Change::retry:
      break;  // the attempt that follows has its own event
  }
  return std::nullopt;
}

}  // namespace

ContentOperation::ContentOperation(Id id) : Operation(Kind::read), id_(id) {}

Result<> ContentOperation::apply(Database& db) {
  Result<std::shared_ptr<const Content>> found = read_content(db, id_);
  if (!found) return fail(found.error());
  content = *std::move(found);
  return {};
}

ListOperation::ListOperation(const Filter& filter, const Conditions& conditions, Id after, std::size_t limit)
    : Operation(Kind::read), filter_(filter), conditions_(conditions), after_(after), limit_(limit) {}

Result<> ListOperation::apply(Database& db) {
  Result<Slice> next = next_slice(db, filter_, after_);
  if (!next) return fail(next.error());
  slice = *next;
  Result<std::vector<MessageRow>> found = list_slice(db, conditions_, slice, limit_);
  if (!found) return fail(found.error());
  messages = *std::move(found);
  return {};
}

CountOperation::CountOperation(const Filter& filter, const Conditions& conditions, Id after, WallTime now)
    : Operation(Kind::read), filter_(filter), conditions_(conditions), after_(after), now_(now) {}

Result<> CountOperation::apply(Database& db) {
  Result<Slice> next = next_slice(db, filter_, after_);
  if (!next) return fail(next.error());
  slice = *next;
  Result<Counts> found = count_slice(db, conditions_, slice, now_);
  if (!found) return fail(found.error());
  counts = *found;
  return {};
}

ChangeOperation::ChangeOperation(StoreCore& core, const ChangePlan& plan, Id after, bool dry_run)
    : Operation(dry_run ? Kind::read : Kind::write, 64 * 1024),
      core_(core),
      plan_(plan),
      after_(after),
      dry_run_(dry_run) {}

Result<> ChangeOperation::apply(Database& db) {
  changed = {};
  left_.clear();
  history_.clear();
  cleared_.clear();
  Result<Slice> next = next_slice(db, plan_.filter, after_);
  if (!next) return fail(next.error());
  slice = *next;
  Result<std::vector<Match>> matches = match_slice(db, plan_.conditions, slice);
  if (!matches) return fail(matches.error());

  for (std::size_t i = 0; i < matches->size();) {
    Id message = (*matches)[i].message;
    std::uint64_t moved = 0;
    for (; i < matches->size() && (*matches)[i].message == message; ++i) {
      const Match& match = (*matches)[i];
      std::optional<State> to = next_state(match.state, event_of(plan_.change));
      if (!to) continue;
      moved += 1;
      if (dry_run_) continue;
      Result<> done = move(db, match, *to);
      if (!done) return done;
    }
    changed.recipients += moved;
    changed.messages += moved > 0 ? 1 : 0;
    if (dry_run_ || moved == 0 || plan_.change != Change::remove) continue;
    Left left{message, false};
    Result<bool> gone = remove_if_ended(db, message, left.in_file);
    if (!gone) return fail(gone.error());
    if (*gone) left_.push_back(left);
  }
  return {};
}

Result<> ChangeOperation::move(Database& db, const Match& match, State to) {
  RecipientMove row;
  row.message = match.message;
  row.index = match.index;
  row.state = to;
  row.attempts = match.attempts;
  bool now = plan_.change == Change::release || plan_.change == Change::retry;
  row.next_attempt = now ? plan_.now : wall_time(match.next_attempt);
  row.status = match.status;
  row.reply = match.reply;
  row.host = match.host;
  Result<> written = write_move(db, row);
  if (!written) return written;
  if (plan_.change == Change::retry) {
    Result<> cleared = clear_back_off(db, match.destination);
    if (!cleared) return cleared;
  }
  std::optional<HistoryEvent::Kind> kind = kind_of(plan_.change);
  if (!kind) return {};
  HistoryEvent event;
  event.message = match.message;
  event.time = plan_.now;
  event.kind = *kind;
  event.recipient = match.address;
  event.text = plan_.reason;
  history_.push_back(std::move(event));
  return {};
}

/// The count of its failures stays: if it fails again the waits go on growing.
Result<> ChangeOperation::clear_back_off(Database& db, std::int64_t destination) {
  if (!cleared_.insert(destination).second) return {};
  Run row(db, kClearBackOff);
  row << destination << millis(plan_.now);
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

ChangedOperation::ChangedOperation(StoreCore& core) : Operation(Kind::read), core_(core) {}

Result<> ChangedOperation::apply(Database&) {
  return {};
}

void ChangedOperation::committed() {
  core_.aftermath().changed = true;
}

}  // namespace waypost::queue
