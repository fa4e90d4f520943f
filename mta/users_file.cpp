#include "mta/users_file.h"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/escape.h"

namespace waypost::mta {
namespace {

constexpr mode_t kMode = 0640;

tl::unexpected<Error> error(const std::string& doing) {
  const int code = errno;
  Errc errc = Errc::io;
  if (code == ENOENT || code == ENOTDIR) errc = Errc::not_found;
  if (code == EACCES || code == EPERM || code == EROFS) errc = Errc::denied;
  if (code == ENOSPC || code == EDQUOT) errc = Errc::full;
  return fail(errc, escape(doing) + ": " + std::strerror(code));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }

 private:
  int fd_;
};

std::int64_t nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

FileStamp stamp_of(const struct stat& file) {
  return {file.st_dev, file.st_ino, static_cast<std::uint64_t>(file.st_size), nanoseconds(file.st_mtim),
          nanoseconds(file.st_ctim)};
}

Result<std::string> read_all(int fd, const std::string& path) {
  std::string text;
  char piece[65536];
  while (true) {
    const ssize_t got = ::read(fd, piece, sizeof(piece));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return error("reading " + path);
    if (got == 0) return text;
    text.append(piece, static_cast<std::size_t>(got));
    if (text.size() > kMostUsersOctets) return fail(Errc::too_big, escape(path) + " is larger than 64 MiB");
  }
}

Result<> write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t put = ::write(fd, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return error("writing " + path);
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

/// The file itself, where `path` is a link to it.
std::string resolved(const std::string& path) {
  char* real = ::realpath(path.c_str(), nullptr);
  if (real == nullptr) return path;
  std::string out = real;
  std::free(real);
  return out;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// Mode and owner as of the file before, or of a new one.
Result<> dress(int fd, const struct stat* before, std::optional<gid_t> group, const std::string& path) {
  if (before != nullptr) {
    const bool same = before->st_uid == geteuid() && before->st_gid == getegid();
    if (!same && fchown(fd, before->st_uid, before->st_gid) != 0) return error("giving " + path + " to its owner");
  } else if (group && fchown(fd, static_cast<uid_t>(-1), *group) != 0) {
    return error("giving " + path + " to the daemon's group");
  }
  const mode_t mode = before != nullptr ? before->st_mode & 0777U : kMode;
  if (fchmod(fd, mode) != 0) return error("setting the mode of " + path);
  return {};
}

Result<> replace(const std::string& path, std::string_view text, const struct stat* before, std::optional<gid_t> group,
                 int folder) {
  const std::string beside = path + ".new";
  // What a call that was killed left behind: the folder's lock is ours.
  ::unlink(beside.c_str());
  Result<> done;
  {
    const Descriptor file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file.open()) return error("making " + beside);
    done = dress(file.get(), before, group, beside);
    if (done) done = write_all(file.get(), text, beside);
    if (done && ::fsync(file.get()) != 0) done = error("syncing " + beside);
  }
  if (done && ::rename(beside.c_str(), path.c_str()) != 0) done = error("renaming " + beside);
  if (!done) {
    ::unlink(beside.c_str());
    return done;
  }
  if (::fsync(folder) != 0) return error("syncing the folder of " + path);
  return {};
}

}  // namespace

Result<FileStamp> file_stamp(const std::string& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return error(path);
  return stamp_of(file);
}

Result<UsersText> read_users(const std::string& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.open()) return error("opening " + path);
  struct stat file {};
  if (::fstat(fd.get(), &file) != 0) return error(path);
  if (!S_ISREG(file.st_mode)) return fail(Errc::io, escape(path) + " is no file");
  Result<std::string> text = read_all(fd.get(), path);
  if (!text) return fail(text.error());
  return UsersText{*std::move(text), stamp_of(file)};
}

Result<> change_users(const std::string& given, std::optional<gid_t> group,
                      const std::function<Result<std::string>(std::string_view)>& edit) {
  const std::string path = resolved(given);
  const Descriptor folder(::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.open()) return error("opening the folder of " + path);
  if (::flock(folder.get(), LOCK_EX) != 0) return error("locking the folder of " + path);

  struct stat before {};
  const bool exists = ::stat(path.c_str(), &before) == 0;
  if (!exists && errno != ENOENT) return error(path);
  std::string text;
  if (exists) {
    Result<UsersText> read = read_users(path);
    if (!read) return fail(read.error());
    text = std::move(read->text);
  }
  const Result<std::string> changed = edit(text);
  if (!changed) return fail(changed.error());
  return replace(path, *changed, exists ? &before : nullptr, group, folder.get());
}

}  // namespace waypost::mta
