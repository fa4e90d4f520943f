// queue/sqlite.h: SQLite's C interface behind Results. Nothing of it is seen outside queue/. One thread at a time.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/result.h"

struct sqlite3;
struct sqlite3_backup;
struct sqlite3_stmt;

namespace waypost::queue {

/// The text of a statement that is prepared once and kept: a constant, told from others by its address.
struct Sql {
  const char* text;
};

/// One connection, with its prepared statements.
class Database {
 public:
  enum class Mode { read_write, read_only };
  /// Before anything of the process uses SQLite, if it is to be quick: nobody asks how much memory it has, and to count
  /// that takes a lock for each piece.
  static void prepare_library();
  /// `vfs`: "" for the default one. The file is made where it is missing (read_write).
  /// Errors of all below: full, io, damaged, busy (in use, or out of memory), denied, not_found, too_big, internal.
  static Result<Database> open(const std::string& path, const std::string& vfs, Mode mode);
  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();  ///< closes; of a database in WAL mode SQLite makes a checkpoint then, unless abandon() was called

  /// One or several statements without values or rows, not kept.
  Result<> run(const char* sql);
  /// The first column of the first row of a statement without values; 0 if there is none.
  Result<std::int64_t> value(const char* sql);

  bool in_transaction() const;
  /// Rolls back what was begun; that there is nothing, or that it fails, is no error.
  void roll_back();
  std::int64_t last_rowid() const;
  std::int64_t changed_rows() const;  ///< by the last statement

  struct Checkpointed {
    int wal_pages = 0;
    int moved = 0;  ///< of these
  };
  /// Moves pages from the WAL to the database file, as far as it goes without waiting.
  Result<Checkpointed> checkpoint();
  /// `on_commit(pages in the WAL)` after each commit. Replaces SQLite's own checkpoints.
  void watch_wal(std::function<void(int)> on_commit);
  /// Once the WAL is open: the pages of a commit are written together, and none before it. For connections that lock
  /// the file and sync each commit (queue/wal_writes.h).
  Result<> gather_wal_writes();
  /// `name(id, ...)` for triggers of this connection: of so many integers, whose place is given, and without a result.
  Result<> add_function(const char* name, int arguments, std::function<void(const std::int64_t*)> call);
  /// From any thread: the statement that runs ends with an error soon.
  void interrupt();
  /// No checkpoint when it is closed: what is in the WAL stays there.
  void abandon();
  void checkpoint_on_close();  ///< as at the beginning

 private:
  friend class Run;
  friend class PageCopy;
  struct Closer {
    void operator()(sqlite3* db) const;
  };
  struct Finisher {
    void operator()(sqlite3_stmt* statement) const;
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Finisher>;
  explicit Database(sqlite3* db);
  Result<sqlite3_stmt*> kept(Sql sql);
  Result<Statement> prepare(std::string_view sql, bool persistent);
  tl::unexpected<Error> error(int code, std::string_view doing) const;

  std::unique_ptr<sqlite3, Closer> db_;
  std::unique_ptr<std::function<void(int)>> on_commit_;
  std::unordered_map<const char*, Statement> statements_;  // destroyed before db_
};

/// One execution of a statement. Values are bound in order, or by number with at(); texts must live as long as this
/// does. An error in between is told by the next step() or done().
///
///     Run row(db, kFind);
///     row << id;
///     Result<bool> found = row.step();
class Run {
 public:
  Run(Database& db, Sql sql);
  /// Not kept. `sql` is made of fixed pieces: no value is ever written into it.
  Run(Database& db, const std::string& sql);
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run();

  Run& operator<<(std::int64_t value);
  Run& operator<<(std::uint64_t value) { return *this << static_cast<std::int64_t>(value); }
  Run& operator<<(std::uint32_t value) { return *this << static_cast<std::int64_t>(value); }
  Run& operator<<(int value) { return *this << static_cast<std::int64_t>(value); }
  Run& operator<<(bool value) { return *this << static_cast<std::int64_t>(value); }
  Run& operator<<(std::string_view value);
  Run& operator<<(const std::string& value) { return *this << std::string_view(value); }
  Run& operator<<(const char* value) { return *this << std::string_view(value); }
  Run& null();
  Run& blob(std::string_view octets);
  /// The number of the value that comes next (1 is the first).
  Run& at(int number);

  /// True while there is a row.
  Result<bool> step();
  /// Runs it to its end.
  Result<> done();

  std::int64_t integer(int column) const;
  std::string_view text(int column) const;  ///< until the next step
  std::string_view octets(int column) const;
  bool is_null(int column) const;
  /// Rows that were passed over without an index, and steps of SQLite's machine: for tests.
  int full_scan_steps() const;
  int machine_steps() const;

 private:
  Database& db_;
  Database::Statement own_;
  sqlite3_stmt* statement_ = nullptr;
  std::optional<Error> failed_;
  int next_ = 1;
};

/// A copy of a whole database into an empty one, some pages at a time. What `from` writes in between goes into the copy
/// as well, so that it is of the moment of the last step. Both outlive it.
class PageCopy {
 public:
  static Result<PageCopy> begin(Database& from, Database& to);
  PageCopy(PageCopy&&) noexcept;
  ~PageCopy();

  /// True while there is more. Not within a transaction.
  Result<bool> step(int pages);

 private:
  struct Finisher {
    void operator()(sqlite3_backup* backup) const;
  };
  explicit PageCopy(sqlite3_backup* backup);
  std::unique_ptr<sqlite3_backup, Finisher> backup_;
};

/// A transaction that is rolled back unless it was committed.
class Transaction {
 public:
  explicit Transaction(Database& db) : db_(db) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() { db_.roll_back(); }
  Result<> begin();
  Result<> commit();

 private:
  Database& db_;
};

}  // namespace waypost::queue
