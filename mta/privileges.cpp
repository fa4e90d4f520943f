#include "mta/privileges.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <optional>
#include <string_view>
#include <vector>

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace waypost::mta {
namespace {

Error from_errno(const std::string& doing) {
  const int number = errno;
  const Errc code = number == EACCES || number == EPERM ? Errc::denied : number == ENOENT ? Errc::not_found : Errc::io;
  return Error(code, doing + ": " + std::strerror(number));
}

struct Account {
  uid_t uid = 0;
  gid_t gid = 0;
};

Result<Account> find_account(const std::string& user) {
  std::vector<char> buffer(16384);
  passwd entry{};
  passwd* found = nullptr;
  const int failed = getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (failed != 0 || found == nullptr) {
    return fail(Errc::not_found, "there is no user \"" + user + "\": create it, or set `user` in the configuration");
  }
  return Account{entry.pw_uid, entry.pw_gid};
}

std::optional<gid_t> find_group(const std::string& name) {
  std::vector<char> buffer(16384);
  group entry{};
  group* found = nullptr;
  const int failed = getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (failed != 0 || found == nullptr) return std::nullopt;
  return entry.gr_gid;
}

}  // namespace

std::size_t raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
  (void)getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

Result<> make_folder_for(const std::string& path, unsigned mode, const std::string& user, const std::string& group) {
  const bool made = mkdir(path.c_str(), mode) == 0;
  if (!made && errno != EEXIST) return fail(from_errno("making the folder " + path));
  if (!made) return {};
  if (geteuid() == 0 && !user.empty()) {
    Result<Account> account = find_account(user);
    if (!account) return fail(account.error());
    const gid_t gid = find_group(group).value_or(account->gid);
    if (chown(path.c_str(), account->uid, gid) != 0) return fail(from_errno("giving " + path + " to " + user));
  }
  // Whatever the umask is.
  if (chmod(path.c_str(), mode) != 0) return fail(from_errno("making the folder " + path));
  return {};
}

Result<> become(const std::string& user) {
  if (geteuid() == 0 && !user.empty()) {
    Result<Account> account = find_account(user);
    if (!account) return fail(account.error());
    if (initgroups(user.c_str(), account->gid) != 0 || setresgid(account->gid, account->gid, account->gid) != 0 ||
        setresuid(account->uid, account->uid, account->uid) != 0) {
      return fail(from_errno("becoming the user " + user));
    }
  }
  (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  return {};
}

std::string user_name() {
  std::vector<char> buffer(16384);
  passwd entry{};
  passwd* found = nullptr;
  const int failed = getpwuid_r(geteuid(), &entry, buffer.data(), buffer.size(), &found);
  return failed != 0 || found == nullptr ? std::to_string(geteuid()) : std::string(entry.pw_name);
}

Result<> drop_bounding_set() {
  // The kernel may know more of them than the header: EINVAL is the end.
  for (unsigned long one = 0;; ++one) {
    const int has = prctl(PR_CAPBSET_READ, one, 0, 0, 0);
    if (has < 0 && errno == EINVAL) return {};
    if (has == 0 || (has > 0 && prctl(PR_CAPBSET_DROP, one, 0, 0, 0) == 0)) continue;
    if (errno == EPERM && geteuid() != 0) return {};
    return fail(from_errno("bounding set"));
  }
}

Result<> drop_capabilities() {
  (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  const bool known = syscall(SYS_capget, &header, sets) == 0;
  const auto is_none = [](const __user_cap_data_struct& set) {
    return set.effective == 0 && set.permitted == 0 && set.inheritable == 0;
  };
  // A sandbox may refuse to set what is so already.
  if (known && std::all_of(std::begin(sets), std::end(sets), is_none)) return {};
  std::fill(std::begin(sets), std::end(sets), __user_cap_data_struct{});
  if (syscall(SYS_capset, &header, sets) == 0) return {};
  return fail(from_errno("dropping capabilities"));
}

}  // namespace waypost::mta
