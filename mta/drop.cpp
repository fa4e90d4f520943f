// mta/drop.cpp: writes one file into the drop folder, for sendmail(1) while the daemon is away. Installed setgid, so
// that it alone may write there: nothing of its caller is believed. The daemon reads what is in the file
// (mta/maildrop.h); here only its size and its end are looked at. Exit codes are sysexits: 0 once it is on stable
// storage, 65, 70, 75, 77.
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr const char* kFolder = "/var/spool/waypost/maildrop";
constexpr std::uint64_t kMostOctets = 1ULL << 30;  // the daemon's own limit is smaller; this one guards the disk
constexpr std::uint64_t kReserve = 4ULL << 30;     // of the file system, or a fifth of it: twice what the daemon keeps
constexpr std::string_view kEnd = "\r\n.\r\n";
// The folder cannot be entered but by its owner and this program's group: that all may read lets the daemon read.
constexpr mode_t kMode = 0444;

int give_up(int code, const char* what) {
  const char* why = errno != 0 ? std::strerror(errno) : "";
  std::fprintf(stderr, "drop: %s%s%s\n", what, *why != '\0' ? ": " : "", why);
  return code;
}

bool write_all(int fd, const char* octets, std::size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(fd, octets, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    octets += written;
    size -= static_cast<std::size_t>(written);
  }
  return true;
}

/// So that this folder, which anybody fills, takes no room that the queue needs.
bool has_room(int fd) {
  struct statvfs facts {};
  if (::fstatvfs(fd, &facts) != 0) return true;
  const std::uint64_t free = std::uint64_t{facts.f_bavail} * facts.f_frsize;
  const std::uint64_t all = std::uint64_t{facts.f_blocks} * facts.f_frsize;
  const bool has_names = facts.f_files == 0 || facts.f_favail >= facts.f_files / 20;
  return has_names && free >= std::min(kReserve, all / 5);
}

/// Standard input, to its end. Returns an exit code.
int copy_input(int to) {
  std::array<char, 65536> piece;
  std::string tail;  // the last octets of all
  std::uint64_t octets = 0;
  while (true) {
    const ssize_t got = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return give_up(EX_TEMPFAIL, "reading the message");
    if (got == 0) break;
    octets += static_cast<std::uint64_t>(got);
    errno = 0;
    if (octets > kMostOctets) return give_up(EX_DATAERR, "the message is over 1 GiB");
    if (!has_room(to)) return give_up(EX_TEMPFAIL, "the disk is nearly full");
    if (!write_all(to, piece.data(), static_cast<std::size_t>(got))) return give_up(EX_TEMPFAIL, "writing the message");
    tail.append(piece.data(), static_cast<std::size_t>(got));
    if (tail.size() > kEnd.size()) tail.erase(0, tail.size() - kEnd.size());
  }
  errno = 0;
  // Its writer was stopped in the middle: nobody was told that it is kept.
  if (tail != kEnd) return give_up(EX_DATAERR, "the message has no end");
  return 0;
}

/// Sorts by time, and is given once.
std::string new_name() {
  timespec now{};
  (void)::clock_gettime(CLOCK_REALTIME, &now);
  std::uint64_t chance = 0;
  // Without it the name is told from others' by the process.
  if (::getrandom(&chance, sizeof chance, 0) != sizeof chance) chance = static_cast<std::uint64_t>(::getpid());
  std::array<char, 64> text{};
  (void)std::snprintf(text.data(), text.size(), "%010llx.%09ld.%016llx", static_cast<unsigned long long>(now.tv_sec),
                      now.tv_nsec, static_cast<unsigned long long>(chance));
  return text.data();
}

}  // namespace

int main(int argc, char** argv) {
  ::clearenv();
  std::signal(SIGXFSZ, SIG_IGN);  // a limit of the caller's is an error of write()
  errno = 0;
  const bool privileged = ::getauxval(AT_SECURE) != 0 || ::geteuid() != ::getuid() || ::getegid() != ::getgid();
  const char* folder = argc > 1 ? argv[1] : kFolder;
  if (privileged && std::strcmp(folder, kFolder) != 0)
    return give_up(EX_NOPERM, "mail is dropped in the usual folder only");

  const int at = ::open(folder, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (at < 0) return give_up(EX_TEMPFAIL, folder);
  // Names with a dot are not looked at. One that is left by a crash is the daemon's to remove.
  const std::string name = new_name();
  const std::string unfinished = "." + name;
  const int file = ::openat(at, unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IWUSR);
  // Not one of the caller's three, which are messages' ways.
  if (file >= 0 && file <= STDERR_FILENO) return EX_SOFTWARE;
  if (file < 0) return give_up(EX_TEMPFAIL, "making a file in the drop folder");
  int code = copy_input(file);
  if (code == 0 && (::fchmod(file, kMode) != 0 || ::fsync(file) != 0))
    code = give_up(EX_TEMPFAIL, "writing the message");
  if (code == 0 && ::renameat(at, unfinished.c_str(), at, name.c_str()) != 0)
    code = give_up(EX_TEMPFAIL, "naming the message");
  if (code != 0) (void)::unlinkat(at, unfinished.c_str(), 0);
  if (code != 0) return code;
  // The name is on stable storage once its folder is, which this program may not open for reading: then all is synced.
  const int folder_fd = ::open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (folder_fd >= 0 && ::fsync(folder_fd) == 0) return 0;
  if (::syncfs(file) == 0) return 0;
  code = give_up(EX_TEMPFAIL, "writing the drop folder");
  (void)::unlinkat(at, name.c_str(), 0);
  return code;
}
