#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include "base/base64.h"
#include "mta/session.h"
#include "tests/support/harness.h"
#include "tests/support/scram_client.h"
#include "tests/support/sqlite_file.h"
#include "tests/support/temporary_folder.h"

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using tests::Harness;
using tests::HarnessOptions;
using tests::ScramClient;

constexpr std::string_view kMail = "MAIL FROM:<ann@b.example>";
constexpr std::string_view kFar = "RCPT TO:<r@far.example>";

/// ann's password is "secret", bob's "hunter2", by verifiers that cost nothing; eve has a hash alone.
class Files {
 public:
  Files() {
    write("ann:*:" + verifier("secret") + "\nbob:*:" + verifier("hunter2") +
          "\neve:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n");
  }
  void write(const std::string& text) const { std::ofstream(path()) << text; }
  std::string path() const { return folder_.path() + "/users"; }
  static std::string verifier(std::string_view password) {
    return scram::text(scram::make_verifier(password, "salt", 1));
  }

  HarnessOptions options(conf::Role role = conf::Role::submission) const {
    HarnessOptions out;
    out.listener.role = role;
    out.config.auth.users = path();
    out.config.auth.require_tls = false;
    return out;
  }

 private:
  tests::TemporaryFolder folder_;
};

std::string plain(std::string_view login, std::string_view password) {
  return base64_encode('\0' + std::string(login) + '\0' + std::string(password));
}

/// The reply to an exchange of SCRAM, to its end.
std::string scram_login(Harness& h, ScramClient client) {
  std::string heard = h.say("AUTH SCRAM-SHA-256 " + base64_encode(client.first()));
  if (!heard.starts_with("334 ")) return heard;
  const std::optional<std::string> challenge = base64_decode(heard.substr(4, heard.size() - 6));
  REQUIRE(challenge);
  heard = h.say(base64_encode(*client.proof(*challenge)));
  if (!heard.starts_with("334 ")) return heard;
  CHECK(base64_decode(heard.substr(4, heard.size() - 6)) == client.signature);
  return h.say("");
}

ScramClient scram_client(std::string login, std::string password) {
  ScramClient client;
  client.login = std::move(login);
  client.password = std::move(password);
  return client;
}

TEST_SUITE("mta/session_auth") {
  TEST_CASE("where AUTH is offered, and what AUTH and MAIL get there") {
    const Files files;
    struct {
      conf::Role role;
      std::optional<bool> listener;
      bool has_users, require_tls;
      std::string_view offer, auth;
    } const table[] = {
        {conf::Role::submission, std::nullopt, true, false, "AUTH SCRAM-SHA-256 PLAIN LOGIN", "235 2.7.0"},
        {conf::Role::submission, true, true, false, "AUTH SCRAM-SHA-256 PLAIN LOGIN", "235 2.7.0"},
        {conf::Role::submission, false, true, false, "", "502 5.5.1"},
        {conf::Role::submission, std::nullopt, true, true, "", "538 5.7.11"},
        {conf::Role::submission, std::nullopt, false, false, "", "502 5.5.1"},
        {conf::Role::mx, std::nullopt, true, false, "", "502 5.5.1"},
        {conf::Role::mx, true, true, false, "AUTH SCRAM-SHA-256 PLAIN LOGIN", "235 2.7.0"},
        {conf::Role::mx, true, true, true, "", "538 5.7.11"},
    };
    for (const auto& row : table) {
      HarnessOptions options = files.options(row.role);
      options.listener.auth = row.listener;
      options.config.auth.require_tls = row.require_tls;
      if (!row.has_users) options.config.auth.users.clear();
      Harness h(std::move(options));
      h.heard();
      const std::string ehlo = h.say("EHLO c.example");
      CAPTURE(ehlo);
      const bool offered = ehlo.find("250-AUTH") != std::string::npos;
      CHECK(offered == !row.offer.empty());
      if (offered) CHECK(ehlo.find(std::string(row.offer) + "\r\n") != std::string::npos);
      CHECK(h.say("AUTH PLAIN " + plain("ann", "secret")).starts_with(row.auth));
      const bool may = row.auth == "235 2.7.0"sv;
      CHECK(h.say({kMail, kFar}).starts_with(may || row.role == conf::Role::mx ? "250 2.1.0" : "530 5.7.0"));
      CHECK(h.all_heard().ends_with(
          may ? "250 2.1.5 Ok\r\n"
              : (row.role == conf::Role::mx ? "554 5.7.1 Relay access denied\r\n" : "503 5.5.1 Send MAIL first\r\n")));
    }
  }

  TEST_CASE("one line each: AUTH and its reply [RFC 4954 4]") {
    const Files files;
    struct {
      std::string line;
      std::string_view want;
    } const table[] = {
        {"AUTH PLAIN " + plain("ann", "secret"), "235 2.7.0"},
        {"auth plain " + plain("bob", "hunter2"), "235 2.7.0"},
        {"AUTH PLAIN " + plain("eve", "secret"), "235 2.7.0"},
        {"AUTH PLAIN " + plain("ann", "Secret"), "535 5.7.8"},
        {"AUTH PLAIN " + plain("nobody", "secret"), "535 5.7.8"},
        {"AUTH PLAIN " + base64_encode("bob\0ann\0secret"sv), "535 5.7.8"},
        {"AUTH PLAIN =", "501 5.5.2"},
        {"AUTH PLAIN " + base64_encode("ann secret"), "501 5.5.2"},
        {"AUTH PLAIN !!!!", "501 5.5.2"},
        {"AUTH PLAIN AAA", "501 5.5.2"},
        {"AUTH PLAIN a b", "501 5.5.4"},
        {"AUTH", "501 5.5.4"},
        {"AUTH CRAM-MD5", "504 5.5.4"},
        {"AUTH SCRAM-SHA-256-PLUS", "504 5.5.4"},
        {"AUTH EXTERNAL =", "504 5.5.4"},
        {"AUTH LOGIN", "334 VXNlcm5hbWU6"},
        {"AUTH LOGIN " + base64_encode("ann"), "334 UGFzc3dvcmQ6"},
        {"AUTH LOGIN =", "535 5.7.8"},
        {"AUTH PLAIN", "334 \r\n"},
        {"AUTH SCRAM-SHA-256", "334 \r\n"},
        {"AUTH SCRAM-SHA-256 =", "501 5.5.2"},
        {"AUTH PLAIN " + std::string(4000, 'A'), "501 5.5.2"},
        {"AUTH PLAIN " + std::string(12288, 'A'), "500 5.5.2"},
        {"NOOP " + std::string(2048, 'A'), "500 5.5.2"},
    };
    for (const auto& [line, want] : table) {
      CAPTURE(line);
      Harness h(files.options());
      h.greet();
      CHECK(h.say(line).starts_with(want));
    }
  }

  TEST_CASE("a dialogue each") {
    const Files files;
    const std::string user = base64_encode("ann"), good = base64_encode("secret"), bad = base64_encode("wrong");
    struct {
      std::vector<std::string> lines;
      std::string_view want;
    } const table[] = {
        {{"AUTH PLAIN", plain("ann", "secret")}, "334 235"},
        {{"AUTH PLAIN", plain("ann", "wrong")}, "334 535"},
        {{"AUTH PLAIN", "*"}, "334 501"},
        {{"AUTH PLAIN", ""}, "334 501"},
        {{"AUTH PLAIN", "="}, "334 501"},
        {{"AUTH LOGIN", user, good}, "334 334 235"},
        {{"AUTH LOGIN", user, bad}, "334 334 535"},
        {{"AUTH LOGIN " + user, good}, "334 235"},
        {{"AUTH LOGIN", user, "*"}, "334 334 501"},
        {{"AUTH LOGIN", "*", "NOOP"}, "334 501 250"},
        {{"AUTH LOGIN", "ann", "NOOP"}, "334 501 250"},
        {{"AUTH LOGIN", std::string(12287, 'A'), "NOOP"}, "334 500 250"},
        {{"AUTH LOGIN", user, std::string(12284, 'A')}, "334 334 535"},
        {{"AUTH PLAIN " + plain("ann", "wrong"), "AUTH PLAIN " + plain("ann", "secret")}, "535 235"},
        {{"AUTH PLAIN " + plain("ann", "secret"), "AUTH PLAIN " + plain("ann", "secret")}, "235 503"},
        {{"AUTH PLAIN " + plain("ann", "secret"), "EHLO c", "AUTH PLAIN " + plain("ann", "secret")}, "235 250 503"},
        {{"AUTH PLAIN " + plain("ann", "secret"), "RSET", std::string(kMail), std::string(kFar)}, "235 250 250 250"},
        {{std::string(kMail)}, "530"},
        {{"HELO c.example", "AUTH PLAIN " + plain("ann", "secret")}, "250 503"},
    };
    for (const auto& [lines, want] : table) {
      CAPTURE(want);
      Harness h(files.options());
      h.greet();
      std::string heard;
      for (const std::string& line : lines) heard += h.say(line);
      CHECK(Harness::codes(heard) == want);
    }
  }

  TEST_CASE("AUTH before EHLO, and within a transaction") {
    const Files files;
    HarnessOptions options = files.options();
    options.client = "192.0.2.1";
    Harness h(std::move(options));
    h.heard();
    CHECK(h.say("AUTH PLAIN " + plain("ann", "secret")).starts_with("503 5.5.1"));
    h.greet();
    h.say(kMail);
    CHECK(h.say("AUTH PLAIN " + plain("ann", "secret")).starts_with("503 5.5.1"));
    h.say("RSET");
    CHECK(h.say("AUTH PLAIN " + plain("ann", "secret")).starts_with("235 2.7.0"));
  }

  TEST_CASE("what comes behind AUTH before its reply ends the session [RFC 2920 3.1]") {
    const Files files;
    Harness h(files.options());
    h.greet();
    CHECK(
        h.send("AUTH PLAIN " + plain("ann", "secret") + "\r\n" + std::string(kMail) + "\r\n").starts_with("554 5.5.0"));
    CHECK(h.ended());
  }

  TEST_CASE("SCRAM-SHA-256 [RFC 7677]") {
    const Files files;
    struct {
      std::string login, password;
      std::string_view want;
    } const table[] = {
        {"ann", "secret", "235 2.7.0"},
        {"ann", "wrong", "535 5.7.8"},
        {"nobody", "secret", "535 5.7.8"},
        {"eve", "secret", "535 5.7.8"},  // has a hash alone
    };
    for (const auto& [login, password, want] : table) {
      CAPTURE(login);
      Harness h(files.options());
      h.greet();
      CHECK(scram_login(h, scram_client(login, password)).starts_with(want));
    }
    files.write("eve:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n");
    Harness h(files.options());
    h.heard();
    CHECK(h.say("EHLO c.example").find("AUTH PLAIN LOGIN\r\n") != std::string::npos);
    CHECK(h.say("AUTH SCRAM-SHA-256").starts_with("504 5.5.4"));
  }

  TEST_CASE("of whoever logged in, the message says so") {
    const Files files;
    Harness h(files.options());
    h.greet();
    h.say("AUTH PLAIN " + plain("ann", "secret"));
    CHECK(h.say("MAIL FROM:<ann@b.example> AUTH=ann@b.example").starts_with("250 2.1.0"));
    CHECK(Harness::codes(h.say({kFar, "DATA", "From: x@b.example", "", "text", "."})) == "250 354 250");
    REQUIRE(h.store.committed.size() == 1);
    const queue::NewMessage& message = h.store.committed[0].message;
    CHECK(message.origin.user == "ann");
    CHECK(message.origin.protocol == "ESMTPA");
    CHECK(message.trace.find("with ESMTPA id") != std::string::npos);
    CHECK(message.trace.find("ann") == std::string::npos);
  }

  TEST_CASE("auth.sender_must_match: who may be whom") {
    const Files files;
    files.write("ann@b.example:*:" + Files::verifier("secret") + "\nbob:*:" + Files::verifier("secret") +
                ":bob@b.example,@c.example\nlist:*:" + Files::verifier("secret") + ":*\n");
    struct {
      std::string_view login, sender;
      bool want;
    } const table[] = {
        {"ann@b.example", "ann@b.example", true},
        {"ann@b.example", "bob@b.example", false},
        {"ann@b.example", "", false},
        {"bob", "bob@b.example", true},
        {"bob", "any@c.example", true},
        {"bob", "ann@b.example", false},
        {"bob", "", false},
        {"list", "ann@b.example", true},
        {"list", "", true},
    };
    for (const auto& [login, sender, want] : table) {
      CAPTURE(login);
      CAPTURE(sender);
      for (bool held : {true, false}) {
        HarnessOptions options = files.options();
        options.config.auth.sender_must_match = held;
        Harness h(std::move(options));
        h.greet();
        h.say("AUTH PLAIN " + plain(login, "secret"));
        CHECK(h.say("MAIL FROM:<" + std::string(sender) + ">").starts_with(want || !held ? "250 2.1.0" : "553 5.7.1"));
      }
    }
    // Who has not logged in is held to nothing: a trusted network.
    HarnessOptions options = files.options();
    options.config.auth.sender_must_match = true;
    options.client = "192.0.2.1";
    Harness h(std::move(options));
    h.greet();
    CHECK(h.say("MAIL FROM:<any@far.example>").starts_with("250 2.1.0"));
  }

  TEST_CASE("a login that was changed or taken back ends with the next message: 421") {
    struct {
      const char* what;
      std::string line;  // of ann, from now on
      bool stays;
    } const table[] = {
        {"another password", "ann:*:" + Files::verifier("other"), false},
        {"locked", "ann:!:" + Files::verifier("secret"), false},
        {"deleted", "bob:*", false},
        {"a mistake in the file", "mistake", true},
        {"others came, and senders", "bob:*\nann:*:%:@c.example", true},
        {"the file has gone", "", true},
    };
    for (const auto& each : table) {
      CAPTURE(each.what);
      const Files files;
      const std::string verifier = Files::verifier("secret");
      files.write("ann:*:" + verifier + "\n");
      HarnessOptions options = files.options();
      Harness h(std::move(options));
      h.greet();
      CHECK(h.say("AUTH PLAIN " + plain("ann", "secret")).starts_with("235 2.7.0"));
      CHECK(h.say("MAIL FROM:<any@c.example>").starts_with("250 2.1.0"));
      h.say("RSET");
      std::string line = each.line;
      if (const std::size_t at = line.find('%'); at != std::string::npos) line.replace(at, 1, verifier);
      files.write(line + "\n");
      if (line.empty()) std::filesystem::remove(files.path());
      h.runtime.advance(2s);
      CHECK(h.say("MAIL FROM:<any@c.example>").starts_with(each.stays ? "250 2.1.0" : "421 4.7.0"));
    }
    // What it was proved by counts, and not what stood there when the exchange was over.
    const Files files;
    Harness h(files.options());
    h.greet();
    ScramClient client = scram_client("ann", "secret");
    const std::string heard = h.say("AUTH SCRAM-SHA-256 " + base64_encode(client.first()));
    files.write("ann:!:" + Files::verifier("secret") + "\n");
    h.runtime.advance(2s);
    const std::optional<std::string> challenge = base64_decode(heard.substr(4, heard.size() - 6));
    REQUIRE(challenge);
    h.say(base64_encode(*client.proof(*challenge)));
    CHECK(h.say("").starts_with("235 2.7.0"));
    CHECK(h.say("MAIL FROM:<any@c.example>").starts_with("421 4.7.0"));
  }

  TEST_CASE("what the users file says now counts, and trouble with it passes: 454") {
    const Files files;
    Harness h(files.options());
    h.greet();
    CHECK(h.say("AUTH PLAIN " + plain("new", "secret")).starts_with("535 5.7.8"));
    files.write("new:*:" + Files::verifier("secret") + "\nmistake\n");
    CHECK(h.say("AUTH PLAIN " + plain("new", "secret")).starts_with("535 5.7.8"));
    files.write("new:*:" + Files::verifier("secret") + "\n");
    h.pool_is_full = true;
    for (int i = 0; i < 6; ++i) CHECK(h.say("AUTH PLAIN " + plain("ann", "secret")).starts_with("454 4.7.0"));
    CHECK(h.say("AUTH PLAIN " + plain("new", "secret")).starts_with("454 4.7.0"));
    CHECK(h.say("AUTH SCRAM-SHA-256").starts_with("454 4.7.0"));
    h.pool_is_full = false;
    CHECK(h.say("AUTH PLAIN " + plain("new", "secret")).starts_with("235 2.7.0"));

    const Files others;
    others.write("mistake\n");
    Harness unreadable(others.options());
    unreadable.greet();
    CHECK(unreadable.say("AUTH PLAIN " + plain("ann", "secret")).starts_with("454 4.7.0"));
    HarnessOptions options = others.options();
    options.config.auth.users += ".none";
    Harness missing(std::move(options));
    missing.greet();
    CHECK(missing.say("AUTH PLAIN " + plain("ann", "secret")).starts_with("454 4.7.0"));
    CHECK(missing.say("AUTH LOGIN").starts_with("334 "));
  }

  TEST_CASE("a table of users: what it says now counts, and while it cannot be read what it said before") {
    for (const char* mode : {"DELETE", "WAL"}) {
      CAPTURE(mode);
      const Files files;
      const std::string path = files.path() + ".db";
      auto other = std::make_unique<tests::SqliteFile>(path);
      other->run("PRAGMA journal_mode = " + std::string(mode));
      other->run("CREATE TABLE users(name TEXT, password TEXT, scram TEXT, senders TEXT)");
      const auto add = [&](const std::string& name, const std::string& password) {
        other->run("INSERT INTO users VALUES('" + name + "', NULL, '" + Files::verifier(password) +
                   "', 'x@b.example')");
      };
      add("ann", "secret");
      const auto options = [&] {
        HarnessOptions out = files.options();
        out.config.auth.users = "sqlite:" + path;
        out.config.auth.sender_must_match = true;
        return out;
      };
      Harness h(options());
      h.heard();
      CHECK(h.say("EHLO c.example").find("AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n") != std::string::npos);
      const auto reply = [&h](const std::string& name, const std::string& password) {
        const std::string heard = h.say("AUTH PLAIN " + plain(name, password));
        h.runtime.advance(1min);  // more than any guess waits
        return (heard + h.heard()).substr(0, 3);
      };
      CHECK(reply("new", "secret") == "535");
      other->run("BEGIN EXCLUSIVE; INSERT INTO users VALUES('half','','','')");
      Harness late(options());  // has read nothing yet, and in WAL mode can
      late.greet();
      CHECK(late.say("AUTH PLAIN " + plain("ann", "secret")).starts_with(mode == "WAL"sv ? "235" : "454"));
      CHECK(reply("ann", "wrong") == "535");
      other->run("ROLLBACK");
      other->run("ALTER TABLE users RENAME TO people");
      CHECK(reply("ann", "wrong") == "535");
      other->run("ALTER TABLE people RENAME TO users");
      add("new", "secret");
      CHECK(reply("new", "secret") == "235");
      CHECK(h.say("MAIL FROM:<x@b.example>").starts_with("250"));
      h.say("RSET");
      CHECK(h.say("MAIL FROM:<y@b.example>").starts_with("553"));
    }
  }

  TEST_CASE("who guesses waits before each look, and is sent away after the fifth") {
    const Files files;
    for (bool by_scram : {false, true}) {
      for (const char* login : {"ann", "nobody"}) {
        CAPTURE(login);
        CAPTURE(by_scram);
        Harness h(files.options());
        h.greet();
        const auto guess = [&] {
          return by_scram ? h.say("AUTH SCRAM-SHA-256 " + base64_encode(scram_client(login, "").first()))
                          : h.say("AUTH PLAIN " + plain(login, "wrong"));
        };
        for (int i = 0; i < 3; ++i) {
          CHECK_FALSE(guess().empty());
          if (by_scram) h.say("*");
        }
        CHECK(guess().empty());
        h.runtime.advance(999ms);
        CHECK(h.heard().empty());
        h.runtime.advance(1ms);
        CHECK(h.heard().starts_with(by_scram ? "334 " : "535 5.7.8"));
        if (by_scram) continue;
        CHECK(guess().empty());
        h.runtime.advance(2s);
        CHECK(h.heard().starts_with("421 4.7.0"));
        CHECK(h.ended());
      }
    }
  }

  TEST_CASE("a stop, a silence and a client that goes, within an exchange") {
    const Files files;
    {
      Harness h(files.options());
      h.greet();
      h.say("AUTH LOGIN");
      h.stop();
      h.runtime.run_until_idle();
      CHECK(h.heard().starts_with("421 4.3.2"));
      h.runtime.advance(1min);
      CHECK(h.ended());
    }
    {
      Harness h(files.options());
      h.greet();
      h.say("AUTH LOGIN");
      h.runtime.advance(5min);
      CHECK(h.heard().starts_with("421 4.4.2"));
      CHECK(h.ended());
    }
    {
      Harness h(files.options());
      h.greet();
      h.say("AUTH LOGIN");
      h.hang_up();
      CHECK(h.ended());
    }
    {
      Harness h(files.options());
      h.greet();
      for (int i = 0; i < 4; ++i) h.say("AUTH PLAIN " + plain("ann", "wrong"));
      h.stop();
      h.runtime.run_until_idle();
      CHECK(Harness::codes(h.heard()) == "535 421");
      CHECK(h.ended());
    }
  }

  TEST_CASE("rates of a class: 450 with the time to wait, and only what was accepted counts") {
    HarnessOptions options;
    conf::ClientClass all;
    all.name = "all";
    all.message_rate = conf::Rate{2, 1h};
    all.recipient_rate = conf::Rate{3, 1h};
    options.config.clients = {all};
    Harness h(options);
    h.greet();
    for (int i = 0; i < 5; ++i) {
      CHECK(h.say(kMail).starts_with("250"));
      CHECK(h.say("RCPT TO:<r1@b.example>").starts_with("250"));
      CHECK(h.say("RSET").starts_with("250"));
    }
    const auto message = [&h] { return Harness::codes(h.say({"DATA", "text", "."})); };
    CHECK(h.say(kMail).starts_with("250"));
    CHECK(h.say("RCPT TO:<r1@b.example>").starts_with("250"));
    CHECK(h.say("RCPT TO:<r1@b.example>").starts_with("250"));
    CHECK(message() == "354 250");
    CHECK(h.say(kMail).starts_with("250"));
    CHECK(h.say("RCPT TO:<r1@b.example>").starts_with("250"));
    CHECK(h.say("RCPT TO:<r2@b.example>").starts_with("250"));
    CHECK(h.say("RCPT TO:<r3@b.example>").starts_with("450 4.7.1 The rate of 3 recipients in 1h is reached, try"));
    CHECK(message() == "354 250");
    CHECK(h.say(kMail).starts_with("450 4.7.1 The rate of 2 messages in 1h is reached, try again in "));
    CHECK(h.say("RCPT TO:<r1@b.example>").starts_with("503"));
  }

  TEST_CASE("a class that hides its clients: Received has our own name alone") {
    HarnessOptions options;
    conf::ClientClass all;
    all.name = "all";
    all.hide_client = true;
    options.config.clients = {all};
    Harness h(options);
    h.greet();
    CHECK(Harness::codes(h.say({kMail, "RCPT TO:<r1@b.example>", "DATA", "text", "."})) == "250 250 354 250");
    REQUIRE(h.store.committed.size() == 1);
    const std::string& trace = h.store.committed[0].message.trace;
    CHECK(trace.starts_with("Received: from relay.example by relay.example (Waypost)"));
    CHECK(trace.find("198.51.100.7") == std::string::npos);
    CHECK(trace.find("c.example") == std::string::npos);
    CHECK(h.store.committed[0].message.origin.client == "198.51.100.7");
  }
}

}  // namespace
}  // namespace waypost::mta
