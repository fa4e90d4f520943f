// queue/wal_writes.h: what SQLite puts into a WAL piece by piece, written at once. The connection's thread.
#pragma once
#include <array>

#include <sqlite3.h>

namespace waypost::queue {

/// Stands between SQLite and the WAL of one connection. SQLite writes each page of a transaction in two pieces, one
/// behind the other: they are gathered here, and go to the file before anything else is done with it. So a commit that
/// syncs is a few writes and its sync; an error of the writes is told by that sync, and then nothing of what was
/// gathered is kept. It is for connections alone that sync each commit (synchronous=FULL), lock the file
/// (locking_mode=EXCLUSIVE: no other finds in it what is gathered) and write nothing before the commit
/// (cache_spill=OFF: an error that a later read told would be taken for that read's).
class WalWrites {
 public:
  /// `wal` is open. What stands between goes with its closing.
  static void gather(sqlite3_file& wal);
  WalWrites(const WalWrites&) = delete;
  WalWrites& operator=(const WalWrites&) = delete;

 private:
  explicit WalWrites(const sqlite3_io_methods* beneath);
  static WalWrites& of(sqlite3_file* wal);
  template <auto kMethod, class... Rest>
  static int after_flush(sqlite3_file* wal, Rest... rest);
  int write(sqlite3_file* wal, const void* octets, int size, sqlite3_int64 offset);
  int flush(sqlite3_file* wal);

  static constexpr int kMost = 128 << 10;  // SQLite's largest page is half of it
  sqlite3_io_methods methods_;             // the first member: a file knows this by it
  const sqlite3_io_methods* beneath_;
  sqlite3_int64 offset_ = 0;  // where in the file the gathered octets belong
  int gathered_ = 0;
  std::array<char, kMost> octets_;
};

}  // namespace waypost::queue
