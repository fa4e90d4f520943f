#include "mta/system_calls.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include <net/if.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/text.h"

namespace waypost::mta {
namespace {

// Others have other calls (socketcall(), mmap2(), futex_time64()), or clone() with its flags elsewhere.
#if (defined(__x86_64__) && defined(__LP64__)) || defined(__aarch64__)
constexpr bool kKnownArchitecture = true;
#else
constexpr bool kKnownArchitecture = false;
#endif

// What the daemon and its libraries call, and what other versions of these call in its place. To find what is missing:
// `journalctl -k --grep type=1326` names the call by its number ("syscall="), `strace -f` where it comes from. Names
// that libseccomp, or the architecture, has not are passed over.
//
// Why ENOSYS for all others, and not EPERM: a C library that knows a newer call takes that for an older kernel, and
// makes the older call in its place. So mail goes on after an upgrade of a library.
constexpr std::string_view kAllowed =
    // Files.
    "access chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 "
    "fallocate fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync flock fstat fstatat64 fstatfs fsync "
    "ftruncate getcwd getdents getdents64 lchown link linkat lseek lstat mkdir mkdirat newfstatat open openat "
    "openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename "
    "renameat renameat2 rmdir sendfile stat statfs statx sync_file_range syncfs truncate umask unlink unlinkat "
    "utimensat write writev "
    // Sockets and waiting; socket() is below.
    "accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd "
    "eventfd2 getpeername getsockname getsockopt inotify_add_watch inotify_init inotify_init1 inotify_rm_watch "
    "listen pipe pipe2 poll ppoll pselect6 recvfrom recvmmsg recvmsg select sendmmsg sendmsg sendto setsockopt "
    "shutdown signalfd4 socketpair timerfd_create timerfd_gettime timerfd_settime "
    // Memory; mmap() and mprotect() are below.
    "brk madvise mincore mlock mlock2 mremap msync munlock munmap "
    // Threads, signals and time; clone(), prctl(), prlimit64() and tgkill() are below.
    "arch_prctl clock_getres clock_gettime clock_nanosleep exit exit_group futex futex_requeue futex_wait "
    "futex_waitv futex_wake get_robust_list getcpu gettimeofday membarrier nanosleep restart_syscall rseq "
    "rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigtimedwait sched_getaffinity sched_getparam "
    "sched_getscheduler sched_yield set_robust_list set_tid_address setpriority sigaltstack time times "
    // Who we are.
    "getegid geteuid getgid getgroups getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage "
    "gettid getuid sysinfo uname";

// Nothing of ours or of a library ever makes these: who does has taken the process over. What is accepted is on disk.
constexpr std::string_view kDeadly =
    "acct add_key bpf chroot delete_module execve execveat finit_module fsconfig fsmount fsopen init_module "
    "kexec_file_load kexec_load keyctl mount mount_setattr move_mount open_by_handle_at open_tree perf_event_open "
    "pidfd_getfd pivot_root process_vm_readv process_vm_writev ptrace reboot request_key setns swapoff swapon "
    "umount2 unshare userfaultfd";

constexpr std::uint32_t kRefuse = SCMP_ACT_ERRNO(ENOSYS);
constexpr int kFamilies[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
constexpr std::uint32_t kIoctls[] = {FIONBIO, FIONREAD,   FIOCLEX,     FIONCLEX,
                                     TCGETS,  TIOCGWINSZ, SIOCGIFNAME, SIOCGIFINDEX};
constexpr int kPrctls[] = {PR_SET_NAME, PR_GET_NAME};

class Filter {
 public:
  /// `otherwise`: the action for calls without a rule.
  explicit Filter(std::uint32_t otherwise) : filter_(seccomp_init(otherwise)) {
    set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    set(SCMP_FLTATR_CTL_TSYNC, 1);
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  ~Filter() {
    if (filter_ != nullptr) seccomp_release(filter_);
  }

  void set(scmp_filter_attr attribute, std::uint32_t value) {
    note(filter_ == nullptr ? -ENOMEM : seccomp_attr_set(filter_, attribute, value));
  }
  void all(std::string_view name, std::uint32_t action) { add(name, action, 0, {}); }
  void where(std::string_view name, const scmp_arg_cmp& argument) { add(name, SCMP_ACT_ALLOW, 1, argument); }
  void load() {
    if (failed_ == 0) note(seccomp_load(filter_));
  }
  /// A negative errno; 0: all went well.
  int failed() const { return failed_; }

 private:
  void add(std::string_view name, std::uint32_t action, unsigned arguments, const scmp_arg_cmp& argument) {
    const int number = seccomp_syscall_resolve_name(std::string(name).c_str());
    if (number == __NR_SCMP_ERROR || failed_ != 0) return;
    note(seccomp_rule_add_array(filter_, action, number, arguments, &argument));
  }
  void note(int result) {
    if (failed_ == 0 && result < 0) failed_ = result;
  }

  scmp_filter_ctx filter_;
  int failed_ = 0;
};

/// An int: what is in the upper half of its register is nobody's.
constexpr scmp_arg_cmp equals(unsigned argument, std::uint32_t value) {
  return {argument, SCMP_CMP_MASKED_EQ, 0xffffffff, value};
}
constexpr scmp_arg_cmp is_null(unsigned argument) {
  return {argument, SCMP_CMP_EQ, 0, 0};
}
/// Of the bits in `mask` it has these.
constexpr scmp_arg_cmp has_bits(unsigned argument, std::uint64_t mask, std::uint64_t bits) {
  return {argument, SCMP_CMP_MASKED_EQ, mask, bits};
}

void add_rules(Filter& filter) {
  for (const std::string_view name : split(kAllowed, ' ')) filter.all(name, SCMP_ACT_ALLOW);
  for (const std::string_view name : split(kDeadly, ' ')) filter.all(name, SCMP_ACT_KILL_PROCESS);
  for (const int family : kFamilies) filter.where("socket", equals(0, static_cast<std::uint32_t>(family)));
  for (const unsigned long request : kIoctls) filter.where("ioctl", equals(1, request));
  for (const int option : kPrctls) filter.where("prctl", equals(0, static_cast<std::uint32_t>(option)));
  filter.where("prlimit64", is_null(2));  // asking, not setting
  // Ours alone: abort().
  filter.where("tgkill", equals(0, static_cast<std::uint32_t>(getpid())));
  // Threads, no processes.
  filter.where("clone", has_bits(0, CLONE_THREAD, CLONE_THREAD));
  // Nothing is both written and run. Libraries (of the name service) may be loaded later, too.
  filter.where("mmap", has_bits(2, PROT_EXEC, 0));
  filter.where("mmap", has_bits(2, PROT_WRITE, 0));
  filter.where("mprotect", has_bits(2, PROT_EXEC, 0));
}

}  // namespace

Result<> restrict_system_calls() {
  if (!kKnownArchitecture) return fail(Errc::unsupported, "seccomp: not on this architecture");
  // clone3() has its flags where no filter sees them: without it clone() is called, whose flags are looked at. It is
  // tried for each thread, and apart, so that the kernel does not log it.
  Filter threads(SCMP_ACT_ALLOW);
  threads.all("clone3", kRefuse);
  threads.load();
  Filter calls(kRefuse);
  calls.set(SCMP_FLTATR_CTL_LOG, 1);
  calls.all("clone3", SCMP_ACT_ALLOW);
  add_rules(calls);
  if (threads.failed() == 0) calls.load();
  const int number = threads.failed() != 0 ? -threads.failed() : -calls.failed();
  if (number == 0) return {};
  const Errc code = number == EPERM || number == EACCES                            ? Errc::denied
                    : number == ENOSYS || number == EOPNOTSUPP || number == EINVAL ? Errc::unsupported
                                                                                   : Errc::io;
  return fail(code, std::string("seccomp: ") + std::strerror(number));
}

}  // namespace waypost::mta
