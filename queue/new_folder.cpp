// queue/new_folder.cpp
#include "queue/new_folder.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/escape.h"
#include "queue/sqlite_queue.h"

namespace waypost::queue {
namespace {

namespace fs = std::filesystem;

tl::unexpected<Error> error(int code, const std::string& doing) {
  Errc errc = Errc::io;
  if (code == EACCES || code == EPERM || code == EROFS || code == ELOOP) errc = Errc::denied;
  if (code == ENOENT || code == ENOTDIR) errc = Errc::not_found;
  if (code == EEXIST || code == ENOTEMPTY) errc = Errc::exists;
  if (code == ENOSPC || code == EDQUOT) errc = Errc::full;
  return fail(errc, escape(doing) + ": " + std::strerror(code));
}

/// Files first, then the folders that have their names, those below first.
Result<> sync_tree(const std::string& folder) {
  std::error_code failed;
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end; entry.increment(failed)) {
    const std::string path = entry->path().string();
    const bool below = entry->is_directory(failed);
    if (failed) break;
    Result<> synced = below ? sync_tree(path) : sync_path(path);
    if (!synced) return synced;
  }
  if (failed) return error(failed.value(), "reading the folder " + folder);
  return sync_path(folder);
}

Result<> copy_file(Files& from, Files& to, const std::string& path) {
  Result<std::unique_ptr<File>> source = from.open(path);
  if (!source) return fail(source.error());
  Result<std::unique_ptr<File>> copy = to.create(path);
  if (!copy) return fail(copy.error());
  std::string piece(256 * 1024, '\0');
  for (std::uint64_t offset = 0;;) {
    Result<std::size_t> got = (*source)->read_at(offset, std::span<char>(piece));
    if (!got) return fail(got.error());
    if (*got == 0) return {};
    Result<> written = (*copy)->append(std::string_view(piece).substr(0, *got));
    if (!written) return written;
    offset += *got;
  }
}

}  // namespace

std::string folder_of(const std::string& path) {
  std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

Result<> sync_path(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return error(errno, "opening " + path);
  int failed = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  if (failed != 0) return error(failed, "syncing " + path);
  return {};
}

Result<> give_to_owner_of(const std::string& like, const std::string& path) {
  if (::geteuid() != 0) return {};
  struct stat owner {};
  if (::stat(like.c_str(), &owner) != 0) return error(errno, "the owner of " + like);
  auto give = [&owner](const std::string& what) { return ::lchown(what.c_str(), owner.st_uid, owner.st_gid) == 0; };
  if (!give(path)) return error(errno, "giving " + path + " to its user");
  std::error_code failed;
  if (!fs::is_directory(path, failed)) return {};
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path, failed))
    if (!give(entry.path().string())) return error(errno, "giving " + entry.path().string() + " to its user");
  if (failed) return error(failed.value(), "reading the folder " + path);
  return {};
}

int rename_new(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  struct stat facts {};
  if (::lstat(to.c_str(), &facts) == 0) return EEXIST;
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

NewFolder::NewFolder(std::string path, std::unique_ptr<Files> files)
    : path_(std::move(path)), partial_(path_ + ".partial"), files_(std::move(files)) {}

NewFolder::NewFolder(NewFolder&& other) noexcept
    : path_(std::move(other.path_)), partial_(std::exchange(other.partial_, "")), files_(std::move(other.files_)) {}

NewFolder::~NewFolder() {
  if (partial_.empty()) return;
  std::error_code failed;
  fs::remove_all(partial_, failed);
}

Result<NewFolder> NewFolder::make(const std::string& wanted) {
  std::string path = wanted;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (!path.starts_with('/') || path == "/" || path.ends_with("/.") || path.ends_with("/.."))
    return fail(Errc::invalid, "not the absolute path of a new folder: " + escape(wanted));
  Result<std::string> above = real_folder(folder_of(path));
  if (!above) return fail(above.error());
  path = (*above == "/" ? "" : *above) + path.substr(path.rfind('/'));

  struct stat facts {};
  if (::lstat(path.c_str(), &facts) == 0) return fail(Errc::exists, escape(path) + " is there already");
  std::string partial = path + ".partial";
  if (::mkdir(partial.c_str(), 0700) != 0) {
    if (errno != EEXIST) return error(errno, "making the folder " + partial);
    return fail(Errc::exists,
                escape(partial) + " is there already: another is under way, or was cut off; then remove it");
  }
  Result<std::unique_ptr<Files>> files = open_files(partial);
  if (!files) return fail(files.error());
  return NewFolder(std::move(path), *std::move(files));
}

Result<> NewFolder::done(const std::string& like) {
  Result<> synced = sync_tree(partial_);
  if (!synced) return synced;
  Result<> given = give_to_owner_of(like, partial_);
  if (!given) return given;
  if (int why = rename_new(partial_, path_); why != 0) return error(why, "naming " + path_);
  partial_.clear();
  return sync_path(folder_of(path_));
}

Result<Taken> take_spool_file(const std::string& from_folder, Files& from, NewFolder& to, const std::string& path) {
  for (const std::string& folder : {std::string("body"), path.substr(0, path.rfind('/'))}) {
    std::string below = to.path() + "/" + folder;
    if (::mkdir(below.c_str(), 0700) != 0 && errno != EEXIST) return error(errno, "making the folder " + below);
  }
  if (::link((from_folder + "/" + path).c_str(), (to.path() + "/" + path).c_str()) == 0) return Taken::linked;
  Result<> copied = copy_file(from, to.files(), path);
  if (!copied) return fail(copied.error());
  return Taken::copied;
}

}  // namespace waypost::queue
