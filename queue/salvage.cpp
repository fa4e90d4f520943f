// queue/salvage.cpp
#include "queue/salvage.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/escape.h"
#include "queue/lock.h"
#include "queue/page_file.h"
#include "queue/replacement.h"
#include "queue/rows.h"
#include "queue/schema.h"
#include "queue/set_aside.h"
#include "queue/sqlite_queue.h"

namespace waypost::queue {
namespace {

// As CREATE TABLE has them (queue/schema.cpp): a number, a text, or octets.
constexpr std::string_view kMessageTypes = "nntnnnnnnnnnnnttttttttnbnb";
constexpr std::string_view kRecipientTypes = "nnntnnnnntttt";
constexpr std::size_t kDelayTold = 14;  // of version 4, behind `flow`
constexpr std::string_view kUndeliveredTypes = "nnntttt";
enum MessageColumn { kReversePath = 2, kArrival = 3, kExpires = 4, kCheckAt = 5 };
enum RecipientColumn {
  kMessage,
  kIndex,
  kSum,
  kAddress,
  kDestination,
  kState,
  kAttempts,
  kNextAttempt,
  kNotify,
  kOrcpt
};

constexpr Sql kAddDestination{"INSERT INTO destination(id, name) VALUES (?1, ?2) ON CONFLICT(id) DO NOTHING"};
constexpr Sql kNameDestination{
    "INSERT INTO destination(id, name) VALUES (?1, ?2) ON CONFLICT(id) DO UPDATE SET name = "
    "excluded.name"};
constexpr Sql kAddRecipient{
    "INSERT OR IGNORE INTO recipient(message, idx, sum, address, destination, state, attempts, next_attempt, notify, "
    "orcpt, status, reply, host, delay_told) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"};
constexpr Sql kAddMessage{
    "INSERT OR IGNORE INTO message(id, sum, reverse_path, arrival, expires, check_at, warned, size, body_type, "
    "eight_bit, dot_lines, smtputf8, require_tls, ret, envid, user, client, helo, protocol, listener, message_id, "
    "trace, body_size, checksum, in_file, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, "
    "?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26)"};
constexpr Sql kMessageRow{"SELECT " WAYPOST_MESSAGE_COLUMNS ", m.body FROM message m WHERE m.id = ?1"};
constexpr Sql kDropMessage{"DELETE FROM message WHERE id = ?1"};
constexpr Sql kDropRecipients{"DELETE FROM recipient WHERE message = ?1"};
constexpr Sql kThere{"SELECT 1 FROM message WHERE id = ?1"};
constexpr Sql kRecipientThere{"SELECT 1 FROM recipient WHERE message = ?1 AND idx = ?2"};
constexpr Sql kWithoutMessage{
    "SELECT message, address FROM recipient r WHERE NOT EXISTS (SELECT 1 FROM message m WHERE m.id = r.message)"};
constexpr Sql kWithoutRecipients{
    "SELECT id, reverse_path, EXISTS (SELECT 1 FROM recipient r WHERE r.message = m.id AND r.state = 6) "
    "FROM message m WHERE NOT EXISTS (SELECT 1 FROM recipient r WHERE r.message = m.id AND r.state IN (0, 1))"};
// What has no checksum may be damaged all the same: no recipient waits for longer than its message lives.
constexpr Sql kMendTimes{
    "UPDATE recipient SET next_attempt = ?1 WHERE state = 0 AND next_attempt > "
    "(SELECT expires FROM message m WHERE m.id = recipient.message)"};
constexpr Sql kAddUndelivered{
    "INSERT OR IGNORE INTO undelivered(id, message, time, address, status, reply, host) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"};
constexpr Sql kAddMore{"INSERT OR REPLACE INTO meta(key, value) VALUES ('undelivered_more', ?1)"};
constexpr Sql kReserve{"INSERT OR REPLACE INTO meta(key, value) VALUES ('id_reserve', ?1)"};

bool is_key_of_meta(std::string_view text) {
  return text == "open" || text == "time_noted" || text == "routes" || text == "undelivered_more";
}

class Salvage {
 public:
  Salvage(std::string from, Files& files, PageFile& pages, NewFolder& to, Database& db)
      : from_(std::move(from)), files_(files), pages_(pages), to_(to), db_(db) {}

  Result<SalvageReport> run() {
    Transaction transaction(db_);
    Result<> done = transaction.begin();
    if (done) done = each([this](const StoredRecord& record, Use use) { return take_destination(record, use); });
    // Rows that are certain first: of two with one key the first stays.
    for (Use wanted : {Use::tree, Use::in_doubt})
      if (done)
        done = each([this, wanted](const StoredRecord& record, Use use) {
          return use == wanted ? take_recipient(record, use) : Result<>();
        });
    if (done) done = each([this](const StoredRecord& record, Use use) { return take_message(record, use); });
    if (done) done = each([this](const StoredRecord& record, Use use) { return take_undelivered(record, use); });
    if (done) done = settle();
    if (done) done = transaction.commit();
    if (!done) return fail(done.error());
    report_.unreadable_pages = pages_.unreadable();
    report_.broken_rows = pages_.broken();
    for (auto& [id, lost] : lost_) report_.lost.push_back(std::move(lost));
    return std::move(report_);
  }

 private:
  using Use = PageFile::Use;

  template <class Take>
  Result<> each(Take take) {
    Result<> done;
    pages_.each_record([&](const StoredRecord& record, Use use) {
      if (done) done = take(record, use);
    });
    return done;
  }

  static bool has_types(const StoredRecord& record, std::string_view types) {
    return record.values.size() == types.size() && begins_with_types(record, types);
  }

  static bool begins_with_types(const StoredRecord& record, std::string_view types) {
    if (record.values.size() < types.size()) return false;
    for (std::size_t i = 0; i < types.size(); ++i) {
      bool is_rowid = i == 0 && !record.in_index;
      bool is_text = std::holds_alternative<std::string_view>(record.values[i]);
      if (!is_rowid && (types[i] == 'n' ? !record.is_number(i) : !is_text)) return false;
    }
    return true;
  }

  SalvageReport::Lost& lost(Id id, const std::string& why) {
    SalvageReport::Lost& entry = lost_[id.value];
    entry.message = id;
    if (entry.why.empty()) entry.why = why;
    return entry;
  }

  /// Also what the indexes tell: names, and which messages and recipients there were.
  Result<> take_destination(const StoredRecord& record, Use use) {
    // Of version 1, and of the later ones, which have more columns.
    if (!record.in_index && begins_with_types(record, "ntnnnttt")) return add_destination(record.rowid, record.text(1));
    if (record.in_index && has_types(record, "tn") && record.text(0) == "id_reserve")
      reserve_ = std::max(reserve_, record.number(1));
    else if (record.in_index && has_types(record, "tn") && !is_key_of_meta(record.text(0)))
      return add_destination(record.number(1), record.text(0));
    if (use != Use::tree || !record.in_index) return {};
    if (has_types(record, "nn")) named_.insert(record.number(1));
    for (const std::string_view due : {"nnnn", "nnnnn"})  // of version 2, and later
      if (has_types(record, due))
        named_recipients_.insert({record.number(due.size() - 2), record.number(due.size() - 1)});
    if (has_types(record, "nnn")) named_recipients_.insert({record.number(1), record.number(2)});
    return {};
  }

  Result<> add_destination(std::int64_t id, std::string_view name) {
    if (id <= 0 || name.empty() || !names_.emplace(id, name).second) return {};
    Run row(db_, kAddDestination);
    row << id << name;
    return unless_twice(row.done());
  }

  /// A row that is there already, or has a value of another type: of damaged ones that are no damage of the disk.
  static Result<> unless_twice(Result<> done) {
    if (!done && done.error().code == Errc::exists) return {};
    return done;
  }

  Result<> take_recipient(const StoredRecord& record, Use use) {
    if (!record.in_index || !begins_with_types(record, kRecipientTypes)) return {};
    Id message = id_of(record.number(kMessage));
    std::string_view address = record.text(kAddress);
    bool in_range = record.number(kIndex) >= 0 && record.number(kIndex) <= UINT32_MAX && record.number(kNotify) >= 0 &&
                    record.number(kNotify) <= 31;
    Result<bool> sound = in_range ? sum_holds(record) : Result<bool>(false);
    if (!sound) return fail(sound.error());
    if (!*sound) {
      if (use == Use::tree) lost(message, "a recipient's row is damaged").recipients.push_back(escape(address, 300));
      return {};
    }
    std::int64_t state = record.number(kState);
    bool doubtful = use == Use::in_doubt || state < 0 || state > static_cast<int>(State::removed);
    // A removal that may have been undone since is in doubt too.
    bool hold = doubtful && (state == 0 || state >= static_cast<int>(State::removed) || state < 0);
    if (!hold && state == static_cast<int>(State::removed))
      removed_recipients_.insert({number(message), record.number(kIndex)});
    Run row(db_, kAddRecipient);
    for (std::size_t i = 0; i < kRecipientTypes.size(); ++i) {
      if (i == kState && hold)
        row << static_cast<int>(State::held);
      else if (hold && i == kRecipientTypes.size() - 2)
        row << "salvaged, and it may have left before: held";
      else if (record.is_number(i))
        row << record.number(i);
      else
        row << record.text(i);
    }
    const bool delay_told =
        record.values.size() > kDelayTold && record.is_number(kDelayTold) && record.number(kDelayTold) != 0;
    row << delay_told;
    Result<> added = row.done();
    if (added && db_.changed_rows() > 0 && hold) report_.in_doubt += 1;
    return unless_twice(added);
  }

  /// Against the destination that it names, or where that is lost or damaged against the one that its address is for.
  Result<bool> sum_holds(const StoredRecord& record) {
    auto holds = [&record](std::string_view name) {
      return record.number(kSum) ==
             sum_of_recipient(id_of(record.number(kMessage)), static_cast<std::uint32_t>(record.number(kIndex)),
                              record.text(kAddress), record.number(kDestination), name,
                              static_cast<std::uint8_t>(record.number(kNotify)), record.text(kOrcpt));
    };
    auto known = names_.find(record.number(kDestination));
    if (known != names_.end() && holds(known->second)) return true;
    Result<smtp::Path> path = stored_path(record.text(kAddress));
    if (!path) return false;
    std::string name = smtp::domain_key(path->mailbox.domain);
    // Or one of a route, which other destinations may still have by name.
    for (const auto& [id, other] : names_) {
      const std::size_t parts = other.find('/');
      if (parts == std::string::npos || holds(name)) continue;
      if (holds(name + other.substr(parts))) name += other.substr(parts);
    }
    if (!holds(name)) return false;
    Run row(db_, kNameDestination);
    row << record.number(kDestination) << name;
    Result<> named = row.done();
    if (!named && named.error().code == Errc::exists) return false;
    if (!named) return fail(named.error());
    names_[record.number(kDestination)] = name;
    return true;
  }

  Result<> take_message(const StoredRecord& record, Use use) {
    if (record.in_index || !has_types(record, kMessageTypes) || record.rowid <= 0) return {};
    Id id = id_of(record.rowid);
    {
      Run row(db_, kAddMessage);
      row << record.rowid;
      for (std::size_t i = 1; i < record.values.size(); ++i) {
        // When it is looked at next has no checksum. A time out of its life is set right.
        bool is_check =
            i == kCheckAt && (record.number(i) < record.number(kArrival) || record.number(i) > record.number(kExpires));
        if (is_check)
          row << record.number(kExpires);
        else if (kMessageTypes[i] == 'b')
          row.blob(record.text(i));
        else if (kMessageTypes[i] == 't')
          row << record.text(i);
        else
          row << record.number(i);
      }
      Result<> added = row.done();
      if (!added && added.error().code != Errc::exists) return added;
      if (!added || db_.changed_rows() == 0) return {};
    }
    Result<> sound = check_message(id);
    if (sound) return {};
    if (sound.error().code != Errc::damaged && sound.error().code != Errc::not_found) return sound;
    if (use == Use::tree) lost(id, sound.error().what).reverse_path = escape(record.text(kReversePath), 300);
    Run drop(db_, kDropMessage);
    drop << number(id);
    return drop.done();
  }

  /// What the postmaster is to be told yet. What may have been told before is left out.
  Result<> take_undelivered(const StoredRecord& record, Use use) {
    if (use != Use::tree) return {};
    if (record.in_index && has_types(record, "tn") && record.text(0) == "undelivered_more") {
      Run row(db_, kAddMore);
      row << record.number(1);
      return row.done();
    }
    if (record.in_index || record.rowid <= 0 || !has_types(record, kUndeliveredTypes)) return {};
    Run row(db_, kAddUndelivered);
    row << record.rowid;
    for (std::size_t i = 1; i < kUndeliveredTypes.size(); ++i)
      if (kUndeliveredTypes[i] == 'n')
        row << record.number(i);
      else
        row << record.text(i);
    return unless_twice(row.done());
  }

  /// Its row as it was read, and its body, which is taken along.
  Result<> check_message(Id id) {
    Run row(db_, kMessageRow);
    row << number(id);
    Result<bool> found = row.step();
    if (!found) return fail(found.error());
    Result<StoredMessage> message = read_message(row);
    if (!message) return fail(message.error());
    Content content;
    content.id = id;
    content.octets = row.octets(kMessageColumns);
    content.in_file = message->in_file;
    content.body_size = message->body_size;
    content.checksum = message->checksum;
    Result<> sound = verify_body(files_, content);
    if (!sound || !content.in_file) return sound;
    Result<Taken> taken = take_spool_file(from_, files_, to_, body_path(id.text()));
    if (!taken) return fail(taken.error());
    return {};
  }

  /// What belongs to nothing goes, and is told; so is what only an index knows of.
  Result<> settle() {
    Result<> done = settle_recipients();
    if (done) done = settle_messages();
    if (done) done = settle_named();
    if (done) done = db_.run(WAYPOST_MARK_RECIPIENTS "; " WAYPOST_MARK_ASIDE);
    if (!done) return done;
    auto now =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch());
    Run times(db_, kMendTimes);
    times << static_cast<std::int64_t>(now.count());
    done = times.done();
    if (!done) return done;
    Run reserve(db_, kReserve);
    reserve << std::max(reserve_, highest_);
    done = reserve.done();
    if (!done) return done;
    for (auto [sql, into] : {std::pair{"SELECT count(*) FROM message", &report_.messages},
                             std::pair{"SELECT count(*) FROM recipient", &report_.recipients}}) {
      Result<std::int64_t> count = db_.value(sql);
      if (!count) return fail(count.error());
      *into = static_cast<std::uint64_t>(*count);
    }
    return {};
  }

  Result<> settle_recipients() {
    std::set<Id> drop;
    {
      Run row(db_, kWithoutMessage);
      Result<bool> found = row.step();
      for (; found && *found; found = row.step()) {
        Id id = id_of(row.integer(0));
        lost(id, "its message row is lost").recipients.push_back(escape(row.text(1), 300));
        drop.insert(id);
      }
      if (!found) return fail(found.error());
    }
    for (Id id : drop) {
      Run row(db_, kDropRecipients);
      row << number(id);
      Result<> done = row.done();
      if (!done) return done;
    }
    return {};
  }

  Result<> settle_messages() {
    std::vector<Id> drop;
    {
      Run row(db_, kWithoutRecipients);
      Result<bool> found = row.step();
      for (; found && *found; found = row.step()) {
        Id id = id_of(row.integer(0));
        // What an administrator removed is not brought back by this; where nothing else is known to have been there.
        if (row.integer(2) != 0 && !lacks_recipient(id))
          removed_.insert(row.integer(0));
        else
          lost(id, "the rows of its recipients are lost").reverse_path = escape(row.text(1), 300);
        drop.push_back(id);
      }
      if (!found) return fail(found.error());
    }
    for (Id id : drop)
      for (Sql sql : {kDropRecipients, kDropMessage}) {
        Run row(db_, sql);
        row << number(id);
        Result<> done = row.done();
        if (!done) return done;
      }
    return {};
  }

  /// True if an index names a recipient of it that was not seen as removed.
  bool lacks_recipient(Id message) const {
    for (auto named = named_recipients_.lower_bound({number(message), INT64_MIN});
         named != named_recipients_.end() && named->first == number(message); ++named)
      if (!removed_recipients_.contains(*named)) return true;
    return false;
  }

  Result<> settle_named() {
    for (std::int64_t id : named_) {
      highest_ = std::max(highest_, id);
      if (removed_.contains(id)) continue;
      Run row(db_, kThere);
      row << id;
      Result<bool> there = row.step();
      if (!there) return fail(there.error());
      if (!*there) lost(id_of(id), "its message row is lost");
    }
    for (const auto& [message, index] : named_recipients_) {
      if (removed_recipients_.contains({message, index})) continue;
      Run row(db_, kRecipientThere);
      row << message << index;
      Result<bool> there = row.step();
      if (!there) return fail(there.error());
      if (!*there) lost(id_of(message), "the row of recipient " + std::to_string(index) + " is lost");
    }
    return {};
  }

  std::string from_;
  Files& files_;
  PageFile& pages_;
  NewFolder& to_;
  Database& db_;
  SalvageReport report_;
  std::unordered_map<std::int64_t, std::string> names_;  // of destinations
  std::set<std::int64_t> named_;                         // messages that an index names
  std::set<std::int64_t> removed_;                       // messages that an administrator removed
  std::set<std::pair<std::int64_t, std::int64_t>> named_recipients_, removed_recipients_;
  std::map<std::uint64_t, SalvageReport::Lost> lost_;
  std::int64_t reserve_ = 0, highest_ = 0;
};

/// It is thrown away if it is not finished, and synced when it is.
Result<Database> make_queue(const std::string& path) {
  Result<> made = make_private_file(path);
  if (!made) return fail(made.error());
  Result<Database> db = Database::open(path, "", Database::Mode::read_write);
  if (!db) return db;
  Result<> set = db->run(
      "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA locking_mode=EXCLUSIVE; PRAGMA "
      "journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16384");
  if (!set) return fail(set.error());
  Result<> ready = bring_up_to_date(*db, kQueueSchema, [](int) { return Result<>(); });
  if (!ready) return fail(ready.error());
  return db;
}

}  // namespace

Result<SalvageReport> salvage(const std::string& data_dir, const std::string& path) {
  bool in_place = path.empty();
  Result<std::string> own = real_folder(data_dir);
  if (!own) return fail(own.error());
  Result<FolderLock> lock = in_place ? FolderLock::exclusive(*own) : FolderLock::shared(*own);
  if (!lock) return fail(lock.error());
  if (in_place) {
    Result<> ready = give_to_owner_of(*own, *own + "/lock");
    if (ready) ready = finish_replacements(*own);
    if (!ready) return fail(ready.error());
  }
  Result<std::unique_ptr<Files>> files = open_files(*own);
  if (!files) return fail(files.error());
  Result<PageFile> pages = PageFile::open(**files, "queue.db");
  if (!pages) return fail(pages.error());
  Result<NewFolder> folder = in_place ? make_replacement(*own, "damaged") : NewFolder::make(path);
  if (!folder) return fail(folder.error());
  Result<SalvageReport> report;
  {
    Result<Database> db = make_queue(folder->path() + "/queue.db");
    if (!db) return fail(db.error());
    report = Salvage(*own, **files, *pages, *folder, *db).run();
  }
  if (!report) return report;
  report->folder = in_place ? *own : folder->final_path();
  if (in_place) {
    Result<std::string> kept = replace_queue(*own, *std::move(folder));
    if (!kept) return fail(kept.error());
    report->kept = *std::move(kept);
    return report;
  }
  Result<> done = folder->done(*own);
  if (!done) return fail(done.error());
  return report;
}

}  // namespace waypost::queue
