// queue/lock.cpp
#include "queue/lock.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/escape.h"

namespace waypost::queue {
namespace {

constexpr int kTries = 150;
constexpr std::chrono::milliseconds kBetween{20};

tl::unexpected<Error> error(int code, const std::string& path) {
  Errc errc = Errc::io;
  if (code == EACCES || code == EPERM || code == ELOOP) errc = Errc::denied;
  if (code == ENOENT || code == ENOTDIR) errc = Errc::not_found;
  if (code == ENOSPC || code == EDQUOT) errc = Errc::full;
  return fail(errc, "locking " + escape(path) + ": " + std::strerror(code));
}

tl::unexpected<Error> in_use(int fd, const std::string& data_dir) {
  char text[24] = {};
  ssize_t n = ::pread(fd, text, sizeof text - 1, 0);
  std::string pid(text, n > 0 ? static_cast<std::size_t>(n) : 0);
  pid = pid.substr(0, pid.find_first_not_of("0123456789"));
  return fail(Errc::busy, escape(data_dir) + " is in use" + (pid.empty() ? std::string() : " by pid " + pid));
}

}  // namespace

FolderLock::FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
FolderLock& FolderLock::operator=(FolderLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
FolderLock::~FolderLock() {
  if (fd_ >= 0) ::close(fd_);
}

Result<FolderLock> FolderLock::exclusive(const std::string& data_dir) {
  std::string path = data_dir + "/lock";
  FolderLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (lock.fd_ < 0) return error(errno, path);
  for (int tries = 0; ::flock(lock.fd_, LOCK_EX | LOCK_NB) != 0; ++tries) {
    if (errno != EWOULDBLOCK && errno != EINTR) return error(errno, path);
    // Where a shared lock can be had only readers stand in the way, and these leave soon.
    bool readers = ::flock(lock.fd_, LOCK_SH | LOCK_NB) == 0;
    if (!readers || tries == kTries) return in_use(lock.fd_, data_dir);
    ::flock(lock.fd_, LOCK_UN);
    std::this_thread::sleep_for(kBetween);
  }
  std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.fd_, 0) != 0) return error(errno, path);
  if (::pwrite(lock.fd_, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) return error(errno, path);
  return lock;
}

Result<FolderLock> FolderLock::shared(const std::string& data_dir) {
  std::string path = data_dir + "/lock";
  FolderLock lock(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (lock.fd_ < 0 && errno == ENOENT) return lock;
  if (lock.fd_ < 0) return error(errno, path);
  if (::flock(lock.fd_, LOCK_SH | LOCK_NB) == 0) return lock;
  if (errno == EWOULDBLOCK) return in_use(lock.fd_, data_dir);
  return error(errno, path);
}

}  // namespace waypost::queue
