// tests/support/sim_vfs.cpp: SQLite's calls as those of a DiskRun.
//
// It does as SQLite's own unix VFS, since the product runs on that: the folder is synced with the first sync of a new
// journal or WAL (an error of which is not told), and writes leave the octets beside them alone (POWERSAFE_OVERWRITE,
// which it promises unless told otherwise; a torn write is torn at 512 octets here, within itself). No other promise is
// made: not of atomic nor of sequential writes. There is no shared memory: queue.db is locked by one connection.
#include <algorithm>
#include <atomic>
#include <map>
#include <new>
#include <random>

#include <sqlite3.h>

#include "tests/support/disk_run.h"

namespace waypost::tests {
namespace {

class Vfs;

/// SQLite gives the memory, and knows the first member alone.
struct VfsFile {
  sqlite3_file base{};
  Vfs* vfs = nullptr;
  std::uint64_t file = 0;
  std::string path;
  bool sync_folder = false;  // with the next sync
  int lock = SQLITE_LOCK_NONE;
};

class Vfs : public SimVfs {
 public:
  Vfs(DiskRun& run, std::uint64_t seed);
  ~Vfs() override { sqlite3_vfs_unregister(&vfs_); }
  Vfs(const Vfs&) = delete;
  Vfs& operator=(const Vfs&) = delete;
  const std::string& name() const override { return name_; }

  static Vfs& of(sqlite3_vfs* vfs) { return *static_cast<Vfs*>(vfs->pAppData); }
  DiskRun& run() { return run_; }
  std::mt19937_64& chance() { return chance_; }

  int lock(VfsFile& file, int wanted) {
    if (file.lock >= wanted) return SQLITE_OK;
    int others = SQLITE_LOCK_NONE;
    for (const VfsFile* one : open_)
      if (one != &file && one->file == file.file) others = std::max(others, one->lock);
    bool free = wanted == SQLITE_LOCK_SHARED     ? others < SQLITE_LOCK_PENDING
                : wanted == SQLITE_LOCK_RESERVED ? others < SQLITE_LOCK_RESERVED
                                                 : others < SQLITE_LOCK_SHARED;
    if (!free) return SQLITE_BUSY;
    file.lock = wanted;
    return SQLITE_OK;
  }
  bool reserved(const VfsFile& file) const {
    return std::any_of(open_.begin(), open_.end(), [&file](const VfsFile* one) {
      return one->file == file.file && one->lock >= SQLITE_LOCK_RESERVED;
    });
  }
  void opened(VfsFile& file) { open_.push_back(&file); }
  void closed(VfsFile& file) {
    std::erase(open_, &file);
    run_.close(file.file);
  }

 private:
  DiskRun& run_;
  std::string name_;
  std::mt19937_64 chance_;
  std::vector<VfsFile*> open_;
  sqlite3_vfs vfs_{};
};

VfsFile& of(sqlite3_file* file) {
  return *reinterpret_cast<VfsFile*>(file);
}

/// `otherwise` is how SQLite calls an EIO of that call.
int code_of(const Result<>& done, int otherwise) {
  if (done) return SQLITE_OK;
  return done.error().code == Errc::full ? SQLITE_FULL : otherwise;
}

int close_file(sqlite3_file* base) {
  VfsFile& file = of(base);
  file.vfs->closed(file);
  file.~VfsFile();
  return SQLITE_OK;
}

int read_file(sqlite3_file* base, void* into, int size, sqlite3_int64 offset) {
  VfsFile& file = of(base);
  std::span<char> all(static_cast<char*>(into), static_cast<std::size_t>(size));
  Result<std::size_t> got = file.vfs->run().read(file.file, file.path, static_cast<std::uint64_t>(offset), all);
  // So the unix VFS calls what the medium cannot read.
  if (!got) return SQLITE_IOERR_CORRUPTFS;
  if (*got == all.size()) return SQLITE_OK;
  std::fill(all.begin() + static_cast<std::ptrdiff_t>(*got), all.end(), '\0');
  return SQLITE_IOERR_SHORT_READ;
}

int write_file(sqlite3_file* base, const void* octets, int size, sqlite3_int64 offset) {
  VfsFile& file = of(base);
  std::string_view all(static_cast<const char*>(octets), static_cast<std::size_t>(size));
  return code_of(file.vfs->run().write(file.file, file.path, static_cast<std::uint64_t>(offset), all),
                 SQLITE_IOERR_WRITE);
}

int truncate_file(sqlite3_file* base, sqlite3_int64 size) {
  VfsFile& file = of(base);
  return code_of(file.vfs->run().truncate(file.file, file.path, static_cast<std::uint64_t>(size)),
                 SQLITE_IOERR_TRUNCATE);
}

int sync_file(sqlite3_file* base, int) {
  VfsFile& file = of(base);
  Result<> synced = file.vfs->run().sync(file.file, file.path);
  if (!synced) return SQLITE_IOERR_FSYNC;
  if (file.sync_folder) {
    Result<> folder = file.vfs->run().sync_folder(folder_above(file.path));
    (void)folder;
    file.sync_folder = false;
  }
  return SQLITE_OK;
}

int size_of_file(sqlite3_file* base, sqlite3_int64* size) {
  VfsFile& file = of(base);
  Result<std::uint64_t> octets = file.vfs->run().size(file.file);
  if (!octets) return SQLITE_IOERR_FSTAT;
  *size = static_cast<sqlite3_int64>(*octets);
  return SQLITE_OK;
}

int control_file(sqlite3_file* base, int what, void* argument) {
  VfsFile& file = of(base);
  const std::optional<int>& level = file.vfs->run().synchronous();
  if (what != SQLITE_FCNTL_PRAGMA || !level) return SQLITE_NOTFOUND;
  // The name and the value of a pragma, which SQLite then carries out as they stand here.
  char** words = static_cast<char**>(argument);
  if (sqlite3_stricmp(words[1], "synchronous") == 0 && words[2] && words[2][0] != '\0') {
    words[2][0] = static_cast<char>('0' + *level);
    words[2][1] = '\0';
  }
  return SQLITE_NOTFOUND;
}

const sqlite3_io_methods kMethods = [] {
  sqlite3_io_methods methods{};
  methods.iVersion = 1;
  methods.xClose = close_file;
  methods.xRead = read_file;
  methods.xWrite = write_file;
  methods.xTruncate = truncate_file;
  methods.xSync = sync_file;
  methods.xFileSize = size_of_file;
  methods.xLock = [](sqlite3_file* base, int wanted) { return of(base).vfs->lock(of(base), wanted); };
  methods.xUnlock = [](sqlite3_file* base, int wanted) {
    of(base).lock = std::min(of(base).lock, wanted);
    return SQLITE_OK;
  };
  methods.xCheckReservedLock = [](sqlite3_file* base, int* found) {
    *found = of(base).vfs->reserved(of(base)) ? 1 : 0;
    return SQLITE_OK;
  };
  methods.xFileControl = control_file;
  methods.xSectorSize = [](sqlite3_file*) { return 512; };
  methods.xDeviceCharacteristics = [](sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; };
  return methods;
}();

int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* base, int flags, int* out_flags) {
  base->pMethods = nullptr;
  if (!name) return SQLITE_CANTOPEN;  // temporary files are kept in memory
  DiskRun& run = Vfs::of(vfs).run();
  std::string path = name;
  Result<std::uint64_t> file = run.open(path);
  if (!file && file.error().code == Errc::not_found && (flags & SQLITE_OPEN_CREATE) != 0) file = run.create(path);
  if (!file) return file.error().code == Errc::full ? SQLITE_FULL : SQLITE_CANTOPEN;
  VfsFile* made = new (base) VfsFile;
  made->base.pMethods = &kMethods;
  made->vfs = &Vfs::of(vfs);
  made->file = *file;
  made->path = std::move(path);
  constexpr int kSyncedWithFolder = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
  made->sync_folder = (flags & SQLITE_OPEN_CREATE) != 0 && (flags & kSyncedWithFolder) != 0;
  made->vfs->opened(*made);
  if (out_flags) *out_flags = flags;
  return SQLITE_OK;
}

int delete_file(sqlite3_vfs* vfs, const char* name, int sync_folder) {
  DiskRun& run = Vfs::of(vfs).run();
  Result<> removed = run.remove(name);
  if (!removed) return removed.error().code == Errc::not_found ? SQLITE_IOERR_DELETE_NOENT : SQLITE_IOERR_DELETE;
  if ((sync_folder & 1) == 0) return SQLITE_OK;
  Result<> synced = run.sync_folder(folder_above(name));
  return synced ? SQLITE_OK : SQLITE_IOERR_DIR_FSYNC;
}

Vfs::Vfs(DiskRun& run, std::uint64_t seed) : run_(run), chance_(seed) {
  static std::atomic<std::uint64_t> count{0};
  name_ = "sim-" + std::to_string(count.fetch_add(1));
  vfs_.iVersion = 2;
  vfs_.szOsFile = sizeof(VfsFile);
  vfs_.mxPathname = 512;
  vfs_.zName = name_.c_str();
  vfs_.pAppData = this;
  vfs_.xOpen = open_file;
  vfs_.xDelete = delete_file;
  vfs_.xAccess = [](sqlite3_vfs* vfs, const char* name, int, int* found) {
    *found = of(vfs).run().exists(name) ? 1 : 0;
    return SQLITE_OK;
  };
  vfs_.xFullPathname = [](sqlite3_vfs*, const char* name, int size, char* out) {
    sqlite3_snprintf(size, out, "%s", name);
    return SQLITE_OK;
  };
  vfs_.xRandomness = [](sqlite3_vfs* vfs, int size, char* out) {
    std::generate_n(out, size, [vfs] { return static_cast<char>(of(vfs).chance()()); });
    return size;
  };
  vfs_.xSleep = [](sqlite3_vfs*, int microseconds) { return microseconds; };
  vfs_.xGetLastError = [](sqlite3_vfs*, int, char*) { return 0; };
  vfs_.xCurrentTimeInt64 = [](sqlite3_vfs* vfs, sqlite3_int64* now) {
    // Milliseconds of Julian days, which begin at noon.
    *now = sqlite3_int64{210866760000000} + of(vfs).run().now().time_since_epoch().count();
    return SQLITE_OK;
  };
  vfs_.xCurrentTime = [](sqlite3_vfs* vfs, double* now) {
    *now = (210866760000000.0 + static_cast<double>(of(vfs).run().now().time_since_epoch().count())) / 86400000.0;
    return SQLITE_OK;
  };
  sqlite3_vfs_register(&vfs_, 0);
  // SQLite has one generator for the whole process, and would ask the system for its seed.
  sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, static_cast<int>(seed | 1), nullptr);
}

}  // namespace

std::unique_ptr<SimVfs> make_vfs(DiskRun& run, std::uint64_t seed) {
  return std::make_unique<Vfs>(run, seed);
}

}  // namespace waypost::tests
