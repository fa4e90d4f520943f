// tests/support/sqlite_file.h: another program at an SQLite database: makes it, changes it, holds it locked.
#pragma once
#include <string>

#include <doctest/doctest.h>
#include <sqlite3.h>

namespace waypost::tests {

class SqliteFile {
 public:
  explicit SqliteFile(const std::string& path) { REQUIRE(sqlite3_open(path.c_str(), &db_) == SQLITE_OK); }
  ~SqliteFile() { sqlite3_close(db_); }
  SqliteFile(const SqliteFile&) = delete;
  SqliteFile& operator=(const SqliteFile&) = delete;

  void run(const std::string& sql) const {
    CAPTURE(sql);
    REQUIRE(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  }

 private:
  sqlite3* db_ = nullptr;
};

}  // namespace waypost::tests
