// queue/reading.cpp
#include "queue/reading.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/text.h"

namespace waypost::queue {
namespace {

constexpr Sql kSliceEnd{
    "SELECT max(message), count(*) FROM (SELECT message FROM recipient WHERE message > ?1 "
    "AND typeof(message) = 'integer' ORDER BY message, idx LIMIT ?2)"};
constexpr Sql kRecipientsOf{"SELECT " WAYPOST_RECIPIENT_COLUMNS ", r.state, r.next_attempt, " WAYPOST_BOTH_COLUMNS
                            " FROM recipient r " WAYPOST_DESTINATION_OF_RECIPIENT
                            " WHERE r.message = ?1 ORDER BY r.idx"};
constexpr Sql kContent{"SELECT " WAYPOST_MESSAGE_COLUMNS ", m.body FROM message m WHERE m.id = ?1"};

// Fixed pieces, of which the statements with conditions are made.
constexpr std::string_view kActive = "(r.state = 0 AND r.next_attempt <= ?3 AND NOT " WAYPOST_WAITS("?3") ")";

/// Of what is read first: rows come in its order then.
std::string id_column(const Conditions& conditions) {
  return conditions.by_recipient ? "r.message" : "m.id";
}

/// The recipients in a slice that are meant. The order of the joins is the order in which rows are read: a message's
/// row is large. `with_message`: a column of it is asked for.
std::string matching(const Conditions& conditions, bool with_message) {
  const bool joins_message = with_message || conditions.message != "1";
  std::string sql = " FROM ";
  if (conditions.by_recipient)
    sql += std::string("recipient r ") + (joins_message ? "CROSS JOIN message m ON m.id = r.message " : "");
  else
    sql += "message m CROSS JOIN recipient r ON r.message = m.id ";
  sql += WAYPOST_DESTINATION_OF_RECIPIENT;
  const std::string id = id_column(conditions);
  sql += " WHERE " + id + " > ?1 AND " + id + " <= ?2 AND " + conditions.recipient;
  return sql + (joins_message ? " AND " + conditions.message : "");
}

void bind_conditions(Run& run, const Conditions& conditions) {
  run.at(Conditions::kFirst);
  for (const auto& value : conditions.values) {
    if (const auto* number = std::get_if<std::int64_t>(&value))
      run << *number;
    else
      run << std::get<std::string>(value);
  }
}

State state_of(std::int64_t number) {
  return static_cast<State>(std::clamp<std::int64_t>(number, 0, static_cast<int>(State::removed)));
}

Result<> read_recipients(Database& db, MessageRow& message) {
  Run row(db, kRecipientsOf);
  row << number(message.info.id);
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) {
    constexpr int kState = kRecipientColumns;
    RecipientRow out;
    out.index = static_cast<std::uint32_t>(row.integer(1));
    out.forward_path = shown_path(row.text(3));
    out.notify.bits = static_cast<std::uint8_t>(row.integer(5));
    out.orcpt = row.text(6);
    out.attempts = static_cast<std::uint32_t>(row.integer(7));
    out.status = row.text(8);
    out.reply = row.text(9);
    out.host = row.text(10);
    out.state = state_of(row.integer(kState));
    out.next_attempt = wall_time(row.integer(kState + 1));
    DestinationState destination = read_with_site(row, kState + 2);
    // Its row is gone when nothing waits for it any more.
    out.destination = destination.name;
    if (out.destination.empty()) out.destination = smtp::domain_key(out.forward_path.mailbox.domain);
    // A destination that fails was reached by no attempt since: its failure is later than any reply to a recipient.
    if (out.state == State::deferred) out.next_attempt = std::max(out.next_attempt, destination.waits_until());
    if (out.state == State::deferred && destination.failures > 0) {
      out.status = destination.status;
      out.reply = destination.reason;
      out.host = destination.host;
    }
    message.recipients.push_back(std::move(out));
  }
  if (!found) return fail(found.error());
  return {};
}

}  // namespace

Result<Slice> next_slice(Database& db, const Filter& filter, Id after, std::size_t recipients) {
  bool by_id = std::any_of(filter.terms.begin(), filter.terms.end(),
                           [](const Term& term) { return term.field == Term::Field::id && !term.negated; });
  Slice slice;
  slice.after = after;
  slice.last = true;
  slice.upto = id_of(INT64_MAX);
  if (by_id) return slice;
  Run run(db, kSliceEnd);
  run << number(after) << static_cast<std::int64_t>(recipients);
  Result<bool> found = run.step();
  if (!found) return fail(found.error());
  slice.last = run.integer(1) < static_cast<std::int64_t>(recipients);
  slice.upto = run.integer(1) == 0 ? after : id_of(run.integer(0));
  if (!(after < slice.upto)) slice.last = true;  // of a damaged row
  return slice;
}

Result<std::vector<MessageRow>> list_slice(Database& db, const Conditions& conditions, const Slice& slice,
                                           std::size_t limit) {
  std::string sql = "SELECT " WAYPOST_MESSAGE_COLUMNS ", m.client, m.helo, m.protocol, m.listener, m.message_id" +
                    matching(conditions, true) + " GROUP BY " + id_column(conditions) + " ORDER BY " +
                    id_column(conditions) + " LIMIT ?3";
  Run row(db, sql);
  row << number(slice.after) << number(slice.upto) << static_cast<std::int64_t>(limit);
  bind_conditions(row, conditions);
  std::vector<MessageRow> out;
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) {
    constexpr int kOrigin = kMessageColumns;
    MessageRow message;
    message.info = read_message_unchecked(row).info;
    message.origin.client = row.text(kOrigin);
    message.origin.helo = row.text(kOrigin + 1);
    message.origin.protocol = row.text(kOrigin + 2);
    message.origin.listener = row.text(kOrigin + 3);
    message.origin.user = message.info.user;
    message.message_id = row.text(kOrigin + 4);
    Result<> recipients = read_recipients(db, message);
    if (!recipients) return fail(recipients.error());
    out.push_back(std::move(message));
  }
  if (!found) return fail(found.error());
  return out;
}

Result<> count_slice(Database& db, const Conditions& conditions, const Slice& slice, WallTime now, Counts& into) {
  // The messages' rows are not read, and grouping by them is done here: SQLite's takes as long as all the rest.
  std::string sql = "SELECT r.message, r.size, r.state, " + std::string(kActive) + matching(conditions, false) +
                    " ORDER BY " + id_column(conditions);
  Run row(db, sql);
  row << number(slice.after) << number(slice.upto) << millis(now);
  bind_conditions(row, conditions);
  std::int64_t last = -1;
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) {
    const std::int64_t message = row.integer(0);
    if (message != last) {
      into.messages += 1;
      into.octets += static_cast<std::uint64_t>(row.integer(1));
      const WallTime arrival = time_of(id_of(message));
      if (!into.oldest || arrival < *into.oldest) into.oldest = arrival;
    }
    last = message;
    into.recipients += 1;
    const bool active = row.integer(3) != 0;
    into.active += active ? 1 : 0;
    into.deferred += !active && row.integer(2) == static_cast<int>(State::deferred) ? 1 : 0;
    into.held += row.integer(2) == static_cast<int>(State::held) ? 1 : 0;
  }
  return found ? Result<>() : fail(found.error());
}

namespace {

std::string key_of(GroupBy by) {
  switch (by) {
    case GroupBy::domain:
      return "coalesce(d.name, r.address)";
    case GroupBy::sender:
      return "m.reverse_path";
    case GroupBy::error:
      return WAYPOST_LAST("status", "status") " || ' ' || " WAYPOST_LAST("reply", "reason");
    case GroupBy::mx:
      return WAYPOST_LAST("host", "host");
    case GroupBy::state:
      return "iif(" + std::string(kActive) + ", 'active', r.state)";
    case GroupBy::user:
      return "m.user";
    case GroupBy::source:
      return "m.client";
  }
  return "''";
}

std::string shown_key(GroupBy by, std::string_view key) {
  if (by == GroupBy::error) {
    // Most replies tell the status themselves.
    const auto [status, reply] = split_once(key, ' ');
    const bool twice = !status.empty() && reply.find(status) != std::string_view::npos;
    return std::string(trim(error_shape(twice ? reply : key)));
  }
  if (by == GroupBy::sender) return "<" + std::string(key) + ">";
  if (by != GroupBy::state || key == "active") return std::string(key);
  return std::string(to_text(state_of(static_cast<std::int64_t>(parse_decimal(key).value_or(0)))));
}

}  // namespace

Result<> group_slice(Database& db, const Conditions& conditions, const Slice& slice, Grouping& into) {
  const bool by_message = into.by() == GroupBy::sender || into.by() == GroupBy::user || into.by() == GroupBy::source;
  std::string sql = "SELECT " + key_of(into.by()) + ", r.message, r.size, ?3" + matching(conditions, by_message) +
                    " ORDER BY " + id_column(conditions);
  Run row(db, sql);
  row << number(slice.after) << number(slice.upto) << millis(into.now());
  bind_conditions(row, conditions);
  Result<bool> found = row.step();
  for (; found && *found; found = row.step())
    into.add(shown_key(into.by(), row.text(0)), id_of(row.integer(1)), static_cast<std::uint64_t>(row.integer(2)),
             time_of(id_of(row.integer(1))));
  return found ? Result<>() : fail(found.error());
}

Result<std::vector<Match>> match_slice(Database& db, const Conditions& conditions, const Slice& slice) {
  std::string sql =
      "SELECT r.message, r.idx, r.state, r.was, r.next_attempt, r.destination, r.address, r.change, r.in_due" +
      matching(conditions, false) + " ORDER BY " + id_column(conditions) + ", r.idx";
  Run row(db, sql);
  row << number(slice.after) << number(slice.upto);
  bind_conditions(row, conditions);
  std::vector<Match> out;
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) {
    Match match;
    match.message = id_of(row.integer(0));
    match.index = row.integer(1);
    match.state = state_of(row.integer(2));
    match.was = state_of(row.integer(3));
    match.next_attempt = row.integer(4);
    match.destination = row.integer(5);
    match.address = row.text(6);
    match.is_kept = match.state == State::removed && row.integer(7) > 0;
    match.in_due = row.integer(8) == 1;
    out.push_back(std::move(match));
  }
  if (!found) return fail(found.error());
  return out;
}

Result<std::shared_ptr<const Content>> read_content(Database& db, Id id) {
  Run row(db, kContent);
  row << number(id);
  Result<bool> found = row.step();
  if (!found) return fail(found.error());
  if (!*found) return fail(Errc::not_found, id.text() + " is not in the queue");
  Result<StoredMessage> message = read_message(row);
  if (!message) return fail(message.error());
  auto content = std::make_shared<Content>();
  content->id = id;
  content->trace = std::move(message->trace);
  content->octets = row.octets(kMessageColumns);
  content->in_file = message->in_file;
  content->body_size = message->body_size;
  content->checksum = message->checksum;
  return std::shared_ptr<const Content>(std::move(content));
}

}  // namespace waypost::queue
