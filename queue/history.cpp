// queue/history.cpp
#include "queue/history.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "base/event_log.h"
#include "base/thread_name.h"
#include "queue/files.h"
#include "queue/filter_sql.h"
#include "queue/lock.h"
#include "queue/rows.h"
#include "queue/schema.h"
#include "queue/sqlite_queue.h"

namespace waypost::queue {
namespace {

constexpr Sql kInsert{
    "INSERT INTO event(message, time, kind, sender, recipient, host, status, text, message_id, size, next_attempt, "
    "other, tls) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"};
// By its own time, and in the order of the index on it: some thousand at a time.
constexpr Sql kSweep{"DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE time < ?1 ORDER BY time LIMIT 2000)"};

constexpr std::size_t kWaitingEvents = 100'000;
constexpr std::size_t kBatch = 5'000;
constexpr std::chrono::milliseconds kGather{200};
constexpr std::chrono::minutes kSweepEvery{10};

using Kind = HistoryEvent::Kind;

Result<> insert(Database& db, const HistoryEvent& event) {
  Run row(db, kInsert);
  row << number(event.message) << millis(event.time) << static_cast<int>(event.kind) << event.from << event.recipient
      << event.host << event.status << event.text << event.message_id << event.size;
  if (event.next_attempt)
    row << millis(*event.next_attempt);
  else
    row.null();
  if (event.other)
    row << number(*event.other);
  else
    row.null();
  row << event.tls;
  return row.done();
}

Result<HistoryEvent> read(const Run& row) {
  HistoryEvent event;
  event.message = id_of(row.integer(0));
  event.time = wall_time(row.integer(1));
  std::int64_t kind = row.integer(2);
  if (kind < 0 || kind > static_cast<int>(Kind::restored))
    return fail(Errc::damaged, "history.db has an event of kind " + std::to_string(kind));
  event.kind = static_cast<Kind>(kind);
  event.from = row.text(3);
  event.recipient = row.text(4);
  event.host = row.text(5);
  event.status = row.text(6);
  event.text = row.text(7);
  event.message_id = row.text(8);
  event.size = static_cast<std::uint64_t>(row.integer(9));
  if (!row.is_null(10)) event.next_attempt = wall_time(row.integer(10));
  if (!row.is_null(11)) event.other = id_of(row.integer(11));
  event.tls = row.text(12);
  return event;
}

/// The statement that finds the messages, newest first, from fixed pieces; the values are bound by bind_query().
std::string find_statement(const HistoryQuery& query) {
  std::string sql = "SELECT DISTINCT e.message FROM event e WHERE 1";
  if (query.id) sql += " AND e.message = ?1";
  if (query.since) sql += " AND e.time >= ?2";
  if (!query.message_id.empty()) {
    // So that the partial index serves, the condition on it is written out.
    sql += " AND e.message IN (SELECT message FROM event WHERE message_id = ?3 AND message_id <> '')";
  }
  if (!query.from.empty()) {
    sql += query.from == "<>"
               ? " AND EXISTS (SELECT 1 FROM event f WHERE f.message = e.message AND f.kind = 0 AND f.sender = '')"
               : " AND EXISTS (SELECT 1 FROM event f WHERE f.message = e.message AND f.kind = 0 AND "
                 "f.sender LIKE ?4 ESCAPE '\\')";
  }
  if (!query.to.empty())
    sql += " AND EXISTS (SELECT 1 FROM event t WHERE t.message = e.message AND t.recipient LIKE ?5 ESCAPE '\\')";
  return sql + " ORDER BY e.message DESC LIMIT ?6";
}

Result<std::vector<Id>> find_messages(Database& db, const HistoryQuery& query) {
  if (matches_nothing(query.from) || matches_nothing(query.to)) return std::vector<Id>();
  std::string from = like_pattern(query.from), to = like_pattern(query.to);
  Run row(db, find_statement(query));
  if (query.id) row.at(1) << number(*query.id);
  if (query.since) row.at(2) << millis(*query.since);
  if (!query.message_id.empty()) row.at(3) << query.message_id;
  if (!query.from.empty() && query.from != "<>") row.at(4) << from;
  if (!query.to.empty()) row.at(5) << to;
  row.at(6) << static_cast<std::int64_t>(query.limit);
  std::vector<Id> out;
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) out.push_back(id_of(row.integer(0)));
  if (!found) return fail(found.error());
  std::reverse(out.begin(), out.end());
  return out;
}

Result<std::vector<HistoryEvent>> find_events(Database& db, const HistoryQuery& query) {
  Result<std::vector<Id>> messages = find_messages(db, query);
  if (!messages) return fail(messages.error());
  constexpr Sql kEvents{
      "SELECT message, time, kind, sender, recipient, host, status, text, message_id, size, next_attempt, other, "
      "tls FROM event WHERE message = ?1 ORDER BY time, seq"};
  std::vector<HistoryEvent> out;
  for (Id message : *messages) {
    Run row(db, kEvents);
    row << number(message);
    Result<bool> found = row.step();
    for (; found && *found; found = row.step()) {
      Result<HistoryEvent> event = read(row);
      if (!event) return fail(event.error());
      out.push_back(*std::move(event));
    }
    if (!found) return fail(found.error());
  }
  return out;
}

/// Events wait in memory; a thread of its own writes them, so that nothing on the mail path waits for this file.
class Writer : public History {
 public:
  Writer(Database db, std::chrono::seconds keep) : db_(std::move(db)), keep_(keep) {
    thread_ = std::thread([this] {
      name_thread("history");
      run();
    });
  }

  ~Writer() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    thread_.join();
    std::lock_guard using_db(db_mutex_);
    write_waiting();
  }

  void add(HistoryEvent event) override {
    bool wake = false;
    {
      std::lock_guard lock(mutex_);
      if (waiting_.size() >= kWaitingEvents) {
        dropped_ += 1;
        return;
      }
      waiting_.push_back(std::move(event));
      wake = std::exchange(asleep_, false);
    }
    if (wake) wake_.notify_one();
  }

  Result<std::vector<HistoryEvent>> find(const HistoryQuery& query) override {
    std::lock_guard using_db(db_mutex_);
    write_waiting();
    return find_events(db_, query);
  }

  std::uint64_t dropped() const override {
    std::lock_guard lock(mutex_);
    return dropped_;
  }

 private:
  void run() noexcept {
    auto next_sweep = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      if (waiting_.empty()) {
        asleep_ = true;
        wake_.wait_until(lock, next_sweep, [this] { return stopping_ || !waiting_.empty(); });
        asleep_ = false;
      }
      // What comes within a moment is written together.
      if (!stopping_) wake_.wait_for(lock, kGather, [this] { return stopping_; });
      lock.unlock();
      {
        std::lock_guard using_db(db_mutex_);
        write_waiting();
      }
      if (std::chrono::steady_clock::now() >= next_sweep && sweep())
        next_sweep = std::chrono::steady_clock::now() + kSweepEvery;
      lock.lock();
    }
  }

  /// With db_mutex_ held.
  void write_waiting() {
    while (true) {
      std::vector<HistoryEvent> batch;
      {
        std::lock_guard lock(mutex_);
        std::size_t count = std::min(waiting_.size(), kBatch);
        auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(count);
        batch.assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
        waiting_.erase(waiting_.begin(), end);
      }
      if (batch.empty()) return;
      Result<> written = write(batch);
      if (written) continue;
      // Mail goes on without its history (RELIABILITY F57); that it does is said once, until it works again.
      if (!failing_) log::failure("history.db: " + written.error().what);
      failing_ = true;
      std::lock_guard lock(mutex_);
      dropped_ += batch.size();
    }
  }

  Result<> write(const std::vector<HistoryEvent>& batch) {
    Transaction transaction(db_);
    Result<> done = transaction.begin();
    for (std::size_t i = 0; done && i < batch.size(); ++i) done = insert(db_, batch[i]);
    if (done) done = transaction.commit();
    if (done) failing_ = false;
    return done;
  }

  /// True when nothing too old is left, or nothing more can be done about it.
  bool sweep() {
    std::lock_guard using_db(db_mutex_);
    auto now = std::chrono::floor<net::Duration>(std::chrono::system_clock::now());
    Run row(db_, kSweep);
    row << millis(now - keep_);
    Result<> done = row.done();
    if (!done || db_.changed_rows() > 0) return !done;
    Result<> shrunk = db_.run("PRAGMA incremental_vacuum(1024)");
    (void)shrunk;
    return true;
  }

  std::mutex db_mutex_;  // a search and the writer take turns
  Database db_;
  bool failing_ = false;
  std::chrono::seconds keep_;

  mutable std::mutex mutex_;  // of what is below: adding never waits for the disk
  std::condition_variable wake_;
  std::deque<HistoryEvent> waiting_;
  std::uint64_t dropped_ = 0;
  bool asleep_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

class ReadOnly : public History {
 public:
  ReadOnly(FolderLock lock, Database db) : lock_(std::move(lock)), db_(std::move(db)) {}
  void add(HistoryEvent) override {}
  Result<std::vector<HistoryEvent>> find(const HistoryQuery& query) override {
    std::lock_guard lock(mutex_);
    return find_events(db_, query);
  }
  std::uint64_t dropped() const override { return 0; }

 private:
  FolderLock lock_;
  std::mutex mutex_;
  Database db_;
};

struct Place {
  std::string folder;  ///< without symbolic links
  std::string name;
  std::string path;
};
Result<Place> place_of(const std::string& path) {
  std::size_t slash = path.rfind('/');
  Result<std::string> folder = real_folder(slash == std::string::npos ? "." : path.substr(0, slash));
  if (!folder) return fail(folder.error());
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  return Place{*folder, name, *folder + "/" + name};
}

}  // namespace

Result<std::unique_ptr<History>> open_history(const std::string& path, std::chrono::seconds keep) {
  Result<Place> place = place_of(path);
  if (!place) return fail(place.error());
  Result<> made = make_private_file(place->path);
  if (!made) return fail(made.error());
  Result<Database> db = Database::open(place->path, "", Database::Mode::read_write);
  if (!db) return fail(db.error());
  Result<> ours = take_over(*db, kHistorySchema);
  if (!ours) return fail(ours.error());
  Result<> configured = configure(*db, kHistorySettings);
  if (!configured) return fail(configured.error());
  Result<std::unique_ptr<Files>> files = open_folder(place->folder, false);
  if (!files) return fail(files.error());
  auto copy = [&](int from) {
    return copy_database(*db, **files, place->folder, place->name + ".v" + std::to_string(from));
  };
  Result<> ready = bring_up_to_date(*db, kHistorySchema, copy);
  if (!ready) return fail(ready.error());
  return std::make_unique<Writer>(*std::move(db), keep);
}

Result<std::unique_ptr<History>> open_history_read_only(const std::string& path) {
  Result<Place> place = place_of(path);
  if (!place) return fail(place.error());
  Result<FolderLock> lock = FolderLock::shared(place->folder);
  if (!lock) return fail(lock.error());
  Result<Database> db = open_to_read(place->path);
  if (!db) return fail(db.error());
  Result<> ours = check_version(*db, kHistorySchema);
  if (!ours) return fail(ours.error());
  return std::make_unique<ReadOnly>(*std::move(lock), *std::move(db));
}

}  // namespace waypost::queue
