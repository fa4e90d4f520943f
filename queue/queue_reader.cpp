// queue/queue_reader.cpp: queue.db while no daemon runs.
#include <map>
#include <optional>
#include <utility>

#include <sys/stat.h>

#include "base/escape.h"
#include "queue/change_operations.h"
#include "queue/destination_operations.h"
#include "queue/lock.h"
#include "queue/reading.h"
#include "queue/schema.h"
#include "queue/sqlite_queue.h"
#include "queue/sqlite_store.h"
#include "queue/store_core.h"

namespace waypost::queue {
namespace {

class Reader : public QueueReader {
 public:
  Reader(FolderLock lock, Database db) : lock_(std::move(lock)), db_(std::move(db)) {}

  Result<Listing> list(const Filter& filter, std::optional<Id> after, std::size_t limit, WallTime now) override {
    Conditions conditions = conditions_of(filter, now);
    Listing listing;
    Id from = after.value_or(Id{});
    while (listing.messages.size() < limit) {
      Result<Slice> slice = next_slice(db_, filter, from);
      if (!slice) return fail(slice.error());
      Result<std::vector<MessageRow>> found = list_slice(db_, conditions, *slice, limit - listing.messages.size());
      if (!found) return fail(found.error());
      for (MessageRow& message : *found) listing.messages.push_back(std::move(message));
      if (listing.messages.size() >= limit) break;
      if (slice->last) return listing;
      from = slice->upto;
    }
    if (!listing.messages.empty()) listing.resume = listing.messages.back().info.id;
    return listing;
  }

  Result<Counts> count(const Filter& filter, WallTime now) override {
    Conditions conditions = conditions_of(filter, now);
    Counts counts;
    Id from;
    while (true) {
      Result<Slice> slice = next_slice(db_, filter, from, kSliceToCount);
      if (!slice) return fail(slice.error());
      Result<> done = count_slice(db_, conditions, *slice, now, counts);
      if (!done) return fail(done.error());
      if (slice->last) return counts;
      from = slice->upto;
    }
  }

  Result<Groups> group(const Filter& filter, GroupBy by, std::size_t limit, WallTime now) override {
    Conditions conditions = conditions_of(filter, now);
    Grouping grouping(by, now);
    Id from;
    while (true) {
      Result<Slice> slice = next_slice(db_, filter, from, kSliceToCount);
      if (!slice) return fail(slice.error());
      Result<> done = group_slice(db_, conditions, *slice, grouping);
      if (!done) return fail(done.error());
      if (slice->last) return grouping.largest(limit);
      from = slice->upto;
    }
  }

  Result<std::shared_ptr<const Content>> content(Id id) override { return read_content(db_, id); }

  Result<std::vector<DestinationRow>> destinations(std::string name, bool count, WallTime now) override {
    if (!name.empty()) {
      DestinationOperation one(std::move(name));
      Result<> done = one.apply(db_);
      if (!done) return fail(done.error());
      return std::move(one.rows);
    }
    std::map<std::string, DestinationRow> all;
    for (std::int64_t after = 0;;) {
      DestinationsOperation slice(after, count, now);
      Result<> done = slice.apply(db_);
      if (!done) return fail(done.error());
      gather(all, std::move(slice.rows));
      if (slice.last) return by_name(std::move(all));
      after = slice.upto;
    }
  }

  Result<std::vector<ChangeRecord>> changes(std::uint64_t before, std::size_t limit) override {
    ChangesOperation operation(before, limit);
    Result<> done = operation.apply(db_);
    if (!done) return fail(done.error());
    return std::move(operation.changes);
  }

 private:
  FolderLock lock_;
  Database db_;
};

}  // namespace

bool has_wal(const std::string& path) {
  struct stat wal {};
  return ::stat((path + "-wal").c_str(), &wal) == 0 && wal.st_size > 0;
}

Result<> check_wal(const std::string& path) {
  if (has_wal(path)) return {};
  Result<Database> db = open_to_read(path);
  if (!db || !StoreCore::is_marked_open(*db)) return {};
  return fail(Errc::damaged, escape(path) +
                                 "-wal is missing, which has the newest mail: this is a copy of a queue in "
                                 "use that was made without it, or it was taken away. Where another program had "
                                 "opened the queue after the daemon was killed, such as sqlite3, nothing is missing");
}

Result<Database> open_to_read(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return fail(Errc::not_found, escape(path) + " is not there");

  // Nothing beside the file: it is read as it is. SQLite takes no lock then and makes no file.
  if (!has_wal(path)) {
    std::string uri = "file:";
    for (char c : path) {
      constexpr char kHex[] = "0123456789ABCDEF";
      bool plain = c != '%' && c != '?' && c != '#';
      auto octet = static_cast<unsigned char>(c);
      uri += plain ? std::string(1, c) : std::string{'%', kHex[octet >> 4], kHex[octet & 15]};
    }
    return Database::open(uri + "?immutable=1", "", Database::Mode::read_only);
  }

  // What a killed daemon left: the WAL has the newest pages. Its index is built in memory (exclusive mode, hence no
  // -shm file is made), with a VFS without locks, since a lock to write cannot be had on a file that is opened to read.
  // Ours on the folder keeps daemons out. Closing moves nothing: the next daemon does that.
  Result<Database> db = Database::open(path, "unix-none", Database::Mode::read_only);
  if (!db) return db;
  db->abandon();
  Result<> exclusive = db->run("PRAGMA locking_mode=EXCLUSIVE");
  if (!exclusive) return fail(exclusive.error());
  return db;
}

Result<std::unique_ptr<QueueReader>> QueueReader::open(const std::string& data_dir) {
  Result<std::string> folder = real_folder(data_dir);
  if (!folder) return fail(folder.error());
  Result<FolderLock> lock = FolderLock::shared(*folder);
  if (!lock) return fail(lock.error());
  Result<Database> db = open_to_read(*folder + "/queue.db");
  if (!db) return fail(db.error());
  Result<> ours = check_version(*db, kQueueSchema);
  if (!ours) return fail(ours.error());
  return std::make_unique<Reader>(*std::move(lock), *std::move(db));
}

}  // namespace waypost::queue
