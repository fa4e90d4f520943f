// tests/fuzz/rows.cpp: a queue.db in which anything is written. Its values are checked like what comes from the network
// (RELIABILITY C1): no row of it stops the queue, and none makes an address, a parameter or a header line that is none.
// Covers: queue/rows.cpp queue/due_operations.cpp queue/reading.cpp queue/admin_operations.cpp
// queue/write_operations.cpp
//
// The first octet: 1, the sums of the rows are made to hold; 2, the tables take values of any type. Then rows, split at
// RS (0x1E): `m`, `r`, `d` or `k` for the table, then its columns, split at US (0x1F), as in kMessage and so on below.
// An empty column, and one that is not there, has a value that makes sense; `#5` is a number, `!` NULL, `=x` a BLOB.
#include "queue/rows.h"

#include <charconv>
#include <span>
#include <string>
#include <vector>

#include "base/text.h"
#include "smtp/header_scan.h"
#include "tests/fuzz/memory_queue.h"
#include "tests/fuzz/quiet_log.h"

using namespace waypost;
using queue::Database;
using queue::Run;

namespace {

struct Column {
  const char* name;
  const char* usual;
};
constexpr Column kMessage[] = {{"id", "#5"},          {"reverse_path", "s@a.example"},
                               {"arrival", "#1"},     {"expires", "#9000000000000"},
                               {"check_at", "#1"},    {"warned", "#0"},
                               {"size", "#10"},       {"body_type", "#0"},
                               {"eight_bit", "#0"},   {"dot_lines", "#0"},
                               {"smtputf8", "#0"},    {"require_tls", "#0"},
                               {"ret", "#0"},         {"envid", "\"\""},
                               {"user", "\"\""},      {"client", "192.0.2.1"},
                               {"helo", "c.example"}, {"protocol", "ESMTP"},
                               {"listener", "mx"},    {"message_id", "\"\""},
                               {"trace", "\"\""},     {"body_size", "#3"},
                               {"checksum", "*"},     {"in_file", "#0"},
                               {"body", "=x\r\n"},    {"sum", "#0"}};
constexpr Column kRecipient[] = {
    {"message", "#5"}, {"idx", "#0"},          {"address", "r@b.example"}, {"destination", "#1"},
    {"state", "#0"},   {"attempts", "#0"},     {"next_attempt", "#1"},     {"notify", "#0"},
    {"orcpt", "\"\""}, {"status", "\"\""},     {"reply", "\"\""},          {"host", "\"\""},
    {"sum", "#0"},     {"flow", "#268435457"}, {"in_due", "#1"},           {"size", "#3"}};
constexpr Column kDestination[] = {{"id", "#1"},
                                   {"name", "b.example"},
                                   {"failures", "#0"},
                                   {"next_attempt", "#0"},
                                   {"failing_since", "#0"},
                                   {"status", "\"\""},
                                   {"reason", "\"\""},
                                   {"host", "\"\""},
                                   {"kind", "#0"},
                                   {"site", "#0"},
                                   {"site_until", "#0"},
                                   {"held_until", "#0"},
                                   {"held_reason", "\"\""},
                                   {"spacing", "#0"},
                                   {"slow_until", "#0"},
                                   {"slow_reason", "\"\""}};
constexpr Column kMeta[] = {{"key", "id_reserve"}, {"value", "#0"}};

void bind(Run& row, const std::string& value) {
  std::string_view rest = std::string_view(value).substr(1);
  std::int64_t number = 0;
  if (value == "!") {
    row.null();
  } else if (value == "\"\"") {
    row << "";
  } else if (value == "*") {
    static const queue::Checksum sum = queue::checksum_of("x\r\n");
    row.blob({reinterpret_cast<const char*>(sum.data()), sum.size()});
  } else if (value.front() == '#' &&
             std::from_chars(rest.data(), rest.data() + rest.size(), number).ec == std::errc()) {
    row << number;
  } else if (value.front() == '=') {
    row.blob(rest);
  } else {
    row << value;
  }
}

/// A row that the table does not take is left out.
void insert(Database& db, const std::string& table, std::span<const Column> columns, std::string_view record) {
  std::string names, places;
  for (const Column& column : columns) {
    names += (names.empty() ? "" : ", ") + std::string(column.name);
    places += places.empty() ? "?" : ", ?";
  }
  std::vector<std::string> values;
  for (const Column& column : columns) {
    std::string_view field = fuzz::take_field(record);
    values.emplace_back(field.empty() ? column.usual : field);
  }
  Run row(db, "INSERT OR IGNORE INTO " + table + "(" + names + ") VALUES (" + places + ")");
  for (const std::string& value : values) bind(row, value);
  (void)row.done().has_value();
}

/// As if Waypost had written the rows: what is behind the sums is then reached.
void mend_sums(Database& db) {
  std::vector<std::pair<std::int64_t, std::int64_t>> messages;
  {
    Run row(db, std::string("SELECT " WAYPOST_MESSAGE_COLUMNS " FROM message m"));
    while (row.step().value_or(false))
      messages.emplace_back(row.integer(0), sum_of(queue::read_message_unchecked(row), row.text(2)));
  }
  for (const auto& [id, sum] : messages) {
    Run set(db, std::string("UPDATE OR IGNORE message SET sum = ?2 WHERE id = ?1"));
    set << id << sum;
    (void)set.done().has_value();
  }
  struct Key {
    std::int64_t message, index, sum;
  };
  std::vector<Key> recipients;
  {
    Run row(db,
            std::string("SELECT r.message, r.idx, r.address, r.destination, coalesce(d.name, ''), r.notify, r.orcpt "
                        "FROM recipient r LEFT JOIN destination d ON d.id = r.destination"));
    while (row.step().value_or(false))
      recipients.push_back({row.integer(0), row.integer(1),
                            queue::sum_of_recipient(
                                queue::id_of(row.integer(0)), static_cast<std::uint32_t>(row.integer(1)), row.text(2),
                                row.integer(3), row.text(4), static_cast<std::uint8_t>(row.integer(5)), row.text(6))});
  }
  for (const Key& key : recipients) {
    Run set(db, std::string("UPDATE OR IGNORE recipient SET sum = ?3 WHERE message = ?1 AND idx = ?2"));
    set << key.message << key.index << key.sum;
    (void)set.done().has_value();
  }
}

void fill(Database& db, std::string_view input, bool sums) {
  for (std::string_view record : split(input, '\x1E')) {
    if (record.empty()) continue;
    char table = record.front();
    record.remove_prefix(1);
    if (table == 'm') insert(db, "message", kMessage, record);
    if (table == 'r') insert(db, "recipient", kRecipient, record);
    if (table == 'd') insert(db, "destination", kDestination, record);
    if (table == 'k') insert(db, "meta", kMeta, record);
  }
  if (sums) mend_sums(db);
}

/// Without types, and with NULL where there must be none: what a damaged file may hold.
std::string loose_schema() {
  std::string sql = fuzz::tables();
  for (std::string_view strict : {", STRICT", " STRICT", " NOT NULL"})
    for (std::size_t at = sql.find(strict); at != std::string::npos; at = sql.find(strict))
      sql.erase(at, strict.size());
  return sql;
}

void check_path(const smtp::Path& path) {
  if (path.is_null()) return;
  std::string written = path.bracketed();
  std::string_view rest = written;
  Result<smtp::Path> again = smtp::take_path(rest, {.utf8 = true, .bare = false, .null = true, .without_domain = true});
  fuzz::check(again && rest.empty() && *again == path, "an address from the queue is one");
}

void check_message(const queue::MessageInfo& info) {
  fuzz::check(queue::Id::parse(info.id.text()) == info.id, "an id has a name");
  check_path(info.reverse_path);
  fuzz::check(fuzz::is_one_line(info.envid) && fuzz::is_one_line(info.user), "parameters are one line");
}

void check_recipient(const queue::DueRecipient& recipient) {
  fuzz::check(!recipient.forward_path.is_null(), "mail goes to somebody");
  check_path(recipient.forward_path);
  fuzz::check(fuzz::is_one_line(recipient.orcpt), "ORCPT is one line");
}

void check_content(fuzz::MemoryQueue& q, queue::Id id) {
  Result<std::shared_ptr<const queue::Content>> content = q.run(q.store->content(id));
  if (!content) return;
  smtp::HeaderScan scan;
  scan.feed((*content)->trace + "\r\n");
  scan.finish();
  fuzz::check(scan.notes().octets == (*content)->trace.size(), "the trace is header fields and nothing else");
  queue::BodyReader reader = q.store->read_body(*content);
  std::string body;
  while (true) {
    Result<std::string_view> piece = q.run(reader.next());
    if (!piece) return;
    if (piece->empty()) break;
    body += *piece;
  }
  fuzz::check(queue::checksum_of(body) == (*content)->checksum, "a body that is read to its end is whole");
}

/// All that is due is tried, and deferred.
void attempt_what_is_due(fuzz::MemoryQueue& q, net::WallTime now) {
  queue::DueQuery query;
  query.now = now;
  query.limit = 3;
  std::vector<queue::Due> due;
  for (int pages = 0;; ++pages) {
    fuzz::check(pages < 2000, "what is due comes to an end");
    Result<queue::DuePage> page = q.run(q.store->due(query));
    fuzz::check(page.has_value(), "what is due can be read");
    for (queue::Due& one : page->due) due.push_back(std::move(one));
    if (!page->resume) break;
    query.resume = page->resume;
  }
  for (const queue::Due& one : due) {
    check_message(*one.message);
    queue::Settlement settlement;
    settlement.message = one.message->id;
    for (const queue::DueRecipient& recipient : one.recipients) {
      check_recipient(recipient);
      queue::RecipientOutcome outcome;
      outcome.index = recipient.index;
      outcome.event = queue::Event::attempt_deferred;
      outcome.next_attempt = now;
      settlement.recipients.push_back(outcome);
    }
    Result<bool> left = q.run(q.store->settle(std::move(settlement)));
    fuzz::check(left && !*left, "a deferred recipient keeps its message");
    check_content(q, one.message->id);
  }
}

void look_after_overdue(fuzz::MemoryQueue& q, net::WallTime now) {
  Result<std::vector<queue::Overdue>> overdue = q.run(q.store->overdue(now, 10));
  fuzz::check(overdue.has_value(), "what is overdue can be read");
  for (const queue::Overdue& one : *overdue) {
    check_message(*one.message);
    fuzz::check(!one.recipients.empty() && one.recipients.size() == one.destinations.size(), "of somebody");
    for (const queue::DueRecipient& recipient : one.recipients) check_recipient(recipient);
    queue::Settlement settlement;
    settlement.message = one.message->id;
    settlement.warned = true;
    Result<bool> left = q.run(q.store->settle(std::move(settlement)));
    fuzz::check(left.has_value(), "a warning is settled");
  }
}

std::size_t list_all(fuzz::MemoryQueue& q, net::WallTime now) {
  std::optional<queue::Id> after;
  std::size_t seen = 0;
  for (int pages = 0;; ++pages) {
    fuzz::check(pages < 2000, "a list comes to an end");
    Result<queue::Listing> page = q.run(q.store->list({}, after, 2, now));
    fuzz::check(page.has_value(), "the queue can be listed");
    for (const queue::MessageRow& row : page->messages) {
      fuzz::check(!after || row.info.id > *after, "in the order of ids");
      after = row.info.id;
      ++seen;
      check_content(q, row.info.id);
    }
    if (!page->resume) return seen;
    after = page->resume;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::quiet_log();
  std::string_view input = fuzz::view(data, size);
  std::uint8_t bits = fuzz::take_octet(input);
  static const std::string kLoose = loose_schema();
  static const std::string kStrict = fuzz::tables();
  fuzz::MemoryQueue q((bits & 2) != 0 ? kLoose : kStrict, [&](Database& db) { fill(db, input, (bits & 1) != 0); });
  if (!q.begun) return 0;
  queue::Id next = q.store->draft().id();
  fuzz::check(queue::Id::parse(next.text()) == next, "a new message has a name");

  net::WallTime now = q.runtime.wall_now();
  std::size_t listed = list_all(q, now);
  Result<queue::Counts> counts = q.run(q.store->count({}, now));
  fuzz::check(counts && counts->messages >= listed, "what is listed is counted; so are recipients without a message");
  attempt_what_is_due(q, now);
  look_after_overdue(q, now);
  for (queue::Change change : {queue::Change::hold, queue::Change::release, queue::Change::retry}) {
    fuzz::check(q.run(q.store->change({.change = change, .now = now})).has_value(), "an administrator can change it");
    attempt_what_is_due(q, now);
  }
  fuzz::check(q.run(q.store->change({.change = queue::Change::remove, .now = now})).has_value(), "and remove all");
  if ((bits & 2) != 0) return 0;  // a row whose number is none is found by no number
  counts = q.run(q.store->count({}, now));
  fuzz::check(counts && counts->messages == 0 && counts->recipients == 0, "then nothing is left");
  return 0;
}
