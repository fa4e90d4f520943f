#include "mta/maildrop.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mta/login_name.h"
#include "tests/support/fake_store.h"
#include "tests/support/harness.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::mta {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;
using tests::VirtualRuntime;

const std::string kWhole =
    "MAIL FROM:<ann@b.example>\r\nRCPT TO:<r@far.example>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\n";

/// A relay with a drop folder, in virtual time.
struct Site {
  Site()
      : store(runtime),
        config(std::make_shared<const conf::Config>(tests::harness_config())),
        context{runtime, store, limits, [this] { return config; }, accepting},
        server(context),
        maildrop(context, server, folder.path()) {
    fs::create_directory(folder.path() + "/maildrop");
  }
  ~Site() {
    store.release_commits();
    maildrop.stop();
    server.stop();
    runtime.run_until_idle();
  }
  fs::path drop(const std::string& name) const { return folder.path() + "/maildrop/" + name; }
  void put(const std::string& name, const std::string& text) const {
    std::ofstream(drop(name), std::ios::binary) << text;
  }
  std::size_t waiting() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder.path() + "/maildrop"), {}));
  }
  bool is_aside(const std::string& name) const {
    return fs::exists(fs::symlink_status(folder.path() + "/corrupt/" + name));
  }
  /// One look at the folder.
  void look() {
    if (!started) maildrop.start();
    if (started) runtime.advance(Maildrop::kPause);
    started = true;
    runtime.run_until_idle();
  }

  tests::TemporaryFolder folder;
  VirtualRuntime runtime;
  tests::FakeStore store;
  Limits limits;
  std::atomic<bool> accepting{true};
  std::shared_ptr<const conf::Config> config;
  ServerContext context;
  Server server;
  Maildrop maildrop;
  bool started = false;
};

}  // namespace

TEST_SUITE("mta/maildrop") {
  TEST_CASE("the head of a file") {
    struct Case {
      std::string text;
      bool is_whole, is_error;
    };
    for (const Case& each : {
             Case{"", false, false},
             {"MAIL FROM:<a@b>\r", false, false},
             {"MAIL FROM:<a@b> SIZE=3\r\nrcpt to:<c@d>\r\nRCPT TO:<e@f>\r\ndata\r\n", true, false},
             {"MAIL FROM:<a@b>\r\nDATA\r\n", false, true},
             {"RCPT TO:<c@d>\r\n", false, true},
             {"MAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n", false, true},
             {"EHLO x\r\n", false, true},
             {"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRSET\r\n", false, true},
             {"MAIL FROM:<a@b>\nRCPT TO:<c@d>\r\n", false, true},
             {"MAIL FROM:<a@b>\0\r\n"s, false, true},
             {"MAIL FROM:" + std::string(2037, 'x') + "\r\n", false, true},
             {std::string(3000, 'x'), false, true},
         }) {
      CAPTURE(each.text);
      const Result<std::optional<DropHead>> head = parse_drop_head(each.text);
      CHECK(!head.has_value() == each.is_error);
      if (head) CHECK(head->has_value() == each.is_whole);
    }
    const Result<std::optional<DropHead>> head = parse_drop_head(kWhole);
    REQUIRE(head);
    CHECK((*head)->mail == "MAIL FROM:<ann@b.example>");
    CHECK((*head)->recipients == std::vector<std::string>{"RCPT TO:<r@far.example>"});
    CHECK(kWhole.substr((*head)->octets).starts_with("Subject: x"));
  }

  TEST_CASE("a file is taken as its owner's, once, and removed after the commit") {
    Site site;
    site.put("1", kWhole);
    site.put(".2", kWhole);
    site.store.hold_commits();
    site.look();
    CHECK(site.store.committed.empty());
    CHECK(site.waiting() == 2);
    site.store.release_commits();
    site.runtime.run_until_idle();
    REQUIRE(site.store.committed.size() == 1);
    CHECK(site.waiting() == 1);
    CHECK(site.store.committed[0].body == "Subject: x\r\n\r\n.dot\r\n");
    const std::string uid = std::to_string(::getuid());
    CHECK(site.store.committed[0].message.origin.client == login_name(::getuid()) + "[uid=" + uid + "]");
    site.look();
    CHECK(site.store.committed.size() == 1);
  }

  TEST_CASE("large content goes through in pieces") {
    Site site;
    std::string text = kWhole.substr(0, kWhole.size() - 3);
    for (int i = 0; i < 20'000; ++i) text += "a line of a message that does not fit into one piece\r\n";
    site.put("1", text + ".\r\n");
    site.look();
    REQUIRE(site.store.committed.size() == 1);
    CHECK(site.waiting() == 0);
  }

  TEST_CASE("what is put off stays, and is asked for again") {
    Site site;
    site.put("1", kWhole);
    site.store.fail_commits(Errc::full);
    site.look();
    CHECK(site.waiting() == 1);
    site.store.fail_commits(std::nullopt);
    site.accepting = false;
    site.look();
    CHECK(site.waiting() == 1);
    CHECK(site.store.committed.empty());
    site.accepting = true;
    site.look();
    CHECK(site.waiting() == 0);
    CHECK(site.store.committed.size() == 1);
    CHECK(site.maildrop.corrupt() == 0);
  }

  TEST_CASE("of refused recipients the sender is told, the others get the message") {
    Site site;
    site.put("1",
             "MAIL FROM:<ann@b.example>\r\nRCPT TO:<nobody@known.example>\r\nRCPT TO:<bob@known.example>\r\nDATA\r\n"
             "Subject: x\r\n\r\ntext\r\n.\r\n");
    site.look();
    REQUIRE(site.store.committed.size() == 2);
    CHECK(site.store.committed[0].message.envelope.recipients.at(0).forward_path.text() == "bob@known.example");
    const tests::FakeStore::Committed& report = site.store.committed[1];
    CHECK(report.message.envelope.reverse_path.is_null());
    CHECK(report.message.envelope.recipients.at(0).forward_path.text() == "ann@b.example");
    CHECK(report.body.find("nobody@known.example") != std::string::npos);
    CHECK(report.body.find("bob@known.example") == std::string::npos);
    CHECK(report.body.find("Status: 5.1.1") != std::string::npos);
    CHECK(report.body.find("Subject: x") != std::string::npos);
    CHECK(site.waiting() == 0);
    CHECK_FALSE(site.is_aside("1"));
  }

  TEST_CASE("of more recipients than a message may have the sender is told") {
    Site site;
    conf::Config config = tests::harness_config();
    config.limits.recipients = 1;
    site.config = std::make_shared<const conf::Config>(config);
    site.put(
        "1",
        "MAIL FROM:<ann@b.example>\r\nRCPT TO:<bob@known.example>\r\nRCPT TO:<ann@known.example>\r\nDATA\r\n.\r\n");
    site.look();
    REQUIRE(site.store.committed.size() == 2);
    CHECK(site.store.committed[0].message.envelope.recipients.size() == 1);
    CHECK(site.store.committed[1].body.find("ann@known.example") != std::string::npos);
    CHECK(site.waiting() == 0);
  }

  TEST_CASE("where all is refused the sender is told of all") {
    Site site;
    site.put("1",
             "MAIL FROM:<ann@b.example>\r\nRCPT TO:<bob@known.example>\r\nRCPT TO:<ann@known.example>\r\nDATA\r\n"
             "bad\0\r\n.\r\n"s);
    site.look();
    REQUIRE(site.store.committed.size() == 1);
    CHECK(site.store.committed[0].body.find("bob@known.example") != std::string::npos);
    CHECK(site.store.committed[0].body.find("ann@known.example") != std::string::npos);
    CHECK(site.waiting() == 0);
  }

  TEST_CASE("where nobody can be told the file is set aside") {
    Site site;
    site.put("1", "MAIL FROM:<>\r\nRCPT TO:<nobody@known.example>\r\nDATA\r\ntext\r\n.\r\n");
    site.look();
    CHECK(site.store.committed.empty());
    CHECK(site.is_aside("1"));
    CHECK(site.maildrop.corrupt() == 1);
  }

  TEST_CASE("hostile files are set aside, and the good one goes") {
    Site site;
    site.put("0-no-end", "MAIL FROM:<a@b.example>\r\nRCPT TO:<r@b.example>\r\nDATA\r\ntext\r\n");
    site.put("0-more", kWhole + "MAIL FROM:<a@b.example>\r\n");
    site.put("0-grammar", "XCLIENT ADDR=192.0.2.1\r\n");
    site.put("0-bare", "MAIL FROM:<a@b.example>\nRCPT TO:<r@b.example>\nDATA\ntext\n.\n");
    site.put("0-empty", "");
    site.put("0-binary", std::string(100'000, '\0'));
    site.put("0-path", "MAIL FROM:a b c\r\nRCPT TO:<r@b.example>\r\nDATA\r\n.\r\n");
    const std::string secret = site.folder.path() + "/secret";
    std::ofstream(secret) << kWhole;
    fs::create_symlink(secret, site.drop("0-link"));
    fs::create_hard_link(secret, site.drop("0-hard"));
    REQUIRE(::mkfifo(site.drop("0-fifo").c_str(), 0666) == 0);
    fs::create_directory(site.drop("0-folder"));
    site.put("0-huge", "");
    fs::resize_file(site.drop("0-huge"), 1ULL << 40);
    site.put("1", kWhole);
    site.look();
    CHECK(site.store.committed.size() == 1);
    CHECK(site.waiting() == 0);
    CHECK(site.maildrop.corrupt() == 12);
    CHECK(fs::exists(secret));
    for (const char* name : {"0-no-end", "0-link", "0-hard", "0-fifo", "0-folder", "0-huge"})
      CHECK(site.is_aside(name));
  }

  TEST_CASE("a file that was never finished goes after a day") {
    Site site;
    site.put(".old", "MAIL");
    site.put(".new", "MAIL");
    fs::last_write_time(site.drop(".old"), fs::file_time_type::clock::now() - std::chrono::hours(25));
    site.look();
    CHECK_FALSE(fs::exists(site.drop(".old")));
    CHECK(fs::exists(site.drop(".new")));
  }
}

}  // namespace waypost::mta
