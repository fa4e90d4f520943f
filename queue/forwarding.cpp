// queue/forwarding.cpp
#include "queue/forwarding.h"

#include <utility>

#include "base/text.h"
#include "queue/rows.h"
#include "queue/set_aside.h"
#include "smtp/address.h"
#include "smtp/parameters.h"

namespace waypost::queue {
namespace {

constexpr char kParts = '/';  // a domain from its next hop: in the name of no domain

constexpr Sql kRow{
    "SELECT r.address, r.notify, r.orcpt, r.destination, d.name, r.sum, r.state, r.flow, r.delay_told, r.size "
    "FROM recipient r JOIN destination d ON d.id = r.destination WHERE r.message = ?1 AND r.idx = ?2 AND r.state IN "
    "(0, 1)"};
constexpr Sql kMove{
    "UPDATE recipient SET destination = ?3, sum = ?4, next_attempt = iif(state = 0, ?5, next_attempt), "
    "in_due = iif(state = 0, 1, in_due) WHERE message = ?1 AND idx = ?2"};
constexpr Sql kClearBackOff{
    "UPDATE destination SET next_attempt = ?2 WHERE id IN (?1, (SELECT site FROM destination WHERE id = ?1)) "
    "AND next_attempt > ?2"};
constexpr Sql kWaits{
    "SELECT 1 FROM recipient WHERE message = ?1 AND address = ?2 COLLATE NOCASE AND state IN (0, 1) LIMIT 1"};
constexpr Sql kNextIndex{"SELECT max(idx) + 1 FROM recipient WHERE message = ?1"};
constexpr Sql kAdd{
    "INSERT INTO recipient(message, idx, sum, address, destination, state, attempts, next_attempt, notify, orcpt, "
    "status, reply, host, flow, delay_told, size) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9, '', '', '', ?10, ?11, "
    "?12)"};
// For good: no change is there to be undone.
constexpr Sql kRemove{"UPDATE recipient SET state = 6, change = 0, in_due = 0 WHERE message = ?1 AND idx = ?2"};

}  // namespace

struct ForwardOperation::Row {
  std::uint32_t index = 0;
  std::string address, orcpt, destination;
  std::uint8_t notify = 0;
  State state = State::deferred;
  std::int64_t flow = 0;
  bool delay_told = false;
  std::int64_t size = 0;
};

std::string rerouted(std::string_view destination, std::string_view next_hop) {
  std::string out(destination.substr(0, destination.find(kParts)));
  if (!next_hop.empty()) out.append(1, kParts).append(next_hop);
  return out;
}

bool is_rerouted(std::string_view destination) {
  const std::size_t parts = destination.find(kParts);
  return parts != std::string_view::npos && destination.find(':', parts) != std::string_view::npos;
}

ForwardOperation::ForwardOperation(StoreCore& core, const ForwardRequest& request)
    : Operation(Kind::write, 1024 * request.recipients.size()), core_(core), request_(request) {}

Result<> ForwardOperation::apply(Database& db) {
  forwarded = 0;
  history_.clear();
  for (const std::uint32_t index : request_.recipients) {
    Result<std::optional<Row>> row = read(db, index);
    if (!row) return fail(row.error());
    if (!*row) continue;
    const Result<bool> done = request_.to ? redirect(db, **row) : reroute(db, **row);
    if (!done) return fail(done.error());
    forwarded += *done ? 1 : 0;
  }
  return {};
}

/// nullopt: it waits no more, or is damaged, and stays as it is, to be found.
Result<std::optional<ForwardOperation::Row>> ForwardOperation::read(Database& db, std::uint32_t index) const {
  Run run(db, kRow);
  run << number(request_.message) << index;
  Result<bool> found = run.step();
  if (!found) return fail(found.error());
  if (!*found) return std::optional<Row>();
  Row row;
  row.index = index;
  row.address = run.text(0);
  row.notify = static_cast<std::uint8_t>(run.integer(1));
  row.orcpt = run.text(2);
  row.destination = run.text(4);
  row.state = run.integer(6) == 0 ? State::deferred : State::held;
  row.flow = run.integer(7);
  row.delay_told = run.integer(8) != 0;
  row.size = run.integer(9);
  const std::int64_t sum =
      sum_of_recipient(request_.message, index, row.address, run.integer(3), row.destination, row.notify, row.orcpt);
  return sum == run.integer(5) ? std::optional(std::move(row)) : std::nullopt;
}

Result<bool> ForwardOperation::reroute(Database& db, const Row& row) {
  const std::string name = rerouted(row.destination, request_.next_hop);
  if (name == row.destination) return false;
  const Result<std::int64_t> destination = core_.destination_id(db, name);
  if (!destination) return fail(destination.error());
  {
    Run move(db, kMove);
    move << number(request_.message) << row.index << *destination
         << sum_of_recipient(request_.message, row.index, row.address, *destination, name, row.notify, row.orcpt)
         << millis(request_.now);
    const Result<> moved = move.done();
    if (!moved) return fail(moved.error());
  }
  Run clear(db, kClearBackOff);
  clear << *destination << millis(request_.now);
  const Result<> cleared = clear.done();
  if (!cleared) return fail(cleared.error());
  if (row.state == State::held) {
    const Result<> aside = set_aside(db, *destination, request_.message, request_.message);
    if (!aside) return fail(aside.error());
  }
  return true;
}

Result<bool> ForwardOperation::redirect(Database& db, const Row& row) {
  const std::string address = request_.to->text();
  if (equals_no_case(row.address, address)) return false;
  bool waits = false;
  {
    Run there(db, kWaits);
    there << number(request_.message) << address;
    const Result<bool> found = there.step();
    if (!found) return found;
    waits = *found;
  }
  if (!waits) {
    const Result<> added = add(db, row, address);
    if (!added) return fail(added.error());
  }
  Run remove(db, kRemove);
  remove << number(request_.message) << row.index;
  const Result<> removed = remove.done();
  if (!removed) return fail(removed.error());
  HistoryEvent told;
  told.message = request_.message;
  told.time = request_.now;
  told.kind = HistoryEvent::Kind::removed;
  told.recipient = row.address;
  told.text = "redirected to <" + address + ">" + (request_.reason.empty() ? "" : ": " + request_.reason);
  history_.push_back(std::move(told));
  return true;
}

Result<> ForwardOperation::add(Database& db, const Row& row, const std::string& address) {
  std::uint32_t index = 0;
  {
    Run next(db, kNextIndex);
    next << number(request_.message);
    const Result<bool> found = next.step();
    if (!found) return fail(found.error());
    index = static_cast<std::uint32_t>(next.integer(0));
  }
  const std::string name = smtp::domain_key(request_.to->mailbox.domain);
  const Result<std::int64_t> destination = core_.destination_id(db, name);
  if (!destination) return fail(destination.error());
  if (row.state == State::held) {
    Result<> aside = set_aside(db, *destination, request_.message, request_.message);
    if (!aside) return aside;
  }
  const std::string orcpt = row.orcpt.empty() ? smtp::orcpt_of(row.address) : row.orcpt;
  Run added(db, kAdd);
  added << number(request_.message) << index
        << sum_of_recipient(request_.message, index, address, *destination, name, row.notify, orcpt) << address
        << *destination << static_cast<int>(row.state) << millis(request_.now) << static_cast<int>(row.notify) << orcpt
        << row.flow << row.delay_told << row.size;
  return added.done();
}

void ForwardOperation::committed() {
  for (HistoryEvent& event : history_) core_.aftermath().history.push_back(std::move(event));
}

}  // namespace waypost::queue
