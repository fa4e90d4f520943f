// queue/check.cpp
#include "queue/check.h"

#include <utility>

#include "queue/lock.h"
#include "queue/rows.h"
#include "queue/schema.h"
#include "queue/sqlite_queue.h"

namespace waypost::queue {
namespace {

constexpr Sql kMessages{"SELECT " WAYPOST_MESSAGE_COLUMNS ", m.body FROM message m ORDER BY m.id"};
constexpr Sql kRecipients{"SELECT " WAYPOST_RECIPIENT_COLUMNS
                          ", r.state, d.name, m.id IS NOT NULL, r.in_due, r.size = m.size "
                          "FROM recipient r LEFT JOIN destination d ON d.id = r.destination "
                          "LEFT JOIN message m ON m.id = r.message "
                          "ORDER BY r.message, r.idx"};
// The last recipient that ends takes its message along.
constexpr Sql kFinished{
    "SELECT m.id FROM message m WHERE NOT EXISTS "
    "(SELECT 1 FROM recipient r WHERE r.message = m.id AND " WAYPOST_STAYS ") ORDER BY m.id"};
constexpr Sql kUndelivered{"SELECT id, time, address FROM undelivered ORDER BY id"};
constexpr Sql kDestinations{"SELECT count(*) FROM destination"};
constexpr Sql kNamed{"SELECT 1 FROM message WHERE id = ?1 AND in_file = 1"};

class Check {
 public:
  Check(Database& db, Files& files, std::optional<Id> settled, const std::stop_token& stop, const Watched& progress)
      : db_(db), files_(files), settled_(settled), stop_(stop), progress_(progress) {}

  Result<CheckReport> run() {
    check_trees();
    read("the messages", [this] { return check_messages(); });
    read("the recipients", [this] { return check_recipients(); });
    read("the messages without recipients", [this] { return check_finished(); });
    read("the destinations", [this] { return count_destinations(); });
    read("what the postmaster is to be told", [this] { return check_undelivered(); });
    // Behind a page that cannot be read it is not known which files are named.
    if (!cut_short_) {
      Result<> listed = check_left_over();
      if (!listed) return fail(listed.error());
    }
    return std::move(report_);
  }

 private:
  using Kind = Finding::Kind;

  /// Tables against their indexes too.
  void check_trees() {
    Run row(db_, std::string("PRAGMA integrity_check(100)"));
    Result<bool> found = row.step();
    for (; found && *found; found = row.step())
      if (row.text(0) != "ok") report_.add(Kind::database, Id{}, "queue.db: " + std::string(row.text(0)));
    if (!found) report_.add(Kind::database, Id{}, found.error().what);
  }

  template <class Step>
  void read(const std::string& what, Step step) {
    Result<> done = step();
    if (done) return;
    cut_short_ = true;
    report_.add(Kind::database, Id{}, what + " could not be read to the end: " + done.error().what);
  }

  Result<> check_messages() {
    if (progress_) {
      const Result<std::int64_t> count = db_.value("SELECT count(*) FROM message");
      if (count) progress_->begin(Progress::Unit::messages, static_cast<std::uint64_t>(*count));
    }
    Run row(db_, kMessages);
    Result<bool> found = row.step();
    for (; found && *found && !stop_.stop_requested(); found = row.step()) {
      report_.messages += 1;
      if (progress_) progress_->add(1);
      Id id = id_of(row.integer(0));
      Result<StoredMessage> message = read_message(row);
      if (!message) {
        report_.add(Kind::message, id, message.error().what);
        continue;
      }
      Content content;
      content.id = id;
      content.octets = row.octets(kMessageColumns);
      content.in_file = message->in_file;
      content.body_size = message->body_size;
      content.checksum = message->checksum;
      if (content.in_file) report_.spool_files += 1;
      Result<> sound = verify_body(files_, content);
      if (sound)
        report_.octets += content.body_size;
      else
        report_.add(content.in_file ? Kind::spool : Kind::body, id, sound.error().what);
    }
    if (!found) return fail(found.error());
    return {};
  }

  Result<> check_recipients() {
    constexpr int kState = kRecipientColumns;
    Run row(db_, kRecipients);
    Result<bool> found = row.step();
    for (; found && *found; found = row.step()) {
      report_.recipients += 1;
      Id id = id_of(row.integer(0));
      std::string which = "recipient " + std::to_string(row.integer(1)) + " of " + id.text();
      std::int64_t state = row.integer(kState);
      if (row.integer(kState + 2) == 0)
        report_.add(Kind::recipient, id, which + " has no message");
      else if (row.integer(kState + 4) == 0)
        report_.add(Kind::recipient, id, which + " is of another size than its message");
      if (state < 0 || state > static_cast<int>(State::removed))
        report_.add(Kind::recipient, id, which + " is in no state that there is");
      // A destination goes when nothing waits for it: those who have ended may have none, and then no sum.
      bool has_destination = !row.is_null(kState + 1);
      bool waits = state <= static_cast<int>(State::held);
      if (state == static_cast<int>(State::deferred) && row.integer(kState + 3) != 1)
        report_.add(Kind::recipient, id, which + " is not in the index of what is due, and is not tried any more");
      if (!has_destination && waits)
        report_.add(Kind::destination, id, which + " waits for a destination that is gone");
      if (!has_destination) continue;
      Result<DueRecipient> recipient = read_recipient(row, row.text(kState + 1));
      if (!recipient) report_.add(Kind::recipient, id, recipient.error().what + " (" + which + ")");
    }
    if (!found) return fail(found.error());
    return {};
  }

  Result<> check_finished() {
    Run row(db_, kFinished);
    Result<bool> found = row.step();
    for (; found && *found; found = row.step()) {
      Id id = id_of(row.integer(0));
      report_.add(Kind::message, id, id.text() + " has no recipient that waits");
    }
    if (!found) return fail(found.error());
    return {};
  }

  Result<> count_destinations() {
    Run row(db_, kDestinations);
    Result<bool> found = row.step();
    if (!found) return fail(found.error());
    report_.destinations = static_cast<std::uint64_t>(row.integer(0));
    return {};
  }

  /// They have no checksum: only that there are no more than are ever noted.
  Result<> check_undelivered() {
    std::size_t number = 0;
    Run row(db_, kUndelivered);
    Result<bool> found = row.step();
    for (; found && *found; found = row.step()) ++number;
    if (!found) return fail(found.error());
    if (number > Undelivered::kMaxEntries)
      report_.add(Kind::database, Id{}, "queue.db: " + std::to_string(number) + " entries for one digest");
    return {};
  }

  Result<> check_left_over() {
    Result<std::vector<std::string>> folders = files_.list("body");
    if (!folders && folders.error().code == Errc::not_found) return {};
    if (!folders) return fail(folders.error());
    for (const std::string& folder : *folders) {
      Result<std::vector<std::string>> names = files_.list("body/" + folder);
      if (!names) return fail(names.error());
      for (const std::string& name : *names) {
        if (stop_.stop_requested()) return {};
        std::optional<Id> id = Id::parse(name.substr(0, name.find('.')));
        if (id && settled_ && *id > *settled_) continue;
        bool whole = name.find('.') == std::string::npos;
        Result<bool> named = id && whole ? is_named(*id) : Result<bool>(false);
        if (!named) return fail(named.error());
        if (!*named) report_.left_over += 1;
      }
    }
    return {};
  }

  Result<bool> is_named(Id id) {
    Run row(db_, kNamed);
    row << number(id);
    return row.step();
  }

  Database& db_;
  Files& files_;
  std::optional<Id> settled_;
  const std::stop_token& stop_;
  const Watched& progress_;
  CheckReport report_;
  bool cut_short_ = false;
};

}  // namespace

std::string_view to_text(Finding::Kind kind) {
  switch (kind) {
    case Finding::Kind::database:
      return "database";
    case Finding::Kind::message:
      return "message";
    case Finding::Kind::recipient:
      return "recipient";
    case Finding::Kind::destination:
      return "destination";
    case Finding::Kind::body:
      return "body";
    case Finding::Kind::spool:
      return "spool";
  }
  return "database";
}

void CheckReport::add(Finding::Kind kind, Id message, std::string text) {
  found += 1;
  if (findings.size() < kMaxFindings) findings.push_back(Finding{kind, message, std::move(text)});
}

Result<CheckReport> check_database(Database& db, Files& files, std::optional<Id> settled, const std::stop_token& stop,
                                   const Watched& progress) {
  std::stop_callback interrupt(stop, [&db] { db.interrupt(); });
  Result<CheckReport> report = Check(db, files, settled, stop, progress).run();
  if (stop.stop_requested()) return fail(stopped());
  return report;
}

Result<CheckReport> check_folder(const std::string& data_dir, const Watched& progress) {
  Result<std::string> folder = real_folder(data_dir);
  if (!folder) return fail(folder.error());
  Result<FolderLock> lock = FolderLock::shared(*folder);
  if (!lock) return fail(lock.error());
  Result<std::unique_ptr<Files>> files = open_files(*folder);
  if (!files) return fail(files.error());
  CheckReport unreadable;
  Result<Database> db = open_to_read(*folder + "/queue.db");
  Result<> ours = db ? check_version(*db, kQueueSchema) : Result<>(fail(db.error()));
  if (!ours && ours.error().code != Errc::damaged) return fail(ours.error());
  if (!ours) {
    unreadable.add(Finding::Kind::database, Id{}, ours.error().what);
    return unreadable;
  }
  Result<CheckReport> report = check_database(*db, **files, std::nullopt, token_of(progress), progress);
  Result<> whole = check_wal(*folder + "/queue.db");
  if (report && !whole) report->add(Finding::Kind::database, Id{}, whole.error().what);
  return report;
}

}  // namespace waypost::queue
