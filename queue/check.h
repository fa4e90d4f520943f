// queue/check.h: whether a queue is sound: the trees of queue.db, the sums of its rows, every body. Reads alone.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "queue/files.h"
#include "queue/id.h"
#include "queue/sqlite.h"

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

/// Of a database that nobody writes, with the spool files of `files`. Blocks: it reads all of both. Files of ids above
/// `settled` are not left over: their mail may be coming in.
/// Errors: as Files::list(). Damage is no error.
Result<CheckReport> check_database(Database& db, Files& files, std::optional<Id> settled);

/// A data folder, or a backup, that no daemon uses. Errors: busy (a daemon has it), not_found, denied, unsupported
/// (another version's).
Result<CheckReport> check_folder(const std::string& data_dir);

}  // namespace waypost::queue
