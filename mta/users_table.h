// mta/users_table.h: those who may log in, in a table of an SQLite database (conf/table.h). Blocks; one thread at a
// time.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "conf/table.h"
#include "mta/users.h"
#include "mta/users_file.h"

namespace waypost::mta {

/// A database that stays open, since only its reader can tell whether it was changed.
class UsersTable {
 public:
  explicit UsersTable(std::string database) : database_(std::move(database)) {}
  /// The users, if the database was changed or replaced since the last call that told some; nullopt: it was not.
  /// Errors: those of conf::Database; the next call tries again.
  Result<std::optional<ParsedUsers>> read_if_changed();

 private:
  Result<std::optional<ParsedUsers>> in_trouble(const Error& error);
  const std::string database_;
  std::optional<conf::Database> open_;
  std::optional<FileStamp> stamp_;  // of the file that is open
  std::optional<std::int64_t> version_;
};

}  // namespace waypost::mta
