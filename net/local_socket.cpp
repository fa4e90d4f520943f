#include "net/local_socket.h"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace waypost::net {
namespace {

Error from_errno(const std::string& what, int number) {
  Errc code = Errc::io;
  if (number == EACCES || number == EPERM || number == EROFS) code = Errc::denied;
  if (number == ENOENT || number == ENOTDIR) code = Errc::not_found;
  if (number == EADDRINUSE) code = Errc::busy;
  return Error(code, what + ": " + std::strerror(number));
}

/// Removes what a process that was killed left at `path`. Errors: busy, exists, denied, io.
Result<> remove_stale(const std::string& what, const std::string& path, const sockaddr_un& address) {
  struct stat facts {};
  if (::lstat(path.c_str(), &facts) != 0) {
    if (errno == ENOENT) return {};
    return fail(from_errno(what + " " + path, errno));
  }
  if (!S_ISSOCK(facts.st_mode)) return fail(Errc::exists, what + " " + path + ": a file that is no socket is there");
  const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return fail(from_errno(what, errno));
  const int connected = ::connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int why = errno;
  ::close(probe);
  // EAGAIN: its backlog is full, hence somebody listens.
  if (connected == 0 || why == EAGAIN) return fail(Errc::busy, what + " " + path + ": another daemon answers there");
  if (why != ECONNREFUSED) return fail(from_errno(what + " " + path, why));
  if (::unlink(path.c_str()) != 0) return fail(from_errno("removing the old " + what + " " + path, errno));
  return {};
}

}  // namespace

Result<std::unique_ptr<LocalSocket>> LocalSocket::open(const std::string& what, const std::string& path,
                                                       unsigned mode) {
  std::unique_ptr<LocalSocket> socket(new LocalSocket(what, path));
  const Result<> listening = socket->listen(mode);
  if (!listening) return fail(listening.error());
  return socket;
}

Result<> LocalSocket::listen(unsigned mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof address.sun_path) {
    return fail(Errc::invalid, what_ + " " + path_ + ": the path of a socket may have " +
                                   std::to_string(sizeof address.sun_path - 1) + " octets");
  }
  std::memcpy(address.sun_path, path_.data(), path_.size());
  const Result<> free = remove_stale(what_, path_, address);
  if (!free) return free;

  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) return fail(from_errno(what_, errno));
  if (::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return fail(error(errno));
  named_ = true;
  struct stat facts {};
  if (::lstat(path_.c_str(), &facts) != 0) return fail(error(errno));
  device_ = facts.st_dev;
  inode_ = facts.st_ino;
  // Nobody can connect before listen(), whatever the mode was until here.
  if (::chmod(path_.c_str(), mode) != 0) return fail(error(errno));
  if (::listen(fd_, SOMAXCONN) != 0) return fail(error(errno));
  return {};
}

Result<> LocalSocket::unlink() {
  if (!named_) return {};
  named_ = false;
  struct stat facts {};
  const bool ours = ::lstat(path_.c_str(), &facts) == 0 && facts.st_dev == device_ && facts.st_ino == inode_;
  if (ours && ::unlink(path_.c_str()) != 0) return fail(error(errno));
  return {};
}

LocalSocket::~LocalSocket() {
  const Result<> gone = unlink();
  (void)gone;  // the next one that listens there removes it
  if (fd_ >= 0) ::close(fd_);
}

Error LocalSocket::error(int number) const {
  return from_errno(what_ + " " + path_, number);
}

}  // namespace waypost::net
