// queue/schema.cpp
#include "queue/schema.h"

#include "queue/set_aside.h"

namespace waypost::queue {
namespace {

// Times are milliseconds since 1970. `sum` is over the columns that never change, so that a flipped bit in an address
// is noticed before mail goes to it (RELIABILITY F14). `check_at` is when a delay notification is due, and once that
// was made, when the message expires: one index for both. The body is the last column, so that reading the others does
// not touch its overflow pages.
constexpr const char* kQueueVersion1 = R"(
CREATE TABLE meta(
  key TEXT NOT NULL PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE destination(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  failures INTEGER NOT NULL DEFAULT 0,
  next_attempt INTEGER NOT NULL DEFAULT 0,
  failing_since INTEGER NOT NULL DEFAULT 0,
  status TEXT NOT NULL DEFAULT '',
  reason TEXT NOT NULL DEFAULT '',
  host TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE message(
  id INTEGER PRIMARY KEY,
  sum INTEGER NOT NULL,
  reverse_path TEXT NOT NULL,
  arrival INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  check_at INTEGER NOT NULL,
  warned INTEGER NOT NULL,
  size INTEGER NOT NULL,
  body_type INTEGER NOT NULL,
  eight_bit INTEGER NOT NULL,
  dot_lines INTEGER NOT NULL,
  smtputf8 INTEGER NOT NULL,
  require_tls INTEGER NOT NULL,
  ret INTEGER NOT NULL,
  envid TEXT NOT NULL,
  user TEXT NOT NULL,
  client TEXT NOT NULL,
  helo TEXT NOT NULL,
  protocol TEXT NOT NULL,
  listener TEXT NOT NULL,
  message_id TEXT NOT NULL,
  trace TEXT NOT NULL,
  body_size INTEGER NOT NULL,
  checksum BLOB NOT NULL,
  in_file INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE INDEX message_check ON message(check_at);

CREATE TABLE recipient(
  message INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  sum INTEGER NOT NULL,
  address TEXT NOT NULL,
  destination INTEGER NOT NULL,
  state INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  next_attempt INTEGER NOT NULL,
  notify INTEGER NOT NULL,
  orcpt TEXT NOT NULL,
  status TEXT NOT NULL,
  reply TEXT NOT NULL,
  host TEXT NOT NULL,
  PRIMARY KEY(message, idx)
) WITHOUT ROWID, STRICT;
CREATE INDEX recipient_due ON recipient(destination, next_attempt) WHERE state = 0;
CREATE INDEX recipient_held ON recipient(destination) WHERE state = 1;
)";

// Sites are rows beside the destinations. No index on `site`: salvage tells what an index is of by its types.
constexpr const char* kQueueVersion2 = R"(
ALTER TABLE destination ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN site INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN site_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN held_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN held_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE destination ADD COLUMN spacing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN slow_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN slow_reason TEXT NOT NULL DEFAULT '';
)";

// Flows of one destination take turns (queue/flow.h). What was there before is one of Priority::normal.
constexpr const char* kQueueVersion3 = R"(
ALTER TABLE recipient ADD COLUMN flow INTEGER NOT NULL DEFAULT 268435456;
DROP INDEX recipient_due;
CREATE INDEX recipient_due ON recipient(destination, flow, next_attempt) WHERE state = 0;
)";

// What notifications need to know: whether a delay was told, and what each host said that was asked the last time.
// `undelivered` is what the next digest tells the postmaster; what is beyond its most is counted in `meta`.
constexpr const char* kQueueVersion4 = R"(
ALTER TABLE recipient ADD COLUMN delay_told INTEGER NOT NULL DEFAULT 0;
ALTER TABLE recipient ADD COLUMN asked TEXT NOT NULL DEFAULT '';
ALTER TABLE destination ADD COLUMN asked TEXT NOT NULL DEFAULT '';
CREATE TABLE undelivered(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  message INTEGER NOT NULL,
  time INTEGER NOT NULL,
  address TEXT NOT NULL,
  status TEXT NOT NULL,
  reply TEXT NOT NULL,
  host TEXT NOT NULL
) STRICT;
)";

// Changes of an administrator: who is asked for a recipient's state knows which change made it and what it `was`, and
// so can undo it. One that was removed is `kept` for that (`change` is not 0). No index on `time` or `number`: see
// above.
constexpr const char* kQueueVersion5 = R"(
ALTER TABLE recipient ADD COLUMN change INTEGER NOT NULL DEFAULT 0;
ALTER TABLE recipient ADD COLUMN was INTEGER NOT NULL DEFAULT 0;
CREATE INDEX recipient_kept ON recipient(destination) WHERE state = 6 AND change > 0;
CREATE TABLE change(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  time INTEGER NOT NULL,
  what TEXT NOT NULL,
  who TEXT NOT NULL,
  meant TEXT NOT NULL,
  reason TEXT NOT NULL,
  messages INTEGER NOT NULL,
  recipients INTEGER NOT NULL,
  undone_by INTEGER NOT NULL DEFAULT 0,
  kept INTEGER NOT NULL DEFAULT 0
) STRICT;
)";

// What an administrator changes lies near each other then, if it came near each other: one after another is cheaper by
// far than a page of an index for each of a thousand destinations. Of a destination it is known alone from which
// message to which recipients of it were set aside, held or removed: its row stays while any between are
// (queue/set_aside.h).
constexpr const char* kQueueVersion6 = R"(
ALTER TABLE destination ADD COLUMN aside_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE destination ADD COLUMN aside_to INTEGER NOT NULL DEFAULT 0;
)" WAYPOST_MARK_ASIDE R"(;
DROP INDEX recipient_held;
DROP INDEX recipient_kept;
CREATE INDEX recipient_held ON recipient(state, message) WHERE state = 1;
CREATE INDEX recipient_kept ON recipient(state, message) WHERE state = 6 AND change > 0;
)";

// What is held or removed leaves the index of what is due when it comes up there (DueOperation), and not before: of a
// thousand destinations that is a page for each message of a change. `in_due`: it is in that index; what is deferred
// always is. `size`: the message's. What is counted by recipients would read each message's row, a page, for that
// alone.
constexpr const char* kQueueVersion7 = R"(
ALTER TABLE recipient ADD COLUMN in_due INTEGER NOT NULL DEFAULT 1;
DROP INDEX recipient_due;
ALTER TABLE recipient ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
)" WAYPOST_MARK_RECIPIENTS R"(;
CREATE INDEX recipient_due ON recipient(destination, flow, next_attempt) WHERE in_due = 1;
)";

constexpr SchemaStep kQueueSteps[] = {{kQueueVersion1, false}, {kQueueVersion2, false}, {kQueueVersion3, false},
                                      {kQueueVersion4, false}, {kQueueVersion5, false}, {kQueueVersion6, false},
                                      {kQueueVersion7, false}};

// Rows come in order of time, nearly; an index each for the life of one message, for a span of time, and for
// Message-ID.
constexpr const char* kHistoryVersion1 = R"(
CREATE TABLE event(
  seq INTEGER PRIMARY KEY,
  message INTEGER NOT NULL,
  time INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  sender TEXT NOT NULL,
  recipient TEXT NOT NULL,
  host TEXT NOT NULL,
  status TEXT NOT NULL,
  text TEXT NOT NULL,
  message_id TEXT NOT NULL,
  size INTEGER NOT NULL,
  next_attempt INTEGER,
  other INTEGER
) STRICT;
CREATE INDEX event_message ON event(message);
CREATE INDEX event_time ON event(time);
CREATE INDEX event_message_id ON event(message_id) WHERE message_id <> '';
)";

// What TLS an attempt had.
constexpr const char* kHistoryVersion2 = "ALTER TABLE event ADD COLUMN tls TEXT NOT NULL DEFAULT ''";

constexpr SchemaStep kHistorySteps[] = {{kHistoryVersion1, false}, {kHistoryVersion2, false}};

}  // namespace

Result<int> version_of(Database& db, const Schema& schema) {
  Result<std::int64_t> application = db.value("PRAGMA application_id");
  if (!application) return fail(application.error());
  Result<std::int64_t> version = db.value("PRAGMA user_version");
  if (!version) return fail(version.error());
  Result<std::int64_t> tables = db.value("SELECT count(*) FROM sqlite_schema");
  if (!tables) return fail(tables.error());

  bool empty = *application == 0 && *version == 0 && *tables == 0;
  if (empty) return 0;
  if (static_cast<std::uint32_t>(*application) != schema.application_id)
    return fail(Errc::damaged, schema.name + " is no file of Waypost's; move it away and start again");
  if (*version > static_cast<std::int64_t>(schema.steps.size()))
    return fail(Errc::unsupported, schema.name + " was written by a newer Waypost (version " +
                                       std::to_string(*version) + ", this one reads up to " +
                                       std::to_string(schema.steps.size()) + "): install that version again");
  if (*version < 1) return fail(Errc::damaged, schema.name + " has no version");
  return static_cast<int>(*version);
}

const Schema kQueueSchema{0x57415951, kQueueSteps, "queue.db"};        // "WAYQ"
const Schema kHistorySchema{0x57415948, kHistorySteps, "history.db"};  // "WAYH"

Result<> bring_up_to_date(Database& db, const Schema& schema, const std::function<Result<>(int version)>& copy) {
  Result<int> version = version_of(db, schema);
  if (!version) return fail(version.error());
  std::span<const SchemaStep> due = schema.steps.subspan(static_cast<std::size_t>(*version));
  if (due.empty()) return {};

  bool changes_data = false;
  for (const SchemaStep& step : due) changes_data = changes_data || step.changes_data;
  if (changes_data && *version > 0) {
    Result<> copied = copy(*version);
    if (!copied) return copied;
  }

  Transaction transaction(db);
  Result<> begun = transaction.begin();
  if (!begun) return begun;
  for (const SchemaStep& step : due) {
    Result<> made = db.run(step.sql);
    if (!made) return made;
  }
  // Numbers of our own: pragmas take no bound values.
  std::string marks = "PRAGMA application_id = " + std::to_string(schema.application_id) +
                      "; PRAGMA user_version = " + std::to_string(schema.steps.size());
  Result<> marked = db.run(marks.c_str());
  if (!marked) return marked;
  return transaction.commit();
}

Result<> copy_database(Database& db, Files& files, const std::string& folder, const std::string& name) {
  Result<> removed = files.remove(name);
  if (!removed && removed.error().code != Errc::not_found) return removed;
  // SQLite takes an empty file that is there; one of its own would ask the umask.
  Result<std::unique_ptr<File>> made = files.create(name);
  if (!made) return fail(made.error());
  const std::string path = folder + "/" + name;
  Run into(db, std::string("VACUUM INTO ?1"));
  into << path;
  Result<> copied = into.done();
  // Its octets are synced as those of the database are; its name is not.
  return copied ? files.sync_folder(".") : copied;
}

Result<> check_version(Database& db, const Schema& schema) {
  Result<int> version = version_of(db, schema);
  if (!version) return fail(version.error());
  if (*version == static_cast<int>(schema.steps.size())) return {};
  return fail(Errc::unsupported,
              schema.name +
                  " was written by an older Waypost: start the daemon once, or run `waypost store migrate`, which "
                  "bring it up to date; a backup of one is restored as it is");
}

}  // namespace waypost::queue
