// queue/write_operations.cpp
#include "queue/write_operations.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace waypost::queue {
namespace {

constexpr Sql kInsertMessage{
    "INSERT INTO message(id, sum, reverse_path, arrival, expires, check_at, warned, size, body_type, eight_bit, "
    "dot_lines, smtputf8, require_tls, ret, envid, user, client, helo, protocol, listener, message_id, trace, "
    "body_size, checksum, in_file, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, "
    "?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26)"};
constexpr Sql kInsertRecipient{
    "INSERT INTO recipient(message, idx, sum, address, destination, state, attempts, next_attempt, notify, orcpt, "
    "status, reply, host, flow, size) VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, ?7, ?8, '', '', '', ?9, ?10)"};
constexpr Sql kFindRecipient{"SELECT state, attempts, address FROM recipient WHERE message = ?1 AND idx = ?2"};
// What ends by itself is kept for no undo.
#define WAYPOST_MOVE                                                                                        \
  "UPDATE recipient SET state = ?3, attempts = ?4, next_attempt = ?5, status = ?6, reply = ?7, host = ?8, " \
  "change = iif(?3 IN (0, 1), change, 0), in_due = (?3 = 0)"
constexpr Sql kMoveRecipient{WAYPOST_MOVE " WHERE message = ?1 AND idx = ?2"};
constexpr Sql kMoveAttempted{WAYPOST_MOVE ", asked = ?9 WHERE message = ?1 AND idx = ?2"};
constexpr Sql kStays{"SELECT 1 FROM recipient r WHERE r.message = ?1 AND " WAYPOST_STAYS " LIMIT 1"};
constexpr Sql kStaying{"SELECT r.idx, r.state FROM recipient r WHERE r.message = ?1 AND " WAYPOST_STAYS};
constexpr Sql kNotKept{"UPDATE recipient SET change = 0 WHERE message = ?1 AND idx = ?2"};
constexpr Sql kDeleteRecipients{"DELETE FROM recipient WHERE message = ?1"};
constexpr Sql kFileOfMessage{"SELECT in_file FROM message WHERE id = ?1"};
constexpr Sql kDeleteMessage{"DELETE FROM message WHERE id = ?1"};
constexpr Sql kWarned{
    "UPDATE message SET warned = 1, check_at = expires WHERE id = ?1 AND warned = 0 "
    "AND EXISTS (SELECT 1 FROM recipient WHERE message = ?1 AND state IN (0, 1))"};
constexpr Sql kDelayTold{"UPDATE recipient SET delay_told = 1 WHERE message = ?1 AND idx = ?2"};
constexpr Sql kListenerOfMessage{"SELECT listener FROM message WHERE id = ?1"};
constexpr Sql kNumberUndelivered{"SELECT count(*) FROM undelivered"};
constexpr Sql kNoteUndelivered{
    "INSERT INTO undelivered(message, time, address, status, reply, host) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"};
constexpr Sql kUndelivered{
    "SELECT id, message, time, address, status, reply, host FROM undelivered ORDER BY id LIMIT ?1"};
constexpr Sql kForgetUndelivered{"DELETE FROM undelivered WHERE id <= ?1"};
constexpr Sql kMoreUndelivered{"SELECT value FROM meta WHERE key = 'undelivered_more'"};
constexpr Sql kCountUndelivered{
    "INSERT INTO meta(key, value) VALUES ('undelivered_more', ?1) "
    "ON CONFLICT(key) DO UPDATE SET value = max(value, 0) + excluded.value"};
constexpr Sql kUncountUndelivered{"UPDATE meta SET value = max(value - ?1, 0) WHERE key = 'undelivered_more'"};
constexpr Sql kNoted{"SELECT value FROM meta WHERE key = 'time_noted'"};
constexpr Sql kNote{"INSERT OR REPLACE INTO meta(key, value) VALUES ('time_noted', ?1)"};

std::string_view view(const Checksum& checksum) {
  return {reinterpret_cast<const char*>(checksum.data()), checksum.size()};
}

std::string how_it_came(const Origin& origin) {
  std::string out = origin.listener;
  if (!origin.protocol.empty()) out += (out.empty() ? "" : " ") + origin.protocol;
  if (!origin.user.empty()) out += " as " + origin.user;
  if (origin.epoch > 0) out += ", configuration " + std::to_string(origin.epoch);
  return out;
}

MessageInfo info_of(const NewMessage& message, std::uint64_t size, BodyNotes notes) {
  MessageInfo info;
  info.id = message.id;
  info.reverse_path = message.envelope.reverse_path;
  info.arrival = message.arrival;
  info.expires = message.expires;
  info.size = size;
  info.body = message.envelope.body;
  info.eight_bit = notes.eight_bit;
  info.dot_lines = notes.dot_lines;
  info.smtputf8 = message.envelope.smtputf8;
  info.require_tls = message.envelope.require_tls;
  info.ret = message.envelope.ret;
  info.envid = message.envelope.envid;
  info.user = message.origin.user;
  return info;
}

/// Its octets count as memory in use until the last holder lets go of it.
std::shared_ptr<Content> make_content(StoreCore& core, std::size_t octets, bool& counted) {
  counted = core.take_memory(octets);
  if (!counted) return std::make_shared<Content>();
  std::shared_ptr<std::atomic<std::size_t>> memory = core.memory();
  return {new Content, [memory, octets](Content* content) {
            delete content;
            memory->fetch_sub(octets, std::memory_order_relaxed);
          }};
}

}  // namespace

std::optional<HistoryEvent::Kind> kind_of(Event event) {
  using Kind = HistoryEvent::Kind;
  switch (event) {
    case Event::hold:
      return Kind::held;
    case Event::release:
      return Kind::released;
    case Event::retry:
      return std::nullopt;
    case Event::attempt_deferred:
      return Kind::deferred;
    case Event::attempt_delivered:
      return Kind::delivered;
    case Event::attempt_relayed:
      return Kind::relayed;
    case Event::attempt_failed:
      return Kind::bounced;
    case Event::lifetime_over:
      return Kind::expired;
    case Event::remove:
      return Kind::removed;
    case Event::restore:
    case Event::restore_held:
      return Kind::restored;
  }
  return std::nullopt;
}

namespace {

/// The first column of the first row; 0 where there is none.
Result<std::int64_t> number_of(Database& db, Sql sql) {
  Run row(db, sql);
  Result<bool> found = row.step();
  if (!found) return fail(found.error());
  return *found ? row.integer(0) : 0;
}

bool is_attempt(Event event) {
  return event == Event::attempt_deferred || event == Event::attempt_delivered || event == Event::attempt_relayed ||
         event == Event::attempt_failed;
}

}  // namespace

std::string with_rule(const std::string& reply, const std::string& rule) {
  return rule.empty() ? reply : reply + " [rule " + rule + "]";
}

Result<Prepared> prepare(StoreCore& core, NewMessage message, Draft::Finished body, BodyNotes notes) {
  Prepared out;
  std::vector<smtp::EnvelopeRecipient>& recipients = message.envelope.recipients;
  if (recipients.empty()) return fail(Errc::invalid, "a message without recipients");
  for (std::size_t i = 0; i < recipients.size(); ++i) {
    const smtp::EnvelopeRecipient& recipient = recipients[i];
    std::string destination = i < message.destinations.size() ? std::move(message.destinations[i])
                                                              : smtp::domain_key(recipient.forward_path.mailbox.domain);
    if (destination.empty()) return fail(Errc::invalid, "a recipient without a domain");
    out.recipients.push_back({recipient.forward_path.text(), std::move(destination)});
  }
  out.reverse_path = message.envelope.reverse_path.text();
  out.flow = flow_of(message.priority, message.origin.user, message.origin.client,
                     message.envelope.reverse_path.mailbox.domain);

  out.content = make_content(core, body.octets.size() + message.trace.size(), out.keep_in_memory);
  out.content->id = message.id;
  out.content->trace = std::move(message.trace);
  out.content->octets = std::move(body.octets);
  out.content->in_file = body.in_file;
  out.content->body_size = body.size;
  out.content->checksum = body.checksum;

  out.stored.info = info_of(message, body.size + out.content->trace.size(), notes);
  out.stored.trace = out.content->trace;
  out.stored.body_size = body.size;
  out.stored.checksum = body.checksum;
  out.stored.in_file = body.in_file;
  out.sum = sum_of(out.stored, out.reverse_path);
  out.message = std::move(message);
  return out;
}

Result<Prepared> prepare(StoreCore& core, Notification notification, std::optional<Id> cause) {
  BodyNotes notes = notes_of(notification.body);
  Draft::Finished body;
  body.size = notification.body.size();
  body.checksum = checksum_of(notification.body);
  body.octets = std::move(notification.body);
  Result<Prepared> out = prepare(core, std::move(notification.message), std::move(body), notes);
  if (out) out->cause = cause;
  return out;
}

Result<> insert(StoreCore& core, Database& db, const Prepared& prepared) {
  const NewMessage& message = prepared.message;
  const MessageInfo& info = prepared.stored.info;
  const Origin& origin = message.origin;
  const Content& content = *prepared.content;
  WallTime check_at = message.warn_at ? std::min(*message.warn_at, message.expires) : message.expires;

  Run row(db, kInsertMessage);
  row << number(info.id) << prepared.sum << prepared.reverse_path << millis(info.arrival) << millis(info.expires);
  row << millis(check_at) << !message.warn_at.has_value() << info.size << static_cast<int>(info.body);
  row << info.eight_bit << info.dot_lines << info.smtputf8 << info.require_tls << static_cast<int>(info.ret);
  row << info.envid << info.user << origin.client << origin.helo << origin.protocol << origin.listener;
  row << message.message_id << content.trace << content.body_size;
  row.blob(view(content.checksum)) << content.in_file;
  row.blob(content.octets);
  Result<> written = row.done();
  if (!written) return written;

  for (std::size_t i = 0; i < prepared.recipients.size(); ++i) {
    const smtp::EnvelopeRecipient& given = message.envelope.recipients[i];
    const Prepared::Recipient& recipient = prepared.recipients[i];
    Result<std::int64_t> destination = core.destination_id(db, recipient.destination);
    if (!destination) return fail(destination.error());
    auto index = static_cast<std::uint32_t>(i);
    std::int64_t sum = sum_of_recipient(info.id, index, recipient.address, *destination, recipient.destination,
                                        given.notify.bits, given.orcpt);
    Run line(db, kInsertRecipient);
    line << number(info.id) << index << sum << recipient.address << *destination << millis(info.arrival);
    line << static_cast<int>(given.notify.bits) << given.orcpt << prepared.flow.value << info.size;
    Result<> inserted = line.done();
    if (!inserted) return inserted;
  }
  return core.reserve_ids(db, info.id);
}

void announce(StoreCore& core, Prepared prepared) {
  Aftermath& after = core.aftermath();
  core.keep_reserve();

  HistoryEvent event;
  event.message = prepared.message.id;
  event.time = prepared.message.arrival;
  event.from = prepared.reverse_path;
  event.host = prepared.message.origin.client;
  event.text = how_it_came(prepared.message.origin);
  event.message_id = std::move(prepared.message.message_id);
  event.size = prepared.stored.info.size;
  event.other = prepared.cause;
  after.history.push_back(std::move(event));

  auto info = std::make_shared<const MessageInfo>(std::move(prepared.stored.info));
  std::unordered_map<std::string_view, std::size_t> places;
  for (std::size_t i = 0; i < prepared.recipients.size(); ++i) {
    smtp::EnvelopeRecipient& given = prepared.message.envelope.recipients[i];
    const std::string& destination = prepared.recipients[i].destination;
    auto [place, is_new] = places.emplace(destination, after.arrived.size());
    if (is_new) {
      Due due;
      due.message = info;
      due.destination = destination;
      due.flow = prepared.flow;
      if (prepared.keep_in_memory) due.content = prepared.content;
      after.arrived.push_back(std::move(due));
    }
    DueRecipient recipient;
    recipient.index = static_cast<std::uint32_t>(i);
    recipient.forward_path = std::move(given.forward_path);
    recipient.notify = given.notify;
    recipient.orcpt = std::move(given.orcpt);
    after.arrived[place->second].recipients.push_back(std::move(recipient));
  }
}

void announce_notification(StoreCore& core, Prepared prepared, WallTime now) {
  HistoryEvent event;
  event.message = *prepared.cause;
  event.time = now;
  event.kind = HistoryEvent::Kind::notified;
  event.other = prepared.message.id;
  core.aftermath().history.push_back(std::move(event));
  announce(core, std::move(prepared));
}

Result<> write_move(Database& db, const RecipientMove& move) {
  Run row(db, move.asked ? kMoveAttempted : kMoveRecipient);
  row << number(move.message) << move.index << static_cast<int>(move.state) << move.attempts
      << millis(move.next_attempt) << move.status << move.reply << move.host;
  if (move.asked) row << *move.asked;
  return row.done();
}

namespace {

Result<> delete_message(Database& db, Id message, bool& in_file) {
  {
    Run file(db, kFileOfMessage);
    file << number(message);
    Result<bool> found = file.step();
    if (!found) return fail(found.error());
    in_file = *found && file.integer(0) != 0;
  }
  for (Sql sql : {kDeleteRecipients, kDeleteMessage}) {
    Run row(db, sql);
    row << number(message);
    Result<> done = row.done();
    if (!done) return done;
  }
  return {};
}

}  // namespace

Result<bool> remove_if_ended(Database& db, Id message, bool& in_file) {
  {
    Run stays(db, kStays);
    stays << number(message);
    Result<bool> found = stays.step();
    if (!found) return found;
    if (*found) return false;
  }
  Result<> done = delete_message(db, message, in_file);
  if (!done) return fail(done.error());
  return true;
}

void announce_end(StoreCore& core, Id message, bool in_file) {
  if (in_file) core.aftermath().unlink.push_back(body_path(message.text()));
}

namespace {

/// About what a transaction grows by.
std::size_t octets_of(const Prepared& message) {
  return message.content->octets.size() + 1024 + 256 * message.recipients.size();
}

}  // namespace

AcceptOperation::AcceptOperation(StoreCore& core, Prepared prepared, std::optional<Prepared> notification)
    : Operation(Kind::write, octets_of(prepared) + (notification ? octets_of(*notification) : 0)),
      core_(core),
      prepared_(std::move(prepared)),
      notification_(std::move(notification)) {}

Result<> AcceptOperation::apply(Database& db) {
  Result<> accepted = insert(core_, db, prepared_);
  return accepted && notification_ ? insert(core_, db, *notification_) : accepted;
}

void AcceptOperation::committed() {
  const WallTime arrival = prepared_.message.arrival;
  announce(core_, std::move(prepared_));
  if (notification_) announce_notification(core_, *std::move(notification_), arrival);
}

SettleOperation::SettleOperation(StoreCore& core, Settlement settlement, std::vector<Prepared> notifications,
                                 WallTime now)
    : Operation(Kind::write, 1024 + 16384 * notifications.size()),
      core_(core),
      settlement_(std::move(settlement)),
      notifications_(std::move(notifications)),
      now_(now) {}

Result<> SettleOperation::apply(Database& db) {
  history_.clear();
  moved_ = ended_ = warned_ = left_ = in_file_ = false;
  // While its row is there.
  const Result<bool> tells = settlement_.for_digest ? is_digest(db) : Result<bool>(true);
  if (!tells) return fail(tells.error());
  Result<> outcomes = apply_outcomes(db);
  if (outcomes && !*tells) outcomes = note_undelivered(db);
  if (!outcomes) return outcomes;
  if (settlement_.warned && !left_) {
    Result<> warned = apply_warning(db);
    if (!warned) return warned;
  }
  // Where an administrator was faster there is nothing to notify of: not even twice of a delay.
  if (!moved_ && !warned_) return {};
  for (const Prepared& notification : notifications_) {
    Result<> inserted = insert(core_, db, notification);
    if (!inserted) return inserted;
  }
  return {};
}

Result<> SettleOperation::apply_outcomes(Database& db) {
  Id message = settlement_.message;
  std::vector<RecipientMove> moves;
  std::vector<std::uint32_t> ends, told_of;
  std::unordered_set<std::uint32_t> seen;
  for (const RecipientOutcome& outcome : settlement_.recipients) {
    if (!seen.insert(outcome.index).second) continue;
    Run row(db, kFindRecipient);
    row << number(message) << outcome.index;
    Result<bool> found = row.step();
    if (!found) return fail(found.error());
    if (!*found) continue;
    auto state = static_cast<State>(row.integer(0));
    std::optional<State> next = next_state(state, outcome.event);
    const bool fails = outcome.event == Event::attempt_failed || outcome.event == Event::lifetime_over;
    if (state == State::removed && fails) told_of.push_back(outcome.index);
    if (!next) continue;

    RecipientMove move;
    move.message = message;
    move.index = outcome.index;
    move.state = *next;
    move.attempts = static_cast<std::uint32_t>(row.integer(1)) + (is_attempt(outcome.event) ? 1 : 0);
    move.next_attempt = outcome.next_attempt;
    move.status = outcome.status;
    move.reply = outcome.reply;
    move.host = outcome.host;
    move.asked = outcome.asked;
    if (is_end(*next)) ends.push_back(outcome.index);

    std::optional<HistoryEvent::Kind> kind = kind_of(outcome.event);
    if (kind) {
      HistoryEvent event;
      event.message = message;
      event.time = now_;
      event.kind = *kind;
      event.recipient = row.text(2);
      event.host = outcome.host;
      event.status = outcome.status;
      event.text = with_rule(outcome.reply, outcome.rule);
      event.tls = outcome.tls;
      if (outcome.event == Event::attempt_deferred) event.next_attempt = outcome.next_attempt;
      history_.push_back(std::move(event));
    }
    moves.push_back(std::move(move));
  }
  moved_ = !moves.empty();
  // The notification of this settlement tells that they failed too: then nobody undoes their removal.
  for (const std::uint32_t index : told_of) {
    if (!moved_ || notifications_.empty()) break;
    Run row(db, kNotKept);
    row << number(message) << index;
    Result<> done = row.done();
    if (!done) return done;
  }

  // The common end: everything that was still open has ended. Then the rows go, and need not be written first.
  if (!ends.empty() && !keeps_rows_) {
    std::sort(ends.begin(), ends.end());
    bool another = false, kept = false;
    {
      Run staying(db, kStaying);
      staying << number(message);
      Result<bool> found = staying.step();
      for (; found && *found && !another; found = staying.step()) {
        if (std::binary_search(ends.begin(), ends.end(), static_cast<std::uint32_t>(staying.integer(0)))) continue;
        const bool has_ended = is_end(static_cast<State>(staying.integer(1)));
        kept = kept || has_ended;
        another = !has_ended;
      }
      if (!found) return fail(found.error());
    }
    left_ = !another;
    if (left_ && !kept) return delete_message(db, message, in_file_);
  }
  for (const RecipientMove& move : moves) {
    Result<> written = write_move(db, move);
    if (!written) return written;
  }
  return {};
}

Result<> SettleOperation::apply_warning(Database& db) {
  Run row(db, kWarned);
  row << number(settlement_.message);
  Result<> done = row.done();
  if (!done) return done;
  warned_ = db.changed_rows() > 0;
  if (!warned_) return {};
  for (const std::uint32_t index : settlement_.delay_told) {
    Run told(db, kDelayTold);
    told << number(settlement_.message) << index;
    done = told.done();
    if (!done) return done;
  }
  return {};
}

/// What cannot be delivered of a digest causes no other one. A row that cannot be read is of some other message.
Result<bool> SettleOperation::is_digest(Database& db) {
  Run row(db, kListenerOfMessage);
  row << number(settlement_.message);
  Result<bool> found = row.step();
  if (!found && found.error().code == Errc::damaged) return false;
  if (!found) return found;
  return *found && row.text(0) == Origin::kDigest;
}

Result<> SettleOperation::note_undelivered(Database& db) {
  for (const HistoryEvent& event : history_) {
    if (event.kind != HistoryEvent::Kind::bounced && event.kind != HistoryEvent::Kind::expired) continue;
    Result<std::int64_t> noted = number_of(db, kNumberUndelivered);
    if (!noted) return fail(noted.error());
    Result<> done;
    if (*noted < static_cast<std::int64_t>(Undelivered::kMaxEntries)) {
      Run row(db, kNoteUndelivered);
      row << number(event.message) << millis(event.time) << event.recipient << event.status << event.text << event.host;
      done = row.done();
    } else {
      Run row(db, kCountUndelivered);
      row << 1;
      done = row.done();
    }
    if (!done) return done;
  }
  return {};
}

void SettleOperation::committed() {
  Aftermath& after = core_.aftermath();
  for (HistoryEvent& event : history_) after.history.push_back(std::move(event));
  if (left_) announce_end(core_, settlement_.message, in_file_);
  if (!moved_ && !warned_) return;
  for (Prepared& notification : notifications_) announce_notification(core_, std::move(notification), now_);
}

Result<> UndeliveredOperation::apply(Database& db) {
  undelivered = {};
  const Result<std::int64_t> more = number_of(db, kMoreUndelivered);
  if (!more) return fail(more.error());
  undelivered.more = static_cast<std::uint64_t>(std::max<std::int64_t>(*more, 0));
  Run row(db, kUndelivered);
  row << static_cast<std::int64_t>(Undelivered::kMaxEntries);
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) {
    undelivered.upto = static_cast<std::uint64_t>(row.integer(0));
    Undelivered::Entry entry;
    entry.message = id_of(row.integer(1));
    entry.at = wall_time(row.integer(2));
    entry.address = row.text(3);
    entry.status = row.text(4);
    entry.reply = row.text(5);
    entry.host = row.text(6);
    undelivered.entries.push_back(std::move(entry));
  }
  return found ? Result<>() : fail(found.error());
}

DigestOperation::DigestOperation(StoreCore& core, Prepared digest, std::uint64_t upto, std::uint64_t more)
    : Operation(Kind::write, digest.content->octets.size() + 1024),
      core_(core),
      digest_(std::move(digest)),
      upto_(upto),
      more_(more) {}

Result<> DigestOperation::apply(Database& db) {
  Result<> inserted = insert(core_, db, digest_);
  if (!inserted) return inserted;
  {
    Run row(db, kForgetUndelivered);
    row << static_cast<std::int64_t>(upto_);
    Result<> done = row.done();
    if (!done) return done;
  }
  Run row(db, kUncountUndelivered);
  row << static_cast<std::int64_t>(more_);
  return row.done();
}

NoteTimeOperation::NoteTimeOperation(std::optional<WallTime> now) : Operation(Kind::write), now_(now) {}

Result<> NoteTimeOperation::apply(Database& db) {
  noted.reset();
  {
    Run row(db, kNoted);
    Result<bool> found = row.step();
    if (!found) return fail(found.error());
    // No checksum tells whether it is damaged.
    constexpr std::int64_t kYear2100 = 4'102'444'800'000;
    if (*found && row.integer(0) > 0 && row.integer(0) < kYear2100) noted = wall_time(row.integer(0));
  }
  if (!now_) return {};
  Run row(db, kNote);
  row << millis(*now_);
  return row.done();
}

}  // namespace waypost::queue
