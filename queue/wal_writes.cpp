// queue/wal_writes.cpp
#include "queue/wal_writes.h"

#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

namespace waypost::queue {

static_assert(std::is_standard_layout_v<WalWrites>);

template <auto kMethod, class... Rest>
int WalWrites::after_flush(sqlite3_file* wal, Rest... rest) {
  const int code = of(wal).flush(wal);
  return code != SQLITE_OK ? code : (of(wal).beneath_->*kMethod)(wal, rest...);
}

void WalWrites::gather(sqlite3_file& wal) {
  wal.pMethods = &(new WalWrites(wal.pMethods))->methods_;
}

WalWrites::WalWrites(const sqlite3_io_methods* beneath) : methods_(*beneath), beneath_(beneath) {
  methods_.iVersion = 1;  // a WAL has neither shared memory nor is it mapped
  methods_.xWrite = [](sqlite3_file* file, const void* octets, int size, sqlite3_int64 offset) {
    return of(file).write(file, octets, size, offset);
  };
  methods_.xRead = after_flush<&sqlite3_io_methods::xRead>;
  methods_.xTruncate = after_flush<&sqlite3_io_methods::xTruncate>;
  methods_.xSync = after_flush<&sqlite3_io_methods::xSync>;
  methods_.xFileSize = after_flush<&sqlite3_io_methods::xFileSize>;
  methods_.xClose = [](sqlite3_file* file) {
    // What is gathered still was never committed.
    const std::unique_ptr<WalWrites> mine(&of(file));
    file->pMethods = mine->beneath_;
    return file->pMethods->xClose(file);
  };
}

WalWrites& WalWrites::of(sqlite3_file* wal) {
  return *reinterpret_cast<WalWrites*>(const_cast<sqlite3_io_methods*>(wal->pMethods));
}

int WalWrites::write(sqlite3_file* wal, const void* octets, int size, sqlite3_int64 offset) {
  if (offset != offset_ + gathered_ || size > kMost - gathered_) {
    const int code = flush(wal);
    if (code != SQLITE_OK) return code;
    offset_ = offset;
  }
  std::memcpy(octets_.data() + gathered_, octets, static_cast<std::size_t>(size));
  gathered_ += size;
  return SQLITE_OK;
}

int WalWrites::flush(sqlite3_file* wal) {
  if (gathered_ == 0) return SQLITE_OK;
  return beneath_->xWrite(wal, octets_.data(), std::exchange(gathered_, 0), offset_);
}

}  // namespace waypost::queue
