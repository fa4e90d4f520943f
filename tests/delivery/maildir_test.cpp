#include "delivery/maildir.h"

#include <set>

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/delivery/folder.h"
#include "tests/support/sim_disk.h"

using namespace waypost;
using namespace waypost::delivery;
using tests::Call;
using tests::Fault;
using tests::Loss;
using tests::names_in;
using tests::octets_of;
using tests::SimDisk;
using tests::TemporaryFolder;

namespace {

smtp::Mailbox mailbox(const std::string& local, const std::string& domain) {
  smtp::Mailbox mailbox;
  mailbox.local = local;
  mailbox.domain = domain;
  return mailbox;
}

unsigned mode_of(const std::string& path) {
  struct stat found {};
  REQUIRE(::stat(path.c_str(), &found) == 0);
  return found.st_mode & 07777;
}

MaildirFile create(const std::string& maildir, const std::string& unique) {
  Result<MaildirFile> file = MaildirFile::create(queue::open_folder, maildir, unique);
  if (!file) FAIL(file.error().what);
  return std::move(*file);
}

std::string filtered(const std::string& text, std::size_t split) {
  ReturnPathFilter filter;
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += split) filter.feed(std::string_view(text).substr(at, split), out);
  filter.finish(out);
  return out;
}

}  // namespace

TEST_SUITE("delivery/maildir") {
  TEST_CASE("no address names a path of its own [C10]") {
    struct Row {
      const char* local;
      const char* domain;
      const char* want;
    };
    const Row rows[] = {
        {"user", "b.example", "/m/b.example/user"},
        {"User.Name+tag", "B.Example", "/m/b.example/User.Name+tag"},
        {"a=b_c-d@e", "b.example", "/m/b.example/a=b_c-d@e"},
        {"..", "b.example", "/m/b.example/%2E."},
        {".", "b.example", "/m/b.example/%2E"},
        {".hidden", "b.example", "/m/b.example/%2Ehidden"},
        {"../../etc/passwd", "b.example", "/m/b.example/%2E.%2F..%2Fetc%2Fpasswd"},
        {"a/b", "b.example", "/m/b.example/a%2Fb"},
        {"a b", "b.example", "/m/b.example/a%20b"},
        {"a%2Fb", "b.example", "/m/b.example/a%252Fb"},
        {"", "b.example", "/m/b.example/%"},
        {"{domain}", "b.example", "/m/b.example/%7Bdomain%7D"},
        {"$(id)`|;&", "b.example", "/m/b.example/%24%28id%29%60%7C%3B%26"},
        {"j\xc3\xbcrgen", "b.example", "/m/b.example/j%C3%BCrgen"},
        {"a\nb", "b.example", "/m/b.example/a%0Ab"},
        {"r", "[192.0.2.1]", "/m/%5B192.0.2.1%5D/r"},
        {"r", "[IPv6:2001:db8::1]", "/m/%5Bipv6%3A2001%3Adb8%3A%3A1%5D/r"},
    };
    for (const Row& row : rows) CHECK(maildir_path("/m/{domain}/{local}", mailbox(row.local, row.domain)) == row.want);
    CHECK(maildir_path("/m/all", mailbox("a", "b.example")) == "/m/all");
    CHECK(maildir_path("{local}/{local}{x}", mailbox("a", "b.example")) == "a/a{x}");
  }

  TEST_CASE("unique names: time, process, count, host; never the same one") {
    net::WallTime now(std::chrono::milliseconds(1716400000007));
    std::string name = maildir_unique_name(now, "relay.example");
    CHECK(name.starts_with("1716400000.M007000P" + std::to_string(::getpid()) + "_"));
    CHECK(name.ends_with(".relay.example"));
    CHECK(maildir_unique_name(now, "a/b:c").ends_with(".a\\057b\\072c"));
    std::set<std::string> names;
    for (int i = 0; i < 1000; ++i) names.insert(maildir_unique_name(now, "relay.example"));
    CHECK(names.size() == 1000);
  }

  TEST_CASE("a file goes through tmp/ into new/, with LF line ends and modes that no umask changes") {
    TemporaryFolder root;
    mode_t umask_before = ::umask(0277);
    std::string maildir = root.path() + "/b.example/r";
    MaildirFile file = create(maildir + "/", "1.M2P3_4.h");
    CHECK(names_in(maildir + "/tmp") == std::vector<std::string>{"1.M2P3_4.h"});
    CHECK(names_in(maildir + "/new").empty());
    REQUIRE(file.write("Subject: x\r"));
    REQUIRE(file.write("\n\r\na\rb\nc\r\r\n"));
    REQUIRE(file.write("end\r"));
    Result<std::string> path = file.commit();
    ::umask(umask_before);
    REQUIRE(path);
    CHECK(*path == maildir + "/new/1.M2P3_4.h");
    CHECK(octets_of(*path) == "Subject: x\n\na\rb\nc\r\nend\r");
    CHECK(names_in(maildir + "/tmp").empty());
    CHECK(mode_of(*path) == 0600);
    for (const char* folder :
         {"/b.example", "/b.example/r", "/b.example/r/cur", "/b.example/r/new", "/b.example/r/tmp"})
      CHECK(mode_of(root.path() + folder) == 0700);
  }

  TEST_CASE("a large message in pieces of any size is the same file") {
    TemporaryFolder root;
    std::string wire, want;
    for (int i = 0; i < 9000; ++i) {
      wire += "line " + std::to_string(i) + " of a message\r\n";
      want += "line " + std::to_string(i) + " of a message\n";
    }
    int count = 0;
    for (std::size_t split : {1, 7, 4096, 1 << 20}) {
      MaildirFile file = create(root.path() + "/m", "u" + std::to_string(count++));
      for (std::size_t at = 0; at < wire.size(); at += split) {
        Result<> written = file.write(std::string_view(wire).substr(at, split));
        if (!written) FAIL(written.error().what);
      }
      Result<std::string> path = file.commit();
      REQUIRE(path);
      CHECK(octets_of(*path) == want);
    }
  }

  TEST_CASE("without commit nothing is left behind, also after a move") {
    TemporaryFolder root;
    std::string maildir = root.path() + "/m";
    {
      MaildirFile first = create(maildir, "a");
      MaildirFile second = create(maildir, "b");
      REQUIRE(first.write(std::string(200'000, 'x')));
      first = std::move(second);
      CHECK(names_in(maildir + "/tmp") == std::vector<std::string>{"b"});
    }
    CHECK(names_in(maildir + "/tmp").empty());
    CHECK(names_in(maildir + "/new").empty());
  }

  TEST_CASE("folders: missing ones are made, those that exist are kept as they are") {
    TemporaryFolder root;
    std::string maildir = root.path() + "/m";
    REQUIRE(::mkdir(maildir.c_str(), 0750) == 0);
    REQUIRE(::chmod(maildir.c_str(), 0750) == 0);
    REQUIRE(::mkdir((maildir + "/tmp").c_str(), 0700) == 0);
    REQUIRE(create(maildir, "a").commit());
    CHECK(mode_of(maildir) == 0750);
    CHECK(names_in(maildir + "/new") == std::vector<std::string>{"a"});
  }

  TEST_CASE("names that exist are not written over, links are not followed [C10]") {
    TemporaryFolder root;
    std::string maildir = root.path() + "/m";
    MaildirFile first = create(maildir, "a");
    Result<MaildirFile> second = MaildirFile::create(queue::open_folder, maildir, "a");
    REQUIRE_FALSE(second);
    CHECK(second.error().code == Errc::exists);

    REQUIRE(::symlink("/etc/hostname", (maildir + "/tmp/b").c_str()) == 0);
    CHECK_FALSE(MaildirFile::create(queue::open_folder, maildir, "b"));

    std::string other = root.path() + "/other";
    REQUIRE(::mkdir(other.c_str(), 0700) == 0);
    REQUIRE(::symlink(maildir.c_str(), (root.path() + "/to_m").c_str()) == 0);
    REQUIRE(create(root.path() + "/to_m", "c").commit());
    REQUIRE(::symlink((maildir + "/new").c_str(), (other + "/new").c_str()) == 0);
    CHECK_FALSE(MaildirFile::create(queue::open_folder, other, "d"));
  }

  TEST_CASE("errors: a path through a file is io, a name that is too long too") {
    TemporaryFolder root;
    std::string file = root.path() + "/file";
    std::ofstream(file) << "x";
    Result<MaildirFile> through = MaildirFile::create(queue::open_folder, file + "/r", "a");
    REQUIRE_FALSE(through);
    CHECK(through.error().code == Errc::io);
    Result<MaildirFile> too_long =
        MaildirFile::create(queue::open_folder, root.path() + "/" + std::string(300, 'x'), "a");
    REQUIRE_FALSE(too_long);
    CHECK(too_long.error().code == Errc::io);
    CHECK(too_long.error().what.find('\n') == std::string::npos);
  }

  TEST_CASE("F8: what was delivered survives a power cut, also after a kill while the folders were made") {
    auto deliver = [](SimDisk& disk, const std::string& unique) {
      Result<MaildirFile> file = MaildirFile::create(disk.open_folder(), "/mail/b.example/r", unique);
      return file && file->write("text\r\n") && file->commit();
    };
    bool killed = true;
    for (std::uint64_t at = 0; killed; ++at) {
      SimDisk disk(at);
      disk.before = [at](const Call& call) { return call.position == at ? Fault::cut : Fault::none; };
      bool first = deliver(disk, "a");
      killed = disk.off();
      CHECK(first == !killed);
      disk.before = nullptr;
      disk.kill();
      REQUIRE(deliver(disk, "b"));
      disk.lose_power(at, Loss::drop_all);
      CHECK(disk.octets("/mail/b.example/r/new/b") == "text\n");
      if (first) CHECK(disk.octets("/mail/b.example/r/new/a") == "text\n");
      REQUIRE(at < 1000);
    }
  }

  TEST_CASE("Return-Path fields are dropped from the header section, and from nothing else [RFC 5321 4.4]") {
    struct Row {
      const char* text;
      const char* want;
    };
    const Row rows[] = {
        {"", ""},
        {"Subject: x\r\n\r\nbody\r\n", "Subject: x\r\n\r\nbody\r\n"},
        {"Return-Path: <a@b>\r\nSubject: x\r\n\r\nb\r\n", "Subject: x\r\n\r\nb\r\n"},
        {"Subject: x\r\nRETURN-path:\r\n\r\nb\r\n", "Subject: x\r\n\r\nb\r\n"},
        {"return-path \t: <a>\r\nX: 1\r\n\r\n", "X: 1\r\n\r\n"},
        {"Return-Path: <a>\r\n (folded\r\n\ttwice)\r\nX: 1\r\n y\r\n\r\n", "X: 1\r\n y\r\n\r\n"},
        {"Return-Path: <a>\r\nReturn-Path: <b>\r\n\r\nb", "\r\nb"},
        {"Return-Paths: <a>\r\n\r\n", "Return-Paths: <a>\r\n\r\n"},
        {"Return-Pat: <a>\r\n\r\n", "Return-Pat: <a>\r\n\r\n"},
        {"X-Return-Path: <a>\r\n\r\n", "X-Return-Path: <a>\r\n\r\n"},
        {"Return: <a>\r\n\r\n", "Return: <a>\r\n\r\n"},
        {"\r\nReturn-Path: <a>\r\n", "\r\nReturn-Path: <a>\r\n"},
        {"X: 1\r\n\r\nReturn-Path: <a>\r\n", "X: 1\r\n\r\nReturn-Path: <a>\r\n"},
        {"no field\r\nReturn-Path: <a>\r\n", "no field\r\nReturn-Path: <a>\r\n"},
        {"Return-Path\r\nReturn-Path: <a>\r\n", "Return-Path\r\nReturn-Path: <a>\r\n"},
        {" folded nothing\r\nReturn-Path: <a>\r\n", " folded nothing\r\nReturn-Path: <a>\r\n"},
        {":\r\nReturn-Path: <a>\r\n", ":\r\nReturn-Path: <a>\r\n"},
        {"Return-Path", "Return-Path"},
        {"Return-Path:", ""},
        {"Return-Path: <a>", ""},
        {"X: 1\r\nRetur", "X: 1\r\nRetur"},
        {"X: 1\r\nReturn-Path: <a>\r\n b", "X: 1\r\n"},
        {"X:\r\n\xff: y\r\n\r\n", "X:\r\n\xff: y\r\n\r\n"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.text);
      for (std::size_t split : {1, 2, 3, 5, 1000}) CHECK(filtered(row.text, split) == row.want);
    }
    std::string spaces = "Return-Path" + std::string(10'000, ' ') + ": <a>\r\n\r\n";
    CHECK(filtered(spaces, 100) == spaces);
  }
}
