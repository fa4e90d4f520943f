#include "mta/confinement.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netdb.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mta/confined_paths.h"
#include "tests/support/temporary_folder.h"

using namespace waypost;
using namespace waypost::mta;
using std::string;
using std::vector;

namespace {

/// A relay's configuration and data in two folders, and a third one that it does not name.
struct Place {
  tests::TemporaryFolder folder;
  conf::Config config;
  Place() {
    for (const char* name : {"etc", "data", "elsewhere"}) std::filesystem::create_directory(at(name));
    for (const char* name : {"etc/waypost.toml", "elsewhere/secret"}) std::ofstream(at(name)) << "text\n";
    config.file = at("etc/waypost.toml");
    config.data_dir = at("data");
    config.control_socket = at("data/control.sock");
    config.submit_socket.clear();
    config.user.clear();
  }
  string at(const string& name) const { return folder.path() + "/" + name; }
};

/// What a confined child of ours found to be otherwise, a line each, and how it ended.
struct Ended {
  string wrong;
  int status = 0;
};

struct Child {
  Confinement confinement;
  string wrong;
  void check(bool as_it_should, const string& what) {
    if (!as_it_should) wrong += what + " (" + std::strerror(errno) + ")\n";
  }
  /// `result` is that of a system call.
  void refused(long result, int number, const string& what) { check(result < 0 && errno == number, what); }
};

Ended confined(const conf::Config& config, const std::function<void(Child&)>& run) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    Result<Confinement> made = confine(config);
    Child child;
    child.check(made.has_value(), made ? "" : made.error().what);
    if (made) child.confinement = *std::move(made);
    if (child.wrong.empty()) run(child);
    (void)!::write(ends[1], child.wrong.data(), child.wrong.size());
    ::_exit(0);
  }
  ::close(ends[1]);
  Ended ended;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    ended.wrong.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  REQUIRE(::waitpid(pid, &ended.status, 0) == pid);
  return ended;
}

bool is_missing(const string& what) {
  const Place place;
  return !confined(place.config, [&](Child& child) {
            for (const string& one : child.confinement.missing) child.check(one != what, one);
          }).wrong.empty();
}

/// In a build with sanitizers nothing is given up.
bool is_sanitized() {
  return is_missing("off in a build with sanitizers");
}

bool has_no_list_of_calls() {
  return is_missing("seccomp: not on this architecture");
}

int open_of(const string& path, int flags) {
  return ::open(path.c_str(), flags | O_CLOEXEC, 0600);
}

}  // namespace

TEST_SUITE("mta/confinement") {
  TEST_CASE("the folder above the first placeholder") {
    const std::pair<const char*, const char*> cases[] = {
        {"/var/mail/{domain}/{local}", "/var/mail/"},
        {"/var/mail/x-{local}", "/var/mail/"},
        {"/srv/{domain}", "/srv/"},
        {"/{domain}", "/"},
        {"/srv/all", "/srv/all"},
    };
    for (const auto& [maildir, want] : cases) CHECK(fixed_part(maildir) == want);
  }

  TEST_CASE("within folders") {
    const vector<string> folders{"/etc", "/var/mail", "/one/file"};
    for (const char* path : {"/etc", "/etc/a", "/etc/a/b", "/var/mail/x", "/one/file"}) CHECK(is_within(path, folders));
    for (const char* path : {"/", "/et", "/etcetera", "/var", "/var/mailx", "/one", ""})
      CHECK_FALSE(is_within(path, folders));
    CHECK(is_within("/any", {"/"}));
    CHECK_FALSE(is_within("/any", {}));
  }

  TEST_CASE("what a configuration needs") {
    conf::Config config;
    config.file = "/etc/waypost/waypost.toml";
    config.files = {"/etc/waypost/conf.d/", "/srv/lists/all", "sqlite:/srv/db/mail.db"};
    config.tls.certificate = "/srv/tls/c.pem";
    config.tls.certificates = {{"/srv/tls2/c.pem", "/srv/tls2/k.pem"}};
    config.auth.users = "/srv/users";
    config.delivery.reply_rules.push_back({"/srv/rules.toml", ""});
    config.routes.resize(2);
    config.routes[1].login.emplace().password_file = "/run/credentials/waypost.service/office";
    config.log.target = "/var/log/waypost/log";
    config.domains.resize(3);
    config.domains[1].deliver = conf::NextHop{conf::NextHop::Kind::maildir, {}, false, "/var/mail/{domain}/{local}"};
    config.domains[2].deliver = conf::NextHop{conf::NextHop::Kind::lmtp_socket, {}, false, "/run/dovecot/lmtp"};
    config.writable = {"/srv/backup"};
    const ConfinedPaths paths = confined_paths(config);
    CHECK(paths.read == vector<string>{"/etc/waypost/conf.d/", "/etc/waypost/waypost.toml",
                                       "/run/credentials/waypost.service/office", "/srv/db/mail.db", "/srv/lists/all",
                                       "/srv/rules.toml", "/srv/tls/c.pem", "/srv/tls2/c.pem", "/srv/tls2/k.pem",
                                       "/srv/users"});
    CHECK(paths.write == vector<string>{"/run/waypost/", "/srv/backup", "/srv/db/", "/var/log/waypost/", "/var/mail/",
                                        "/var/spool/waypost"});
  }

  TEST_CASE("in words") {
    Confinement confinement;
    confinement.user = "waypost";
    CHECK(text_of(confinement) == "user waypost");
    confinement.no_capabilities = confinement.system_calls = true;
    confinement.landlock = 2;
    CHECK(text_of(confinement) == "user waypost, no capabilities, seccomp, landlock (version 2)");
  }

  TEST_CASE("what a reload would need and the process gave up") {
    const Place place;
    std::filesystem::create_symlink(place.at("elsewhere"), place.at("etc/link"));
    Confinement confinement;
    confinement.open.read = {place.at("etc")};
    confinement.open.write = {place.at("data")};
    conf::Config config = place.config;
    config.tls.certificate = place.at("elsewhere/secret");
    CHECK(beyond(confinement, config).empty());  // nothing was given up
    confinement.landlock = 2;
    CHECK(beyond(confinement, config) == vector<string>{place.at("elsewhere/secret")});
    config.tls.certificate = place.at("etc/link/secret");
    CHECK(beyond(confinement, config) == vector<string>{place.at("etc/link/secret")});
    config.tls.certificate = place.at("data/new/../c.pem");
    CHECK(beyond(confinement, config).empty());
    std::filesystem::create_symlink(place.at("elsewhere/new"), place.at("data/dangling"));
    CHECK_FALSE(may_write(confinement, place.at("data/dangling")));
    config.tls.certificate = place.at("elsewhere/not-there");  // who reads it says so
    config.log.target = place.at("elsewhere/log");
    CHECK(beyond(confinement, config) == vector<string>{place.at("elsewhere/")});
    std::filesystem::create_symlink(place.at("elsewhere/log"), place.at("data/log"));
    config.log.target = place.at("data/log");
    CHECK(beyond(confinement, config) == vector<string>{place.at("elsewhere")});
    config.log.target = "/dev/stdout";
    CHECK(beyond(confinement, config).empty());
    CHECK(may_write(confinement, place.at("data/backup/monday")));
    CHECK_FALSE(may_write(confinement, place.at("data/../elsewhere/monday")));
    CHECK_FALSE(may_write(confinement, place.at("database")));
  }

  TEST_CASE("what the daemon does goes on") {
    if (is_sanitized()) return;
    const Place place;
    std::filesystem::create_symlink("/", place.at("data/link"));
    REQUIRE(::mkfifo(place.at("data/fifo").c_str(), 0600) == 0);
    const Ended ended = confined(place.config, [&](Child& child) {
      child.check(open_of(place.config.file, O_RDONLY) >= 0, "reading the configuration");
      child.check(open_of("/etc/hosts", O_RDONLY) >= 0, "reading hosts");
      child.check(::mkdir(place.at("data/tmp").c_str(), 0700) == 0, "making a folder");
      child.check(::mkdir(place.at("data/new").c_str(), 0700) == 0, "making another");
      const int file = open_of(place.at("data/tmp/1"), O_RDWR | O_CREAT | O_EXCL);
      child.check(file >= 0 && ::write(file, "text", 4) == 4 && ::fdatasync(file) == 0, "writing a file");
      child.check(::ftruncate(file, 0) == 0, "truncating it");
      child.check(::rename(place.at("data/tmp/1").c_str(), place.at("data/new/1").c_str()) == 0, "renaming it");
      child.check(::link(place.at("data/new/1").c_str(), place.at("data/tmp/2").c_str()) == 0, "linking it");
      child.check(::unlink(place.at("data/new/1").c_str()) == 0, "removing it");
      child.check(::rename(place.at("data/link").c_str(), place.at("data/new/link").c_str()) == 0,
                  "moving a user's link");
      child.check(::rename(place.at("data/fifo").c_str(), place.at("data/new/fifo").c_str()) == 0,
                  "moving a user's FIFO");
      bool ran = false;
      std::thread([&] { ran = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0; }).join();
      child.check(ran, "a thread with a socket");
      child.check(::socket(AF_INET6, SOCK_DGRAM, 0) >= 0 && ::socket(AF_UNIX, SOCK_STREAM, 0) >= 0, "other sockets");
      child.check(::getpwuid(0) != nullptr, "a user's name");
      addrinfo* found = nullptr;
      child.check(::getaddrinfo("localhost", "25", nullptr, &found) == 0, "a host's address");
    });
    CHECK(ended.wrong == "");
    CHECK(ended.status == 0);
  }

  TEST_CASE("what a link is to name may come later") {
    if (is_sanitized()) return;
    Place place;
    std::filesystem::create_symlink(place.at("elsewhere/new"), place.at("etc/link"));
    place.config.tls.certificate = place.at("etc/link");
    const Ended ended = confined(place.config, [&](Child& child) {
      child.check(open_of(place.at("elsewhere/secret"), O_RDONLY) >= 0, "beside what the link names");
    });
    CHECK(ended.wrong == "");
  }

  TEST_CASE("a link to a folder may come to name another") {
    if (is_sanitized()) return;
    Place place;
    for (const char* name : {"live", "certs", "certs/1", "certs/2", "live/new"})
      std::filesystem::create_directory(place.at(name));
    for (const char* name : {"certs/1/c.pem", "certs/2/c.pem", "live/new/c.pem"})
      std::ofstream(place.at(name)) << "x\n";
    std::filesystem::create_symlink("../certs/1", place.at("live/host"));
    place.config.tls.certificate = place.at("live/host/c.pem");
    const Ended ended = confined(place.config, [&](Child& child) {
      for (const char* name : {"live/host/c.pem", "certs/2/c.pem", "live/new/c.pem"})
        child.check(open_of(place.at(name), O_RDONLY) >= 0, name);
      if (child.confinement.landlock == 0) return;
      child.refused(open_of(place.at("elsewhere/secret"), O_RDONLY), EACCES, "a file elsewhere");
    });
    CHECK(ended.wrong == "");
  }

  TEST_CASE("what it never does is refused") {
    if (is_sanitized() || has_no_list_of_calls()) return;
    const Place place;
    const Ended ended = confined(place.config, [&](Child& child) {
      __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
      __user_cap_data_struct sets[2] = {};
      child.refused(::syscall(SYS_capget, &header, sets), ENOSYS, "asking for capabilities");
      child.refused(::socket(AF_PACKET, SOCK_RAW, 0), ENOSYS, "a packet socket");
      child.refused(::kill(::getppid(), SIGTERM), ENOSYS, "a signal to another process");
      child.refused(::syscall(SYS_tgkill, ::getppid(), ::getppid(), SIGTERM), ENOSYS, "a signal to another's thread");
      child.refused(::fork(), ENOSYS, "a process");
      child.refused(::setuid(0), ENOSYS, "becoming root");
      const auto map = [](int protection) {
        return ::mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
      };
      child.refused(map(PROT_READ | PROT_WRITE | PROT_EXEC), ENOSYS, "memory to be written and run");
      child.check(map(PROT_READ | PROT_WRITE) == 0, "memory");
      if (child.confinement.landlock == 0) return;
      child.refused(open_of(place.at("elsewhere/secret"), O_RDONLY), EACCES, "a file elsewhere");
      child.refused(open_of(place.at("elsewhere"), O_RDONLY | O_DIRECTORY), EACCES, "a folder elsewhere");
      child.refused(open_of(place.at("elsewhere/new"), O_WRONLY | O_CREAT), EACCES, "a new file elsewhere");
      child.refused(::unlink(place.at("elsewhere/secret").c_str()), EACCES, "removing a file elsewhere");
      child.refused(open_of(place.config.file, O_WRONLY), EACCES, "writing the configuration");
      child.refused(open_of(place.at("etc/new"), O_WRONLY | O_CREAT), EACCES, "a file beside it");
      child.refused(::symlink("/", place.at("data/link2").c_str()), ENOSYS, "a symbolic link");
      bool refused = false;
      std::thread([&] { refused = open_of(place.at("elsewhere/secret"), O_RDONLY) < 0; }).join();
      child.check(refused, "a file elsewhere, by another thread");
    });
    CHECK(ended.wrong == "");
    CHECK(ended.status == 0);
  }

  TEST_CASE("who runs a program, or looks into another process, is ended") {
    if (is_sanitized() || has_no_list_of_calls()) return;
    const Place place;
    const std::pair<const char*, std::function<void(Child&)>> cases[] = {
        {"execve", [](Child&) { ::execl("/bin/true", "true", nullptr); }},
        {"ptrace", [](Child&) { (void)::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }},
        {"unshare", [](Child&) { (void)::syscall(SYS_unshare, 0); }},
    };
    for (const auto& [name, run] : cases) {
      CAPTURE(name);
      const Ended ended = confined(place.config, run);
      CHECK((WIFSIGNALED(ended.status) && WTERMSIG(ended.status) == SIGSYS));
    }
  }

  TEST_CASE("confine = \"off\" leaves all but the user") {
    Place place;
    place.config.confine = false;
    const Ended ended = confined(place.config, [&](Child& child) {
      child.check(open_of(place.at("elsewhere/secret"), O_RDONLY) >= 0, "a file elsewhere");
      child.check(child.confinement.missing == vector<string>{"confine = \"off\""}, "what is missing");
      child.check(beyond(child.confinement, place.config).empty(), "beyond");
    });
    CHECK(ended.wrong == "");
  }
}
