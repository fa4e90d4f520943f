// conf/table.h: a table of an SQLite database where a file of names could stand: `sqlite:/path/of/database`. Read
// whole, by one statement, never written to. Blocks. One thread at a time.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

struct sqlite3;

namespace waypost::conf {

/// The path of the database; nullopt where `value` is a file's.
std::optional<std::string> database_path(const std::string& value);
/// The absolute path of a file, or `sqlite:` before that of a database.
Result<std::string> parse_file_or_database(const std::string& text);

/// What is read, of tables or views. Those with a ?1 are of one domain.
constexpr const char* kUsersQuery = "SELECT name, password, scram, senders FROM users ORDER BY name";
constexpr const char* kRecipientsQuery = "SELECT name FROM recipients WHERE domain = ?1 COLLATE NOCASE ORDER BY name";
constexpr const char* kAliasesQuery =
    "SELECT name, target FROM aliases WHERE domain = ?1 COLLATE NOCASE ORDER BY name, target";
constexpr const char* kRelocatedQuery =
    "SELECT name, target FROM relocated WHERE domain = ?1 COLLATE NOCASE ORDER BY name, target";

using TableRow = std::vector<std::string>;  ///< NULL as ""

class Database {
 public:
  static constexpr std::size_t kMostOctets = 64UL << 20;  ///< of what one statement brings

  /// `patience`: how long a lock of another program is waited for, here and later. `longest`: how long a statement may
  /// take: a view can compute without end.
  /// Errors of all below: not_found, denied, busy (locked), timed_out (`longest`), damaged (also: no database), invalid
  /// (no such table or column), too_big, io.
  static Result<Database> open(const std::string& path, std::chrono::milliseconds patience,
                               std::chrono::milliseconds longest);

  /// Another number once someone has changed the database since; comparable while this is open.
  Result<std::int64_t> version();
  Result<std::vector<TableRow>> rows(const char* query, const std::string& domain = "");

 private:
  struct Closer {
    void operator()(sqlite3* db) const;
  };
  Database(sqlite3* db, std::chrono::milliseconds longest) : db_(db), longest_(longest) {}
  tl::unexpected<Error> error(int code) const;

  std::unique_ptr<sqlite3, Closer> db_;
  std::chrono::milliseconds longest_;
};

/// What to do about an error of these, in a few words; `query` is one of the above.
std::string advice(Errc code, const char* query);

}  // namespace waypost::conf
