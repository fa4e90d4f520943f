// tests/support/disk_run.h: one run of a SimDisk, from a start to the next cut or kill. For the disk's own parts.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "queue/files.h"
#include "tests/support/sim_disk.h"

namespace waypost::tests {

/// tests/support/sim_vfs.cpp: SQLite's way to a run, under a name that no other has.
class SimVfs {
 public:
  virtual ~SimVfs() = default;
  virtual const std::string& name() const = 0;
};
std::unique_ptr<SimVfs> make_vfs(DiskRun& run, std::uint64_t seed);

/// The calls of a run: each is numbered, may fail, and once the run is over fails with io. Paths begin with a slash.
class DiskRun {
 public:
  DiskRun(SimDisk& disk, std::uint64_t seed);

  /// An open file, by its number; to be closed.
  Result<std::uint64_t> open(const std::string& path);
  Result<std::uint64_t> create(const std::string& path);
  void close(std::uint64_t file);
  Result<std::size_t> read(std::uint64_t file, const std::string& path, std::uint64_t offset, std::span<char> into);
  Result<> write(std::uint64_t file, const std::string& path, std::uint64_t offset, std::string_view octets);
  Result<> truncate(std::uint64_t file, const std::string& path, std::uint64_t size);
  Result<> sync(std::uint64_t file, const std::string& path);
  Result<std::uint64_t> size(std::uint64_t file) const;

  Result<> rename(const std::string& from, const std::string& to);
  Result<> remove(const std::string& path);
  Result<> make_folder(const std::string& path);   ///< also syncs the one above, if it was not there
  Result<> make_folders(const std::string& path);  ///< and those above; syncs what has their names
  Result<> open_folder(const std::string& path);
  Result<> sync_folder(const std::string& path);
  Result<std::vector<std::string>> list(const std::string& path);
  Result<queue::Space> space() const;

  bool exists(const std::string& path) const;  ///< as a file that is not empty
  net::WallTime now() const;
  /// See SimDisk::synchronous.
  const std::optional<int>& synchronous() const { return disk_.synchronous; }
  const std::string& vfs() const { return vfs_->name(); }
  queue::Files& files() { return *files_; }
  std::unique_ptr<queue::Files> view(const std::string& folder);

 private:
  bool over() const { return disk_.off_ || disk_.runs_.back().get() != this; }
  Result<> begin(Call::Kind kind, const std::string& path, bool* ignored = nullptr);
  void change(DiskChange change);

  SimDisk& disk_;
  std::unique_ptr<SimVfs> vfs_;
  std::unique_ptr<queue::Files> files_;
};

/// `/a/b/c` -> `/a/b`; `/a` -> `/`.
std::string folder_above(const std::string& path);

}  // namespace waypost::tests
