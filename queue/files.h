// queue/files.h: the files below the store as an interface, so that a simulated disk can stand in. Calls block.
#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/result.h"

namespace waypost::queue {

/// One open file. One thread at a time.
class File {
 public:
  virtual ~File() = default;                                                            ///< closes
  virtual Result<> append(std::string_view octets) = 0;                                 ///< all of it
  virtual Result<std::size_t> read_at(std::uint64_t offset, std::span<char> into) = 0;  ///< 0 at the end
  virtual Result<> sync() = 0;                                                          ///< fdatasync
};

/// Of the file system, in octets; `free` is what those who are not root may use.
struct Space {
  std::uint64_t free = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t total = std::numeric_limits<std::uint64_t>::max();
};

/// Paths are relative to the data folder, with `/`; no symbolic link on the way is followed. Errors: full (ENOSPC,
/// EDQUOT), io, not_found, exists, busy (EMFILE), denied.
class Files {
 public:
  virtual ~Files() = default;
  virtual Result<std::unique_ptr<File>> create(const std::string& path) = 0;  ///< 0600; it must not exist
  virtual Result<std::unique_ptr<File>> open(const std::string& path) = 0;    ///< to read
  virtual Result<> rename(const std::string& from, const std::string& to) = 0;
  virtual Result<> remove(const std::string& path) = 0;
  /// 0700; syncs the one above. That it exists is no error, and nothing is synced then.
  virtual Result<> make_folder(const std::string& path) = 0;
  virtual Result<> sync_folder(const std::string& path) = 0;
  virtual Result<std::vector<std::string>> list(const std::string& folder) = 0;  ///< names, unordered
  virtual Result<Space> space() { return Space(); }                              ///< a disk in memory has no end
  /// What a file has, written once more in its place and synced: after a sync that failed the kernel shows octets that
  /// are not on the disk, and writes them never again by itself (RELIABILITY F12).
  virtual Result<> rewrite(const std::string& path) {
    (void)path;  // nothing to mend where nothing can be lost
    return {};
  }
  /// A file that takes up `octets`, made where it is not there. Errors: full, unsupported.
  virtual Result<> set_aside(const std::string& path, std::uint64_t octets) {
    (void)path;
    (void)octets;
    return {};
  }

  /// Syncs the folders above, once for the life of this object: whoever made it, a process that was killed before it
  /// had synced it or another thread that is about to, a file in it counts on it.
  Result<> keep_folder(const std::string& path);

 private:
  std::mutex keeping_;
  std::unordered_set<std::string> kept_;
};

/// The real one. Creates the data folder (0700) where it is missing.
Result<std::unique_ptr<Files>> open_files(const std::string& data_dir);

/// Opens a folder anywhere, to which symbolic links may lead. `make`: it is made (0700) where it is missing, as are
/// those above it, and their names are synced, whoever made them; else not_found.
using OpenFolder = std::function<Result<std::unique_ptr<Files>>(const std::string& path, bool make)>;
/// The real one.
Result<std::unique_ptr<Files>> open_folder(const std::string& path, bool make);

/// Where a body's spool file stands: `body/7F/01JD8Q2M3X7F`, and while it is written the same with `.tmp`.
std::string body_path(std::string_view id);

}  // namespace waypost::queue
