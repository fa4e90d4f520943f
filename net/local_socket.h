// net/local_socket.h: a Unix socket that listens, and its name in the file system. Any thread; no loop.
#pragma once
#include <memory>
#include <string>

#include <sys/types.h>

#include "base/result.h"

namespace waypost::net {

class LocalSocket {
 public:
  /// Listens at `path` with this mode, non-blocking. What a process that was killed left there is removed. `what` is
  /// how errors name it: "control socket".
  /// Errors: busy (somebody answers there), exists (it is no socket), invalid (too long a path), not_found, denied, io.
  static Result<std::unique_ptr<LocalSocket>> open(const std::string& what, const std::string& path, unsigned mode);
  LocalSocket(const LocalSocket&) = delete;
  LocalSocket& operator=(const LocalSocket&) = delete;
  /// Takes the name away and closes.
  ~LocalSocket();

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  /// Takes the name away, so that no new client comes, if what stands there is still ours. Errors: denied, io.
  Result<> unlink();

 private:
  LocalSocket(std::string what, std::string path) : what_(std::move(what)), path_(std::move(path)) {}
  Result<> listen(unsigned mode);
  Error error(int number) const;

  std::string what_, path_;
  int fd_ = -1;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  bool named_ = false;
};

}  // namespace waypost::net
