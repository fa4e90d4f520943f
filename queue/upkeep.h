// queue/upkeep.h: what a check and a backup of the queue tell, and both of a queue that no daemon uses. No SQLite here.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "queue/id.h"
#include "queue/progress.h"
#include "queue/totals.h"

namespace waypost::queue {

/// Something that is wrong.
struct Finding {
  enum class Kind : std::uint8_t {
    database,     ///< the file itself, its trees and indexes; or its WAL is missing
    message,      ///< the row of a message
    recipient,    ///< of a recipient: damaged, or without its message
    destination,  ///< that a recipient waits for, and that is not there
    body,         ///< within queue.db
    spool,        ///< a spool file: missing, of another size, damaged
  };
  Kind kind = Kind::database;
  Id message;  ///< 0: of none
  std::string text;
};
std::string_view to_text(Finding::Kind kind);

struct CheckReport {
  static constexpr std::size_t kMaxFindings = 1000;

  std::uint64_t messages = 0, recipients = 0, destinations = 0;
  std::uint64_t octets = 0;  ///< of the bodies that were read
  std::uint64_t spool_files = 0;
  std::uint64_t left_over = 0;    ///< spool files that no row names: no damage, a start of the daemon removes them
  std::vector<Finding> findings;  ///< the first of them
  std::uint64_t found = 0;        ///< all of them
  void add(Finding::Kind kind, Id message, std::string text);
};

struct BackupReport {
  std::string folder;
  std::uint64_t messages = 0, recipients = 0;
  std::uint64_t spool_files = 0;
  std::uint64_t copied = 0;   ///< of these; the others are links to the same file
  std::uint64_t missing = 0;  ///< spool files that were not there: damage of the queue, not of the backup
  std::uint64_t pages = 0;    ///< of queue.db
  std::uint64_t slices = 0;   ///< in which these were copied
  std::chrono::microseconds longest_slice{0};  ///< for so long commits waited at most
};

/// How much is in the queue's files. The database's and the files' figures are of nearly one moment.
struct StoreStats {
  int version = 0;  ///< of its schema
  std::uint64_t database_octets = 0, wal_octets = 0, history_octets = 0;
  std::uint64_t pages = 0, free_pages = 0;  ///< of queue.db; free: given back by a vacuum, or used again
  std::uint64_t spool_files = 0, spool_octets = 0;
  std::uint64_t destinations = 0;  ///< and sites
  /// How much waits; nullopt: the running daemon still counts the rows, ask again.
  std::optional<Totals> totals;
};

struct VacuumReport {
  static constexpr std::uint64_t kPage = 4096;  ///< octets of a page
  std::uint64_t pages = 0;                      ///< that went back to the file system
  std::uint64_t left = 0;                       ///< free pages that are still there
};

/// While no daemon runs. Errors: as check_folder().
Result<StoreStats> stats_of_folder(const std::string& data_dir);

/// While no daemon runs; queue/vacuum.h. A crash leaves the queue as it was, or smaller. Blocks.
/// Errors: busy (a daemon has it), not_found, denied, damaged, full, unsupported (another version's).
Result<VacuumReport> vacuum_folder(const std::string& data_dir);

/// Versions of the schemas; 0: there is no such file.
struct Versions {
  int queue = 0, newest_queue = 0;
  int history = 0, newest_history = 0;
  bool is_newest() const { return queue == newest_queue && (history == 0 || history == newest_history); }
};
/// Of a data folder that no daemon uses. Errors: busy, not_found, denied, damaged, unsupported (a newer Waypost's).
Result<Versions> versions_of_folder(const std::string& data_dir);
/// What a start of the daemon does first: brings queue.db, and history.db if there is one, to the newest version.
/// Errors: those of versions_of_folder(); full, io.
Result<> migrate_folder(const std::string& data_dir);

/// A data folder, or a backup, that no daemon uses. Errors: busy (a daemon has it), not_found, denied, unsupported
/// (another version's), cancelled.
Result<CheckReport> check_folder(const std::string& data_dir, const Watched& progress = nullptr);

/// A data folder that no daemon uses, of this version or an older one. Blocks. Errors: as SqliteQueue::back_up(); busy:
/// a daemon has it.
Result<BackupReport> back_up_folder(const std::string& data_dir, const std::string& folder,
                                    const Watched& progress = nullptr);

}  // namespace waypost::queue
