// queue/lock.h: who uses a data folder: one daemon, or several readers while none runs (RELIABILITY F19).
#pragma once
#include <string>

#include "base/result.h"

namespace waypost::queue {

/// A lock on DATA/lock, for as long as this lives. The kernel takes it back from a process that dies.
class FolderLock {
 public:
  /// For the daemon; its pid is written into the file. Waits a few seconds for readers to finish.
  /// Errors: busy ("in use by pid 812"), and those of the file.
  static Result<FolderLock> exclusive(const std::string& data_dir);
  /// For a reader. Makes nothing: without the file nobody runs. Errors: busy (a daemon has it), denied, io.
  static Result<FolderLock> shared(const std::string& data_dir);
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&& other) noexcept;
  ~FolderLock();

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace waypost::queue
