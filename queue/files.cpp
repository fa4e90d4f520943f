// queue/files.cpp: the real files: system calls below a descriptor of the data folder.
#include "queue/files.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/escape.h"

namespace waypost::queue {
namespace {

tl::unexpected<Error> error(int code, const std::string& doing) {
  Errc errc = Errc::io;
  switch (code) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      errc = Errc::full;
      break;
    case ENOENT:
      errc = Errc::not_found;
      break;
    case EEXIST:
    case ENOTEMPTY:
      errc = Errc::exists;
      break;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      errc = Errc::busy;
      break;
    case EOPNOTSUPP:
      errc = Errc::unsupported;
      break;
    case EACCES:
    case EPERM:
    case ELOOP:
    case EXDEV:
      errc = Errc::denied;
      break;
    default:
      break;
  }
  return fail(errc, escape(doing) + ": " + std::strerror(code));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

/// `/var/mail/b.example` -> `/var/mail`; `a` -> `.`.
std::string above(const std::string& path) {
  std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<> sync_open(const Descriptor& folder, const std::string& path) {
  if (folder.get() < 0) return error(errno, "opening the folder " + path);
  if (::fsync(folder.get()) == 0) return {};
  return error(errno, "syncing the folder " + path);
}

/// Who finds a folder cannot know whether its name is on disk: who made it may have been killed before the sync.
Result<> sync_names(std::string path) {
  while (true) {
    std::string parent = above(path);
    struct stat here {
    }, there{};
    if (::stat(path.c_str(), &here) != 0 || ::stat(parent.c_str(), &there) != 0)
      return error(errno, "opening the folder " + path);
    // We made only what is ours; and the name of a mount point was there before.
    if (parent == path || here.st_uid != ::geteuid() || here.st_dev != there.st_dev) return {};
    Descriptor folder(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.get() < 0 && errno == EACCES) return {};  // what may not be read cannot be synced
    Result<> synced = sync_open(folder, parent);
    if (!synced) return synced;
    path = std::move(parent);
  }
}

Result<> make_folders(const std::string& path) {
  std::vector<std::string> missing;
  struct stat found {};
  for (std::string at = path; ::stat(at.c_str(), &found) != 0 && above(at) != at; at = above(at)) {
    if (errno != ENOENT) return error(errno, "making the folder " + at);
    missing.push_back(at);
  }
  for (; !missing.empty(); missing.pop_back()) {
    const std::string& one = missing.back();
    // Whatever the umask took away.
    bool made = ::mkdir(one.c_str(), 0700) == 0 && ::chmod(one.c_str(), 0700) == 0;
    if (!made && errno != EEXIST) return error(errno, "making the folder " + one);
  }
  return sync_names(path);
}

class RealFile : public File {
 public:
  RealFile(Descriptor fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Result<> append(std::string_view octets) override {
    while (!octets.empty()) {
      ssize_t n = ::write(fd_.get(), octets.data(), octets.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return error(errno, "writing " + path_);
      octets.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
  }

  Result<std::size_t> read_at(std::uint64_t offset, std::span<char> into) override {
    while (true) {
      ssize_t n = ::pread(fd_.get(), into.data(), into.size(), static_cast<off_t>(offset));
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) return error(errno, "reading " + path_);
    }
  }

  // Never again after it failed: the kernel forgets the pages that it could not write (RELIABILITY F12).
  Result<> sync() override {
    if (::fdatasync(fd_.get()) == 0) return {};
    return error(errno, "syncing " + path_);
  }

 private:
  Descriptor fd_;
  std::string path_;
};

class RealFiles : public Files {
 public:
  explicit RealFiles(Descriptor folder) : folder_(std::move(folder)) {}

  Result<std::unique_ptr<File>> create(const std::string& path) override {
    return open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, "creating ");
  }
  Result<std::unique_ptr<File>> open(const std::string& path) override { return open_file(path, O_RDONLY, "opening "); }

  Result<> rename(const std::string& from, const std::string& to) override {
    Place old_place = place_of(from), new_place = place_of(to);
    if (old_place.folder.get() < 0 || new_place.folder.get() < 0) return error(errno, "renaming " + from);
    const char* old_name = old_place.name.c_str();
    if (::renameat(old_place.folder.get(), old_name, new_place.folder.get(), new_place.name.c_str()) == 0) return {};
    return error(errno, "renaming " + from);
  }

  Result<> remove(const std::string& path) override {
    Place place = place_of(path);
    if (place.folder.get() >= 0 && ::unlinkat(place.folder.get(), place.name.c_str(), 0) == 0) return {};
    return error(errno, "removing " + path);
  }

  Result<> make_folder(const std::string& path) override {
    Place place = place_of(path);
    if (place.folder.get() < 0) return error(errno, "making the folder " + path);
    if (::mkdirat(place.folder.get(), place.name.c_str(), 0700) != 0) {
      if (errno != EEXIST) return error(errno, "making the folder " + path);
      // And is one: no link to elsewhere.
      Descriptor folder(open_below(path, O_PATH | O_DIRECTORY, 0));
      return folder.get() >= 0 ? Result<>() : error(errno, "opening the folder " + path);
    }
    // Whatever the umask took away.
    if (::fchmodat(place.folder.get(), place.name.c_str(), 0700, 0) != 0)
      return error(errno, "making the folder " + path);
    return sync_folder(above(path));
  }

  Result<> sync_folder(const std::string& path) override {
    return sync_open(Descriptor(open_below(path, O_RDONLY | O_DIRECTORY, 0)), path);
  }

  Result<std::vector<std::string>> list(const std::string& path) override {
    int fd = open_below(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) return error(errno, "opening the folder " + path);
    DIR* folder = ::fdopendir(fd);
    if (!folder) {
      int code = errno;
      ::close(fd);
      return error(code, "reading the folder " + path);
    }
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(folder)) {
      std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
      errno = 0;
    }
    int code = errno;
    ::closedir(folder);
    if (code != 0) return error(code, "reading the folder " + path);
    return names;
  }

  Result<Space> space() override {
    struct statvfs facts {};
    if (::fstatvfs(folder_.get(), &facts) != 0) return error(errno, "asking for the room on the disk");
    if (facts.f_blocks == 0) return Space();  // some file systems tell nothing
    Space space;
    space.free = static_cast<std::uint64_t>(facts.f_bavail) * facts.f_frsize;
    space.total = static_cast<std::uint64_t>(facts.f_blocks) * facts.f_frsize;
    return space;
  }

  Result<> rewrite(const std::string& path) override {
    Descriptor fd(open_below(path, O_RDWR, 0));
    if (fd.get() < 0) return error(errno, "opening " + path);
    std::vector<char> piece(1 << 20);
    for (off_t at = 0;;) {
      const ssize_t got = ::pread(fd.get(), piece.data(), piece.size(), at);
      if (got < 0) return error(errno, "reading " + path);
      if (got == 0) break;
      const ssize_t put = ::pwrite(fd.get(), piece.data(), static_cast<std::size_t>(got), at);
      if (put < 0) return error(errno, "writing " + path);
      at += put;
    }
    if (::fdatasync(fd.get()) == 0) return {};
    return error(errno, "syncing " + path);
  }

  // Not posix_fallocate(), which writes all of it where the file system cannot.
  Result<> set_aside(const std::string& path, std::uint64_t octets) override {
    Descriptor fd(open_below(path, O_WRONLY | O_CREAT, 0600));
    if (fd.get() < 0) return error(errno, "creating " + path);
    if (::fallocate(fd.get(), 0, 0, static_cast<off_t>(octets)) == 0) return {};
    int code = errno;
    (void)::unlinkat(folder_.get(), path.c_str(), 0);
    return error(code, "setting aside " + path);
  }

 private:
  /// No symbolic link on the way, and nothing above the data folder. Kernels and sandboxes without openat2 check the
  /// last name alone.
  int open_below(const std::string& path, int flags, mode_t mode) const {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW);
    how.mode = mode;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    long fd = ::syscall(SYS_openat2, folder_.get(), path.c_str(), &how, sizeof how);
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
      fd = ::openat(folder_.get(), path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode);
    return static_cast<int>(fd);
  }

  /// The folder that a name stands in, for calls that take no flags; errno tells why there is none.
  struct Place {
    Descriptor folder;
    std::string name;
  };
  Place place_of(const std::string& path) const {
    return {Descriptor(open_below(above(path), O_PATH | O_DIRECTORY, 0)), path.substr(path.rfind('/') + 1)};
  }

  Result<std::unique_ptr<File>> open_file(const std::string& path, int flags, const std::string& doing) {
    Descriptor fd(open_below(path, flags, (flags & O_CREAT) != 0 ? 0600 : 0));
    if (fd.get() < 0) return error(errno, doing + path);
    struct stat facts {};
    if (::fstat(fd.get(), &facts) != 0) return error(errno, doing + path);
    if (!S_ISREG(facts.st_mode)) return fail(Errc::denied, doing + escape(path) + ": not a plain file");
    if ((flags & O_CREAT) != 0 && ::fchmod(fd.get(), 0600) != 0) return error(errno, doing + path);
    return std::make_unique<RealFile>(std::move(fd), path);
  }

  Descriptor folder_;
};

}  // namespace

Result<> Files::keep_folder(const std::string& path) {
  std::lock_guard lock(keeping_);
  if (kept_.contains(path)) return {};
  std::string above = path;
  while (above != ".") {
    const std::size_t slash = above.rfind('/');
    above = slash == std::string::npos ? "." : above.substr(0, slash);
    Result<> synced = sync_folder(above);
    if (!synced) return synced;
  }
  kept_.insert(path);
  return {};
}

Result<std::unique_ptr<Files>> open_files(const std::string& data_dir) {
  if (::mkdir(data_dir.c_str(), 0700) != 0 && errno != EEXIST) return error(errno, "making the folder " + data_dir);
  Result<> synced = sync_names(data_dir);
  if (!synced) return fail(synced.error());
  return open_folder(data_dir, false);
}

Result<std::unique_ptr<Files>> open_folder(const std::string& path, bool make) {
  Result<> made = make ? make_folders(path) : Result<>();
  if (!made) return fail(made.error());
  Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return error(errno, "opening the folder " + path);
  return std::make_unique<RealFiles>(std::move(folder));
}

std::string body_path(std::string_view id) {
  std::string_view folder = id.size() > 2 ? id.substr(id.size() - 2) : id;
  return "body/" + std::string(folder) + "/" + std::string(id);
}

}  // namespace waypost::queue
