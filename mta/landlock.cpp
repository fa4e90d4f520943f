#include "mta/landlock.h"

#include <cerrno>
#include <cstdint>
#include <cstring>

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace waypost::mta {
namespace {

// Of kernels later than Debian 12's headers.
constexpr std::uint64_t kTruncate = 1ULL << 14;  // version 3
constexpr std::uint64_t kIoctlDev = 1ULL << 15;  // version 5

constexpr int kLeast = 2;  // version 1 denies each rename to another folder, hence the end of a delivery to a Maildir

constexpr std::uint64_t kReadFile = LANDLOCK_ACCESS_FS_READ_FILE;
constexpr std::uint64_t kRead = kReadFile | LANDLOCK_ACCESS_FS_READ_DIR;
// Links and FIFOs, since users leave such in the drop folder, and it moves them out of the way. Making new ones is
// refused elsewhere (mta/system_calls).
constexpr std::uint64_t kWrite = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                                 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                                 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER;
// Nobody may do these: no rule has them.
constexpr std::uint64_t kNever =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK;

tl::unexpected<Error> from_errno(const std::string& doing) {
  const int number = errno;
  const Errc code = number == ENOSYS || number == EOPNOTSUPP ? Errc::unsupported
                    : number == EPERM || number == EACCES    ? Errc::denied
                                                             : Errc::io;
  return fail(code, doing + ": " + std::strerror(number));
}

class Descriptor {
 public:
  explicit Descriptor(long fd) : fd_(static_cast<int>(fd)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Result<> allow(const Descriptor& rules, const std::string& path, std::uint64_t rights) {
  const Descriptor at(::open(path.c_str(), O_PATH | O_CLOEXEC));
  struct stat facts {};
  if (at.get() < 0 || ::fstat(at.get(), &facts) != 0) return {};  // who needs it is told then
  landlock_path_beneath_attr rule{};
  rule.parent_fd = at.get();
  rule.allowed_access = S_ISDIR(facts.st_mode) ? rights : kReadFile;
  if (::syscall(SYS_landlock_add_rule, rules.get(), LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0) return {};
  return from_errno("landlock: allowing " + path);
}

}  // namespace

Result<int> landlock_version() {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 0 && errno == ENOSYS) return fail(Errc::unsupported, "landlock: this kernel has none");
  if (version < 0 && errno == EOPNOTSUPP)
    return fail(Errc::unsupported, "landlock: this kernel was started without it");
  if (version < 0) return from_errno("landlock");
  if (version < kLeast)
    return fail(Errc::unsupported, "landlock: that of this kernel, of Linux before 5.19, has no renames");
  return static_cast<int>(version);
}

Result<> restrict_to_folders(int version, const std::vector<std::string>& read, const std::vector<std::string>& write) {
  const std::uint64_t write_rights = kRead | kWrite | (version >= 3 ? kTruncate : 0);
  landlock_ruleset_attr all{};
  all.handled_access_fs = write_rights | kNever | (version >= 5 ? kIoctlDev : 0);
  const Descriptor rules(::syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0));
  if (rules.get() < 0) return from_errno("landlock");
  for (const std::string& path : read) {
    if (const Result<> allowed = allow(rules, path, kRead); !allowed) return allowed;
  }
  for (const std::string& path : write) {
    if (const Result<> allowed = allow(rules, path, write_rights); !allowed) return allowed;
  }
  (void)::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);  // else only root may
  if (::syscall(SYS_landlock_restrict_self, rules.get(), 0) == 0) return {};
  return from_errno("landlock");
}

}  // namespace waypost::mta
