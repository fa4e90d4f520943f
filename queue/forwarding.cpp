// queue/forwarding.cpp
#include "queue/forwarding.h"

#include <string>
#include <utility>

#include "smtp/address.h"
#include "smtp/parameters.h"

namespace waypost::queue {
namespace {

constexpr char kParts = '/';  // a domain from its next hop: in the name of no domain

constexpr Sql kRowParts{
    "SELECT r.address, r.notify, r.orcpt, r.destination, d.name, r.sum, r.flow, r.delay_told FROM recipient r "
    "JOIN destination d ON d.id = r.destination WHERE r.message = ?1 AND r.idx = ?2"};
constexpr Sql kMove{
    "UPDATE recipient SET destination = ?3, sum = ?4, next_attempt = iif(state = 0, ?5, next_attempt) "
    "WHERE message = ?1 AND idx = ?2"};
constexpr Sql kWaits{
    "SELECT 1 FROM recipient WHERE message = ?1 AND address = ?2 COLLATE NOCASE AND state IN (0, 1) LIMIT 1"};
constexpr Sql kNextIndex{"SELECT max(idx) + 1 FROM recipient WHERE message = ?1"};
constexpr Sql kAdd{
    "INSERT INTO recipient(message, idx, sum, address, destination, state, attempts, next_attempt, notify, orcpt, "
    "status, reply, host, flow, delay_told) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9, '', '', '', ?10, ?11)"};

struct RecipientParts {
  std::string address, orcpt, destination;
  std::uint8_t notify = 0;
  std::int64_t destination_id = 0, flow = 0;
  bool delay_told = false;
};

/// nullopt: it is damaged.
Result<std::optional<RecipientParts>> read_parts(Database& db, const Match& match) {
  Run row(db, kRowParts);
  row << number(match.message) << match.index;
  Result<bool> found = row.step();
  if (!found) return fail(found.error());
  if (!*found) return std::optional<RecipientParts>();
  RecipientParts parts;
  parts.address = row.text(0);
  parts.notify = static_cast<std::uint8_t>(row.integer(1));
  parts.orcpt = row.text(2);
  parts.destination_id = row.integer(3);
  parts.destination = row.text(4);
  parts.flow = row.integer(6);
  parts.delay_told = row.integer(7) != 0;
  const std::int64_t sum = sum_of_recipient(match.message, static_cast<std::uint32_t>(match.index), parts.address,
                                            parts.destination_id, parts.destination, parts.notify, parts.orcpt);
  return sum == row.integer(5) ? std::optional(std::move(parts)) : std::nullopt;
}

Result<bool> any_waits(Database& db, Id message, const std::string& address) {
  Run row(db, kWaits);
  row << number(message) << address;
  return row.step();
}

Result<std::uint32_t> next_index(Database& db, Id message) {
  Run row(db, kNextIndex);
  row << number(message);
  Result<bool> found = row.step();
  if (!found) return fail(found.error());
  return static_cast<std::uint32_t>(row.integer(0));
}

}  // namespace

std::string rerouted(std::string_view destination, std::string_view next_hop) {
  std::string out(destination.substr(0, destination.find(kParts)));
  if (!next_hop.empty()) out.append(1, kParts).append(next_hop);
  return out;
}

Result<std::optional<std::int64_t>> reroute_recipient(StoreCore& core, Database& db, const Match& match,
                                                      std::string_view next_hop, WallTime now) {
  const Result<std::optional<RecipientParts>> parts = read_parts(db, match);
  if (!parts) return fail(parts.error());
  if (!*parts) return std::optional<std::int64_t>();
  const RecipientParts& known = **parts;
  const std::string name = rerouted(known.destination, next_hop);
  if (name == known.destination) return std::optional<std::int64_t>();
  const Result<std::int64_t> destination = core.destination_id(db, name);
  if (!destination) return fail(destination.error());
  Run row(db, kMove);
  row << number(match.message) << match.index << *destination
      << sum_of_recipient(match.message, static_cast<std::uint32_t>(match.index), known.address, *destination, name,
                          known.notify, known.orcpt)
      << millis(now);
  const Result<> moved = row.done();
  if (!moved) return fail(moved.error());
  return std::optional(*destination);
}

Result<bool> redirect_recipient(StoreCore& core, Database& db, const Match& match, const smtp::Path& to, WallTime now) {
  const Result<std::optional<RecipientParts>> parts = read_parts(db, match);
  if (!parts) return fail(parts.error());
  const std::string address = to.text();
  if (!*parts || (*parts)->address == address) return false;
  const RecipientParts& known = **parts;
  const Result<bool> there = any_waits(db, match.message, address);
  if (!there || *there) return there;
  const Result<std::uint32_t> index = next_index(db, match.message);
  if (!index) return fail(index.error());
  const std::string name = smtp::domain_key(to.mailbox.domain);
  const Result<std::int64_t> destination = core.destination_id(db, name);
  if (!destination) return fail(destination.error());
  const std::string orcpt = known.orcpt.empty() ? smtp::orcpt_of(known.address) : known.orcpt;
  Run row(db, kAdd);
  row << number(match.message) << *index
      << sum_of_recipient(match.message, *index, address, *destination, name, known.notify, orcpt) << address
      << *destination << static_cast<int>(match.state) << millis(now) << static_cast<int>(known.notify) << orcpt
      << known.flow << known.delay_told;
  const Result<> added = row.done();
  if (!added) return fail(added.error());
  return true;
}

}  // namespace waypost::queue
