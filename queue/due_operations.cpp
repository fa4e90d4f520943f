// queue/due_operations.cpp
#include "queue/due_operations.h"

#include <algorithm>
#include <utility>

#include "base/event_log.h"
#include "queue/set_aside.h"

namespace waypost::queue {
namespace {

// A loose scan of the partial index: from each destination to the first row of the next one. In it are recipients that
// were set aside since, too (queue/schema.cpp).
constexpr Sql kNextDestination{
    "SELECT destination FROM recipient INDEXED BY recipient_due "
    "WHERE in_due = 1 AND destination > ?1 ORDER BY destination LIMIT 1"};
// And from each of its flows to the first row of the next one.
constexpr Sql kNextFlow{
    "SELECT flow, next_attempt FROM recipient INDEXED BY recipient_due "
    "WHERE in_due = 1 AND destination = ?1 AND flow > ?2 ORDER BY flow, next_attempt LIMIT 1"};
constexpr Sql kDestination{"SELECT " WAYPOST_BOTH_COLUMNS
                           " FROM destination d LEFT JOIN destination s ON s.id = d.site WHERE d.id = ?1"};
constexpr Sql kDueRecipients{"SELECT " WAYPOST_RECIPIENT_COLUMNS
                             ", r.state FROM recipient r INDEXED BY recipient_due "
                             "WHERE r.in_due = 1 AND r.destination = ?1 AND r.flow = ?2 AND r.next_attempt <= ?3 "
                             "ORDER BY r.next_attempt, r.message, r.idx LIMIT -1 OFFSET ?4"};
constexpr Sql kNextRecipient{
    "SELECT next_attempt FROM recipient INDEXED BY recipient_due "
    "WHERE in_due = 1 AND destination = ?1 AND flow = ?2 AND next_attempt > ?3 ORDER BY next_attempt LIMIT 1"};
constexpr Sql kMessage{"SELECT " WAYPOST_MESSAGE_COLUMNS " FROM message m WHERE m.id = ?1"};

// The index alone: where a row cannot be read its id is known.
constexpr Sql kOverdue{
    "SELECT id, check_at FROM message INDEXED BY message_check WHERE check_at <= ?1 AND (check_at, id) > (?3, ?4) "
    "ORDER BY check_at, id LIMIT ?2"};
// `?2`: the last state that is meant.
constexpr Sql kRecipients{"SELECT " WAYPOST_RECIPIENT_COLUMNS ", " WAYPOST_BOTH_COLUMNS
                          ", r.asked FROM recipient r " WAYPOST_DESTINATION_OF_RECIPIENT
                          " WHERE r.message = ?1 AND r.state BETWEEN 0 AND ?2 ORDER BY r.idx"};
// One of which all was removed is not looked at again unless that is undone.
constexpr Sql kLookAgain{
    "UPDATE message SET check_at = iif(EXISTS(SELECT 1 FROM recipient WHERE message = ?1 AND state IN (0, 1)), ?2, ?3) "
    "WHERE id = ?1"};
constexpr Sql kTakeOut{"UPDATE recipient SET in_due = 0 WHERE message = ?1 AND idx = ?2 AND in_due = 1 AND state <> 0"};
constexpr Sql kHoldDamaged{
    "UPDATE recipient SET state = 1, in_due = 0, status = '4.3.0', reply = 'damaged in queue.db, held' "
    "WHERE message = ?1 AND state = 0"};
constexpr Sql kDestinationsOf{"SELECT DISTINCT destination FROM recipient WHERE message = ?1"};

// In one turn: some milliseconds at most, since acceptance waits meanwhile.
constexpr std::size_t kRecipientsInOneTurn = 500;  // and what the last destination has beyond
constexpr std::size_t kSetAsideInOneTurn = 1000;
constexpr std::size_t kTakenOutAtLeast = 100;
constexpr std::size_t kDestinationsInOneTurn = 2000;
constexpr std::size_t kFlowsInOneTurn = 5000;  // of one destination
constexpr std::chrono::seconds kLookAtMoreFlows{1};

}  // namespace

DueOperation::DueOperation(DueQuery query, SetAside of_them)
    : Operation(Kind::read), query_(std::move(query)), of_them_(of_them) {}

Result<> DueOperation::apply(Database& db) {
  page = {};
  damaged.clear();
  set_aside.clear();
  messages_.clear();
  asked_ = query_.resume ? query_.resume->asked : std::unordered_set<std::string>();
  auto last = static_cast<std::int64_t>(query_.resume ? query_.resume->destination : 0);
  std::size_t recipients = 0;
  const std::size_t most = std::min(query_.limit, kRecipientsInOneTurn);
  for (std::size_t visited = 0; visited < kDestinationsInOneTurn && recipients < most; ++visited) {
    Result<std::optional<Destination>> next = next_destination(db, last);
    if (!next) return fail(next.error());
    if (!*next) return {};
    const Destination& destination = **next;
    last = destination.id;
    Result<std::size_t> found = visit(db, destination);
    // A page that cannot be read is the trouble of its destination, not of the others.
    if (!found && found.error().code == Errc::damaged) {
      log::failure("mail for " + destination.state.name + " cannot be read: " + found.error().what);
      set_aside.clear();
      continue;
    }
    if (!found) return fail(found.error());
    recipients += *found;
    of_them_ = SetAside::find;
    if (set_aside.empty()) continue;
    // First of all in the next page: what is read before they are taken out may have ended by then.
    const bool is_first = page.due.empty() && page.destinations.empty() && damaged.empty();
    if (!is_first) set_aside.clear();
    last = destination.id - 1;
    break;
  }
  page.resume = DueResume{static_cast<std::uint64_t>(last), std::move(asked_)};
  return {};
}

Result<std::optional<DueOperation::Destination>> DueOperation::next_destination(Database& db, std::int64_t after) {
  Destination out;
  {
    Run seek(db, kNextDestination);
    seek << after;
    Result<bool> found = seek.step();
    if (!found) return fail(found.error());
    if (!*found) return std::optional<Destination>();
    out.id = seek.integer(0);
    // Values that are no numbers stand behind all that are; a scan that does not get on would never end.
    if (out.id <= after) {
      log::failure("queue.db has a recipient whose destination is no number: it is left out");
      return std::optional<Destination>();
    }
  }
  Run row(db, kDestination);
  row << out.id;
  Result<bool> found = row.step();
  if (!found) return fail(found.error());
  // Without its row the recipients' sums will not hold, and they are reported as damaged.
  if (*found) out.state = read_destination(row, 0);
  if (*found) out.site = read_destination(row, kDestinationColumns);
  out.state.site = out.site.name;
  return std::optional(std::move(out));
}

/// How many recipients were read.
Result<std::size_t> DueOperation::visit(Database& db, const Destination& destination) {
  const DestinationState& state = destination.state;
  // Its hosts may be others by now.
  const bool joined = state.site_until > query_.now;
  const DestinationState none;
  const DestinationState& site = joined ? destination.site : none;
  const bool waits = state.waits(query_.now) || site.waits(query_.now);
  if (waits) {
    WallTime until = query_.now;
    if (state.waits(query_.now)) until = state.waits_until();
    if (site.waits(query_.now)) until = std::max(until, std::min(site.waits_until(), state.site_until));
    later(millis(until));
    add_states(destination);
    return 0;
  }
  // One of its destinations asks whether a site is back.
  const bool asks = site.failures > 0;
  if (asks && asked_.contains(site.name)) return 0;
  Result<std::vector<DueFlow>> flows = due_flows(db, destination.id);
  if (!flows) return fail(flows.error());
  if (flows->empty()) return 0;
  // Alike at first; what some do not need is for those that have more.
  const std::size_t first = page.due.size();
  places_.clear();
  std::size_t total = 0;
  for (int round = 0; round < 2; ++round) {
    auto left = static_cast<std::size_t>(
        std::count_if(flows->begin(), flows->end(), [](const DueFlow& each) { return each.more; }));
    for (DueFlow& flow : *flows) {
      if (!flow.more || total >= query_.per_destination || set_aside.size() >= kSetAsideInOneTurn) continue;
      const std::size_t alike = std::max<std::size_t>((query_.per_destination - total) / left--, 1);
      Result<std::size_t> deferred = read(db, destination, flow, alike);
      if (!deferred) return fail(deferred.error());
      total += *deferred;
    }
  }
  // Once they are out it is visited again.
  if (!set_aside.empty()) {
    page.due.resize(first);
    return 0;
  }
  if (asks && total > 0) asked_.insert(site.name);
  if (page.due.size() > first) add_states(destination);
  if (flows->size() >= query_.per_destination) page.more.push_back({state.name, std::nullopt});
  for (const DueFlow& flow : *flows) {
    if (flow.more) page.more.push_back({state.name, flow.flow});
    if (flow.more) continue;
    Result<> noted = note_later(db, destination.id, flow.flow);
    if (!noted) return fail(noted.error());
  }
  return total;
}

/// From a place that chance tells, once around, until there are as many as recipients are wanted. When those are due
/// that have nothing yet is noted.
Result<std::vector<DueOperation::DueFlow>> DueOperation::due_flows(Database& db, std::int64_t destination) {
  std::vector<DueFlow> flows;
  const auto from = static_cast<std::int64_t>(query_.chance % (std::uint64_t{1} << 32)) - 1;
  std::int64_t at = from;
  bool around = false;
  for (std::size_t visited = 0; flows.size() < query_.per_destination; ++visited) {
    if (visited == kFlowsInOneTurn) {
      later(millis(query_.now + kLookAtMoreFlows));
      return flows;
    }
    Run seek(db, kNextFlow);
    seek << destination << at;
    Result<bool> found = seek.step();
    if (!found) return fail(found.error());
    if (*found && seek.integer(0) <= at) return flows;  // no number, as next_destination() has it
    if (*found && around && seek.integer(0) > from) return flows;
    if (!*found && (around || from < 0)) return flows;
    if (!*found) {
      around = true;
      at = -1;
      continue;
    }
    at = seek.integer(0);
    const std::int64_t earliest = seek.integer(1);
    if (earliest > millis(query_.now)) {
      later(earliest);
    } else {
      flows.push_back({Flow{static_cast<std::uint32_t>(at)}});
    }
  }
  return flows;
}

Result<std::size_t> DueOperation::read(Database& db, const Destination& destination, DueFlow& flow, std::size_t limit) {
  Run row(db, kDueRecipients);
  row << destination.id << flow.flow.value << millis(query_.now) << static_cast<std::int64_t>(flow.read);
  std::size_t deferred = 0;
  Result<bool> found = row.step();
  for (; found && *found && deferred < limit; found = row.step()) {
    flow.read += 1;
    Id id = id_of(row.integer(0));
    if (row.integer(kRecipientColumns) != static_cast<int>(State::deferred)) {
      if (of_them_ == SetAside::pass) continue;
      set_aside.emplace_back(id, row.integer(1));
      if (set_aside.size() >= kSetAsideInOneTurn) return deferred;
      continue;
    }
    deferred += 1;
    if (std::find(damaged.begin(), damaged.end(), id) != damaged.end()) continue;
    Result<std::shared_ptr<const MessageInfo>> info = message(db, id);
    if (!info && info.error().code != Errc::damaged) return fail(info.error());
    Result<DueRecipient> recipient = read_recipient(row, destination.state.name);
    if (!info || !recipient) {
      log::failure(info ? recipient.error().what : info.error().what);
      damaged.push_back(id);
      continue;
    }
    auto [place, is_new] = places_.emplace(id.value, page.due.size());
    if (is_new) {
      Due due;
      due.message = *info;
      due.destination = destination.state.name;
      due.flow = flow.flow;
      page.due.push_back(std::move(due));
    }
    page.due[place->second].recipients.push_back(*std::move(recipient));
  }
  if (!found) return fail(found.error());
  flow.more = deferred == limit;
  return deferred;
}

void DueOperation::add_states(const Destination& destination) {
  if (!destination.site.name.empty()) page.destinations.push_back(destination.site);
  page.destinations.push_back(destination.state);
}

Result<> DueOperation::note_later(Database& db, std::int64_t destination, Flow flow) {
  Run row(db, kNextRecipient);
  row << destination << flow.value << millis(query_.now);
  Result<bool> found = row.step();
  if (!found) return fail(found.error());
  if (*found) later(row.integer(0));
  return {};
}

void DueOperation::later(std::int64_t moment) {
  WallTime at = wall_time(moment);
  if (!page.next_due || at < *page.next_due) page.next_due = at;
}

Result<std::shared_ptr<const MessageInfo>> DueOperation::message(Database& db, Id id) {
  auto known = messages_.find(id.value);
  if (known != messages_.end()) return known->second;
  Run row(db, kMessage);
  row << number(id);
  Result<bool> found = row.step();
  if (!found) return fail(found.error());
  if (!*found) return fail(Errc::damaged, id.text() + " is damaged in queue.db: its message row is missing");
  Result<StoredMessage> message = read_message(row);
  if (!message) return fail(message.error());
  auto info = std::make_shared<const MessageInfo>(std::move(message->info));
  messages_.emplace(id.value, info);
  return info;
}

namespace {

/// Errors: damaged, also where there is none. `unreadable`: its page is.
Result<bool> read_message_of(Database& db, Id id, Overdue& into, bool& unreadable) {
  Run row(db, kMessage);
  row << number(id);
  Result<bool> found = row.step();
  unreadable = !found;
  if (!found) return found;
  if (!*found) return fail(Errc::damaged, id.text() + " is damaged in queue.db: its message row is missing");
  Result<StoredMessage> message = read_message(row);
  if (!message) return fail(message.error());
  into.message = std::make_shared<const MessageInfo>(std::move(message->info));
  return true;
}

/// False if none is deferred. What an administrator keeps back at `held_at`, or did until lately, is left out: it
/// comes to no end before it could be tried.
Result<bool> read_recipients(Database& db, State upto, std::optional<WallTime> held_at, Overdue& into) {
  Run row(db, kRecipients);
  row << number(into.message->id) << static_cast<int>(upto);
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) {
    DestinationState destination = read_with_site(row, kRecipientColumns);
    if (held_at && destination.held_until + DestinationState::kAfterHold > *held_at) continue;
    Result<DueRecipient> recipient = read_recipient(row, destination.name);
    if (!recipient) return fail(recipient.error());
    recipient->last_asked = row.text(kRecipientColumns + 2 * kDestinationColumns);
    into.recipients.push_back(*std::move(recipient));
    into.destinations.push_back(std::move(destination));
  }
  if (!found) return found;
  return !into.recipients.empty();
}

}  // namespace

OverdueOperation::OverdueOperation(WallTime now, std::size_t limit, OverduePlace after)
    : Operation(Kind::read), now_(now), limit_(limit), after_(after) {}

Result<> OverdueOperation::apply(Database& db) {
  overdue.clear();
  damaged.clear();
  later.clear();
  place = after_;
  std::vector<Id> ids;
  {
    Run row(db, kOverdue);
    row << millis(now_) << static_cast<std::int64_t>(limit_) << after_.check_at << number(after_.id);
    Result<bool> found = row.step();
    for (; found && *found; found = row.step()) {
      place = {row.integer(1), id_of(row.integer(0))};
      ids.push_back(place.id);
    }
    if (!found) return fail(found.error());
  }
  last = ids.size() < limit_;
  for (Id id : ids) {
    Overdue entry;
    bool unreadable = false;
    Result<bool> any = read_message_of(db, id, entry, unreadable);
    if (any) any = read_recipients(db, State::deferred, now_, entry);
    if (!any && any.error().code != Errc::damaged) return fail(any.error());
    if (!any) {
      log::failure(any.error().what);
      damaged.push_back(id);
    }
    if (!any || !*any) {
      // One on a page that cannot be read cannot be moved either: it stays where it is, and is looked past.
      if (!unreadable) later.push_back(id);
      continue;
    }
    entry.expired = entry.message->expires <= now_;
    overdue.push_back(std::move(entry));
  }
  return {};
}

Result<> UnsettledOperation::apply(Database& db) {
  found = {};
  {
    Run row(db, kMessage);
    row << number(id_);
    Result<bool> there = row.step();
    if (!there) return fail(there.error());
    if (!*there) return fail(Errc::not_found, id_.text() + " is not in the queue");
  }
  bool unreadable = false;
  Result<bool> any = read_message_of(db, id_, found, unreadable);
  if (any) any = read_recipients(db, State::held, std::nullopt, found);
  return any ? Result<>() : fail(any.error());
}

LookAgainOperation::LookAgainOperation(std::vector<Id> messages, WallTime now)
    : Operation(Kind::write), messages_(std::move(messages)), now_(now) {}

Result<> LookAgainOperation::apply(Database& db) {
  for (Id id : messages_) {
    Run move(db, kLookAgain);
    move << number(id) << millis(now_ + kLookAgainAfter) << kNeverLookedAt;
    Result<> moved = move.done();
    if (!moved) return moved;
  }
  return {};
}

TakeOutOperation::TakeOutOperation(std::vector<std::pair<Id, std::int64_t>> recipients)
    : Operation(Kind::bulk, recipients.size() * 64), recipients_(std::move(recipients)) {}

Result<> TakeOutOperation::apply(Database& db) {
  any = false;
  for (std::size_t i = 0; i < recipients_.size() && (i < kTakenOutAtLeast || !turn_is_over()); ++i) {
    Run row(db, kTakeOut);
    row << number(recipients_[i].first) << recipients_[i].second;
    Result<> done = row.done();
    if (!done) return done;
    any = any || db.changed_rows() > 0;
  }
  return {};
}

HoldDamagedOperation::HoldDamagedOperation(StoreCore& core, std::vector<Id> messages, WallTime now)
    : Operation(Kind::write), core_(core), messages_(std::move(messages)), now_(now) {}

/// A row that cannot be read is not taken away either.
Result<> HoldDamagedOperation::keep_destinations(Database& db, Id id) {
  std::vector<std::int64_t> destinations;
  Run row(db, kDestinationsOf);
  row << number(id);
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) destinations.push_back(row.integer(0));
  Result<> kept = found ? Result<>() : fail(found.error());
  for (std::size_t i = 0; kept && i < destinations.size(); ++i) kept = set_aside(db, destinations[i], id, id);
  return !kept && kept.error().code == Errc::damaged ? Result<>() : kept;
}

Result<> HoldDamagedOperation::apply(Database& db) {
  held_.clear();
  for (Id id : messages_) {
    Run hold(db, kHoldDamaged);
    hold << number(id);
    Result<> held = hold.done();
    if (!held) return held;
    if (db.changed_rows() == 0) continue;
    held_.push_back(id);
    Result<> kept = keep_destinations(db, id);
    if (!kept) return kept;
  }
  return {};
}

void HoldDamagedOperation::committed() {
  for (Id id : held_) {
    HistoryEvent event;
    event.message = id;
    event.time = now_;
    event.kind = HistoryEvent::Kind::held;
    event.text = "damaged in queue.db";
    core_.aftermath().history.push_back(std::move(event));
  }
}

}  // namespace waypost::queue
