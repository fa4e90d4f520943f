// queue/destination_operations.cpp
#include "queue/destination_operations.h"

#include <algorithm>
#include <utility>

#include "queue/forwarding.h"
#include "queue/rows.h"

namespace waypost::queue {
namespace {

constexpr Sql kSettle{
    "INSERT INTO destination(name, kind, failures, next_attempt, failing_since, status, reason, host, spacing, "
    "slow_until, slow_reason, asked) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) "
    "ON CONFLICT(name) DO UPDATE SET kind = excluded.kind, failures = excluded.failures, "
    "next_attempt = excluded.next_attempt, failing_since = excluded.failing_since, status = excluded.status, "
    "reason = excluded.reason, host = excluded.host, spacing = excluded.spacing, slow_until = excluded.slow_until, "
    "slow_reason = excluded.slow_reason, asked = excluded.asked"};
constexpr Sql kJoin{
    "INSERT INTO destination(name, site, site_until) "
    "VALUES (?1, coalesce((SELECT id FROM destination WHERE name = ?2), 0), ?3) "
    "ON CONFLICT(name) DO UPDATE SET site = excluded.site, site_until = excluded.site_until"};
constexpr Sql kSlice{"SELECT d.id, " WAYPOST_BOTH_COLUMNS
                     " FROM destination d LEFT JOIN destination s ON s.id = d.site WHERE d.id > ?1 "
                     "ORDER BY d.id LIMIT ?2"};
constexpr Sql kOne{"SELECT d.id, " WAYPOST_BOTH_COLUMNS
                   ", s.id FROM destination d LEFT JOIN destination s ON s.id = d.site WHERE d.name = ?1"};
// By the index alone, of a destination of which nothing was ever set aside. Of the others what is held may be in the
// index, too, and the rows tell.
#define WAYPOST_IN_DUE(which)                                                                                \
  " FROM destination d CROSS JOIN recipient r INDEXED BY recipient_due ON r.in_due = 1 AND r.destination = " \
  "d.id WHERE d." which " = ?1 AND d.aside_to "
#define WAYPOST_WAITING(which) "SELECT count(*) FROM (SELECT 1" WAYPOST_IN_DUE(which) "= 0 LIMIT ?2)"
#define WAYPOST_WAITING_BY_ROWS(which) \
  "SELECT total(state = 0), count(*) FROM (SELECT r.state AS state" WAYPOST_IN_DUE(which) "<> 0 LIMIT ?2)"
constexpr Sql kWaiting{WAYPOST_WAITING("id")}, kWaitingByRows{WAYPOST_WAITING_BY_ROWS("id")};
constexpr Sql kWaitingForSite{WAYPOST_WAITING("site")}, kWaitingForSiteByRows{WAYPOST_WAITING_BY_ROWS("site")};
constexpr Sql kHold{
    "INSERT INTO destination(name, held_until, held_reason) VALUES (?1, ?2, ?3) "
    "ON CONFLICT(name) DO UPDATE SET held_until = excluded.held_until, held_reason = excluded.held_reason"};
constexpr Sql kLimit{
    "INSERT INTO destination(name, slow_until, slow_reason, spacing) VALUES (?1, ?2, ?3, ?4) ON CONFLICT(name) "
    "DO UPDATE SET slow_until = excluded.slow_until, slow_reason = excluded.slow_reason, spacing = excluded.spacing"};
// When a hold ended stays known: nothing expires before it was tried (OverdueOperation).
constexpr Sql kResume{
    "UPDATE destination SET held_until = min(held_until, ?2), held_reason = '', spacing = 0, slow_until = 0, "
    "slow_reason = '' WHERE name = ?1"};
constexpr Sql kRetry{
    "UPDATE destination SET next_attempt = min(next_attempt, ?2) "
    "WHERE name = ?1 OR id = (SELECT site FROM destination WHERE name = ?1)"};
constexpr Sql kSiteOf{"SELECT s.name FROM destination d JOIN destination s ON s.id = d.site WHERE d.name = ?1"};

constexpr Sql kLastInSlice{"SELECT max(id) FROM (SELECT id FROM message WHERE id > ?1 ORDER BY id LIMIT ?2)"};
constexpr Sql kWaitingSlice{
    "SELECT m.id, m.reverse_path, m.user, r.idx, d.name FROM message m CROSS JOIN recipient r ON r.message = m.id "
    "CROSS JOIN destination d ON d.id = r.destination WHERE m.id > ?1 AND m.id <= ?2 AND r.state = 0 "
    "ORDER BY m.id, r.destination"};
constexpr Sql kRecipientParts{
    "SELECT r.address, r.notify, r.orcpt, r.destination, d.name, r.sum, d.held_until FROM recipient r JOIN destination "
    "d "
    "ON d.id = r.destination WHERE r.message = ?1 AND r.idx = ?2 AND r.state = 0"};
constexpr Sql kRedirect{"UPDATE recipient SET destination = ?3, sum = ?4 WHERE message = ?1 AND idx = ?2"};

constexpr Sql kRoutes{"SELECT value FROM meta WHERE key = 'routes'"};
constexpr Sql kSetRoutes{"INSERT OR REPLACE INTO meta(key, value) VALUES ('routes', ?1)"};
constexpr Sql kWaitNoMore{
    "UPDATE destination SET site = 0, site_until = 0, next_attempt = min(next_attempt, ?1) "
    "WHERE site <> 0 OR next_attempt > ?1"};

constexpr std::int64_t kDestinationsInOneTurn = 2000;
constexpr std::int64_t kMessagesInOneTurn = 500;
constexpr std::size_t kRecipientsInOneTurn = 2000;
constexpr std::uint64_t kCountedInOneTurn = 100'000;  // recipients in the index: some milliseconds
constexpr std::uint64_t kRowsLookedAt = 5'000, kCostOfRow = 20;

struct Waiting {
  std::uint64_t recipients = 0;
  bool more = false;
  std::uint64_t cost = 0;  ///< as kCountedInOneTurn
};
Result<Waiting> waiting(Database& db, bool of_site, std::int64_t id) {
  Waiting out;
  {
    Run row(db, of_site ? kWaitingForSite : kWaiting);
    row << id << static_cast<std::int64_t>(DestinationRow::kCounted);
    Result<bool> found = row.step();
    if (!found) return fail(found.error());
    out.recipients = out.cost = static_cast<std::uint64_t>(row.integer(0));
    out.more = out.recipients == DestinationRow::kCounted;
  }
  Run row(db, of_site ? kWaitingForSiteByRows : kWaitingByRows);
  row << id << static_cast<std::int64_t>(kRowsLookedAt);
  Result<bool> found = row.step();
  if (!found) return fail(found.error());
  const auto looked_at = static_cast<std::uint64_t>(row.integer(1));
  out.recipients += static_cast<std::uint64_t>(row.integer(0));
  out.more = out.more || looked_at == kRowsLookedAt;
  out.cost += looked_at * kCostOfRow;
  return out;
}

std::size_t recipients_of(const std::vector<Due>& due) {
  std::size_t recipients = 0;
  for (const Due& each : due) recipients += each.recipients.size();
  return recipients;
}

bool is_in_trouble(const DestinationState& state, WallTime now) {
  return state.failures > 0 || state.held_until > now || state.spacing > net::Duration(0);
}

}  // namespace

SettleDestinationOperation::SettleDestinationOperation(DestinationState state)
    : Operation(Kind::write, 512), state_(std::move(state)) {}

Result<> SettleDestinationOperation::apply(Database& db) {
  Run row(db, kSettle);
  row << state_.name << static_cast<int>(state_.kind) << state_.failures << millis(state_.next_attempt)
      << millis(state_.failing_since) << state_.status << state_.reason << state_.host << state_.spacing.count()
      << millis(state_.slow_until) << state_.slow_reason << state_.asked;
  return row.done();
}

JoinSiteOperation::JoinSiteOperation(std::string name, std::string site, WallTime until)
    : Operation(Kind::write, 256), name_(std::move(name)), site_(std::move(site)), until_(until) {}

Result<> JoinSiteOperation::apply(Database& db) {
  Run row(db, kJoin);
  row << name_ << site_ << millis(until_);
  return row.done();
}

DestinationsOperation::DestinationsOperation(std::int64_t after, bool count, WallTime now)
    : Operation(Kind::read), after_(after), count_(count), now_(now) {}

Result<> DestinationsOperation::apply(Database& db) {
  rows.clear();
  upto = after_;
  counted_ = 0;
  Run row(db, kSlice);
  row << after_ << kDestinationsInOneTurn;
  Result<bool> found = row.step();
  std::int64_t visited = 0;
  for (; found && *found && counted_ < kCountedInOneTurn; found = row.step()) {
    upto = row.integer(0);
    ++visited;
    Result<> taken = take(db, row);
    if (!taken) return taken;
  }
  if (!found) return fail(found.error());
  last = !*found && visited < kDestinationsInOneTurn;
  return {};
}

Result<> DestinationsOperation::take(Database& db, const Run& row) {
  DestinationState state = read_destination(row, 1);
  DestinationState site = read_destination(row, 1 + kDestinationColumns);
  state.site = site.name;
  const bool alone = is_in_trouble(state, now_);
  const bool with_site = is_in_trouble(site, now_);
  if (!alone && !with_site) return {};
  Result<Waiting> count = count_ ? waiting(db, false, row.integer(0)) : Result<Waiting>();
  if (!count) return fail(count.error());
  counted_ += count->cost;
  if (alone) rows.push_back({std::move(state), count->recipients, count->more});
  if (with_site) rows.push_back({std::move(site), count->recipients, count->more});
  return {};
}

void gather(std::map<std::string, DestinationRow>& into, std::vector<DestinationRow> rows) {
  for (DestinationRow& row : rows) {
    DestinationRow& known = into[row.state.name];
    row.waiting += known.waiting;
    row.more = row.more || known.more;
    known = std::move(row);
  }
}

std::vector<DestinationRow> by_name(std::map<std::string, DestinationRow> gathered) {
  std::vector<DestinationRow> rows;
  for (auto& [name, row] : gathered) rows.push_back(std::move(row));
  return rows;
}

DestinationOperation::DestinationOperation(std::string name) : Operation(Kind::read), name_(std::move(name)) {}

Result<> DestinationOperation::apply(Database& db) {
  rows.clear();
  Run row(db, kOne);
  row << name_;
  Result<bool> found = row.step();
  if (!found) return fail(found.error());
  if (!*found) return {};
  DestinationState state = read_destination(row, 1);
  DestinationState site = read_destination(row, 1 + kDestinationColumns);
  state.site = site.name;
  const bool is_site = state.kind == DestinationState::Kind::site;
  Result<Waiting> count = waiting(db, is_site, row.integer(0));
  if (!count) return fail(count.error());
  rows.push_back({std::move(state), count->recipients, count->more});
  if (site.name.empty()) return {};
  count = waiting(db, true, row.integer(1 + 2 * kDestinationColumns));
  if (!count) return fail(count.error());
  rows.push_back({std::move(site), count->recipients, count->more});
  return {};
}

ChangeDestinationOperation::ChangeDestinationOperation(StoreCore& core, DestinationChange change)
    : Operation(Kind::write, 512), core_(core), change_(std::move(change)) {}

Result<> ChangeDestinationOperation::apply(Database& db) {
  std::string name = change_.name;
  if (change_.with_site) {
    Run site(db, kSiteOf);
    site << change_.name;
    Result<bool> found = site.step();
    if (!found) return fail(found.error());
    if (!*found) return fail(Errc::not_found, change_.name + " waits with no site");
    name = site.text(0);
  }
  using Order = DestinationChange::Kind;
  const bool hold = change_.kind == Order::hold;
  const bool limit = change_.kind == Order::limit;
  Run row(db, hold ? kHold : limit ? kLimit : change_.kind == Order::retry ? kRetry : kResume);
  row << name;
  if (hold || limit) row << millis(change_.until) << change_.reason;
  if (limit) row << change_.spacing.count();
  if (!hold && !limit) row << millis(change_.now);
  Result<> done = row.done();
  if (!done || hold || limit || db.changed_rows() > 0) return done;
  return fail(Errc::not_found, "nothing is known of a destination " + change_.name);
}

void ChangeDestinationOperation::committed() {
  core_.aftermath().changed = true;
}

Result<> WaitingOperation::apply(Database& db) {
  page = {};
  {
    Run last(db, kLastInSlice);
    last << number(after_) << kMessagesInOneTurn;
    Result<bool> found = last.step();
    if (!found) return fail(found.error());
    if (!last.is_null(0)) page.resume = id_of(last.integer(0));
  }
  if (!page.resume) return {};
  Run row(db, kWaitingSlice);
  row << number(after_) << number(*page.resume);
  Result<bool> found = row.step();
  std::size_t recipients = 0;
  for (; found && *found; found = row.step(), ++recipients) {
    const Id id = id_of(row.integer(0));
    if (recipients >= kRecipientsInOneTurn && id != page.due.back().message->id) {
      page.resume = page.due.back().message->id;
      return {};
    }
    std::string destination(row.text(4));
    if (page.due.empty() || page.due.back().message->id != id || page.due.back().destination != destination) {
      Result<smtp::Path> reverse_path = stored_path(row.text(1));
      if (!reverse_path) continue;  // damaged: that is found out when it is read as a whole
      auto info = std::make_shared<MessageInfo>();
      info->id = id;
      info->reverse_path = *std::move(reverse_path);
      info->user = row.text(2);
      Due due;
      due.message = std::move(info);
      due.destination = std::move(destination);
      page.due.push_back(std::move(due));
    }
    DueRecipient recipient;
    recipient.index = static_cast<std::uint32_t>(row.integer(3));
    page.due.back().recipients.push_back(std::move(recipient));
  }
  return found ? Result<>() : fail(found.error());
}

RedirectOperation::RedirectOperation(StoreCore& core, std::vector<Due> due, WallTime now)
    : Operation(Kind::write, 256 * recipients_of(due)), core_(core), due_(std::move(due)), now_(now) {}

Result<> RedirectOperation::apply(Database& db) {
  for (const Due& due : due_) {
    Result<std::int64_t> destination = core_.destination_id(db, due.destination);
    if (!destination) return fail(destination.error());
    for (const DueRecipient& recipient : due.recipients) {
      Result<> done = redirect(db, due, recipient.index, *destination);
      if (!done) return done;
    }
  }
  return {};
}

Result<> RedirectOperation::redirect(Database& db, const Due& due, std::uint32_t index, std::int64_t destination) {
  std::int64_t sum = 0;
  {
    Run row(db, kRecipientParts);
    row << number(due.message->id) << index;
    Result<bool> found = row.step();
    if (!found) return fail(found.error());
    if (!*found) return {};
    const auto notify = static_cast<std::uint8_t>(row.integer(1));
    // One that is damaged stays as it is, to be found.
    const std::int64_t known =
        sum_of_recipient(due.message->id, index, row.text(0), row.integer(3), row.text(4), notify, row.text(2));
    if (known != row.integer(5) || wall_time(row.integer(6)) > now_) return {};
    // An administrator's word, given since the routes were asked.
    if (is_rerouted(row.text(4))) return {};
    sum = sum_of_recipient(due.message->id, index, row.text(0), destination, due.destination, notify, row.text(2));
  }
  Run row(db, kRedirect);
  row << number(due.message->id) << index << destination << sum;
  return row.done();
}

CompareRoutesOperation::CompareRoutesOperation(std::uint64_t routes, WallTime now)
    : Operation(Kind::write), routes_(static_cast<std::int64_t>(routes)), now_(now) {}

Result<> CompareRoutesOperation::apply(Database& db) {
  differ = false;
  {
    Run row(db, kRoutes);
    Result<bool> found = row.step();
    if (!found) return fail(found.error());
    if (*found && row.integer(0) == routes_) return {};
  }
  Run set(db, kSetRoutes);
  set << routes_;
  Result<> done = set.done();
  if (!done) return done;
  Run go(db, kWaitNoMore);
  go << millis(now_);
  done = go.done();
  if (done) differ = true;
  return done;
}

}  // namespace waypost::queue
