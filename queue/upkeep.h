// queue/upkeep.h: what a check and a backup of the queue tell, and both of a queue that no daemon uses. No SQLite here.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "queue/id.h"

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

/// A data folder, or a backup, that no daemon uses. Errors: busy (a daemon has it), not_found, denied, unsupported
/// (another version's).
Result<CheckReport> check_folder(const std::string& data_dir);

/// A data folder that no daemon uses. Blocks. Errors: as SqliteQueue::back_up(); busy: a daemon has it.
Result<BackupReport> back_up_folder(const std::string& data_dir, const std::string& folder);

}  // namespace waypost::queue
