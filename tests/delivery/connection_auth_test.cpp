// A login at a host (RFC 4954), against hosts that follow a script.
#include <doctest/doctest.h>

#include "base/base64.h"
#include "delivery/connection.h"
#include "tests/delivery/scripted_host.h"
#include "tests/delivery/tls_pki.h"

using namespace waypost;
using namespace waypost::delivery;
using namespace std::chrono_literals;
using namespace std::string_literals;
using tests::ClientSession;
using tests::HostOptions;
using tests::TlsPki;
using Level = conf::TlsLevel;

namespace {

const std::string kTls = R"(S: 220 mx.b.example ESMTP
C: EHLO relay.example
S: 250-mx.b.example
S: 250 STARTTLS
C: STARTTLS
S: 220 go
TLS
C: EHLO relay.example
S: 250-mx.b.example
)";
const std::string kClear = "S: 220 mx.b.example\nC: EHLO relay.example\nS: 250-mx.b.example\n";
const std::string kQuit = "C: QUIT\nS: 221 bye\nEND";
const std::string kPlain = "AUTH PLAIN " + base64_encode("\0ann\0tr"s + "ansom"s);

struct Opening : ClientSession {
  explicit Opening(Level level) {
    attempts = 0;
    settings.tls = TlsPki::get().client();
    policy.level = level;
    policy.source = "route office";
    policy.server_name = "mx.b.example";
    if (level == Level::verify) policy.names = {"b.example", ".b.example"};
    peer.tls.level = level;
    Identity as;
    as.login = conf::HostLogin{"ann", "/p", "transom", 1, {}};
    peer.as = std::make_shared<const Identity>(as);
    peer.given = true;
  }
  void allow(std::vector<std::string> mechanisms) {
    Identity as = *peer.as;
    as.login->mechanisms = std::move(mechanisms);
    peer.as = std::make_shared<const Identity>(as);
  }
  void run_with(const std::string& script, std::size_t split = 100000, bool trusted = true) {
    HostOptions options;
    options.split = split;
    options.tls = trusted ? TlsPki::get().server("mx.b.example") : TlsPki::get().self_signed("mx.b.example");
    run(script, options);
  }
};

}  // namespace

TEST_SUITE("delivery/connection_auth") {
  TEST_CASE("PLAIN and LOGIN under TLS, before any transaction") {
    for (const std::size_t split : {100000, 1, 5}) {
      Opening plain(Level::verify);
      plain.run_with(kTls + "S: 250 AUTH PLAIN LOGIN\nC: " + kPlain + "\nS: 235 2.7.0 welcome\n" + kQuit, split);
      CHECK(plain.mistake == "");
      CHECK(plain.opened);
      Opening login(Level::verify);
      login.allow({"LOGIN"});
      login.run_with(kTls +
                         "S: 250 AUTH PLAIN LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: YW5u\nS: 334 "
                         "UGFzc3dvcmQ6\nC: dHJhbnNvbQ==\nS: 235 ok\n" +
                         kQuit,
                     split);
      CHECK(login.mistake == "");
      CHECK(login.opened);
    }
  }

  TEST_CASE("a password is told only to whom the policy trusts") {
    struct Row {
      Level level;
      bool trusted;
      bool told;
    };
    const Row rows[] = {
        {Level::verify, true, true},          {Level::encrypt, false, true},       {Level::encrypt, true, true},
        {Level::opportunistic, false, false}, {Level::opportunistic, true, false},  // for which name, nobody asked
    };
    for (const Row& row : rows) {
      CAPTURE(static_cast<int>(row.level));
      CAPTURE(row.trusted);
      Opening s(row.level);
      const std::string offer = kTls + "S: 250 AUTH PLAIN\n";
      s.run_with(row.told ? offer + "C: " + kPlain + "\nS: 235 ok\n" + kQuit : offer + kQuit, 100000, row.trusted);
      CHECK(s.mistake == "");
      CHECK(s.opened == row.told);
      CHECK(s.failure.login != row.told);
    }
    Opening clear(Level::opportunistic);
    clear.run(kClear + "S: 250 AUTH PLAIN LOGIN\n" + kQuit);
    CHECK(clear.mistake == "");
    CHECK_FALSE(clear.opened);
    CHECK(clear.failure.reason == "cannot log in as ann: the host offers AUTH PLAIN LOGIN, which needs TLS");
    CHECK(clear.failure.status == "4.7.8");
    CHECK(clear.failure.login);
  }

  TEST_CASE("what does not come about is the host's failure, and temporary [RFC 4954 6]") {
    const std::string scram = "C: AUTH SCRAM-SHA-256";
    struct Row {
      std::string script;
      const char* status;
      const char* reason;
      bool alarm;
    };
    const Row rows[] = {
        {"S: 535 5.7.8 no\n" + kQuit, "4.7.8", "login as ann was refused: 535 5.7.8 no", true},
        {"S: 535 no\n" + kQuit, "4.7.8", "login as ann was refused: 535 no", true},
        {"S: 534 5.7.9 too weak\n" + kQuit, "4.7.9", "login as ann was refused: 534 5.7.9 too weak", true},
        {"S: 535-5.7.8 no:\nS: 535 5.7.8 " + kPlain + "\n" + kQuit, "4.7.8",
         "login as ann was refused: 535 5.7.8 (the host's words repeat the login, and are withheld)", true},
        {"S: 454 4.7.0 not transom\n" + kQuit, "4.7.0",
         "login as ann was refused: 454 4.7.0 (the host's words repeat the login, and are withheld)", false},
        {"S: 504 what\n" + kQuit, "4.7.8", "login as ann was refused: 504 what", true},
        {"S: 454 4.7.0 not now\n" + kQuit, "4.7.0", "login as ann was refused: 454 4.7.0 not now", false},
        {"S: 421 4.3.2 bye\nEND", "4.3.2", "421 4.3.2 bye", false},
        {"CLOSE", "4.4.2", "lost connection while awaiting the reply to AUTH", false},
        {"WAIT 3600\nEND", "4.4.2", "timed out while awaiting the reply to AUTH", false},
        {"S: 354 go\n" + kQuit, "4.5.0", "unexpected reply while awaiting the reply to AUTH: 354 go", false},
        {"S: 334 VXNlcm5hbWU6\nC: *\nS: 501 ended\n" + kQuit, "4.7.8",
         "cannot log in as ann: PLAIN: the host goes on asking when all was said", true},
        {"S: 334 VXNlcm5hbWU6\nC: *\nS: 334 VXNlcm5hbWU6\n" + kQuit, "4.7.8",
         "cannot log in as ann: PLAIN: the host goes on asking when all was said", true},
    };
    for (const Row& row : rows) {
      CAPTURE(row.script);
      Opening s(Level::verify);
      s.run_with(kTls + "S: 250 AUTH PLAIN\nC: " + kPlain + "\n" + row.script);
      CHECK(s.mistake == "");
      CHECK_FALSE(s.opened);
      CHECK(s.failure.status == row.status);
      CHECK(s.failure.reason == row.reason);
      CHECK(s.failure.login == row.alarm);
      CHECK_FALSE(s.failure.ours);
      CHECK(s.failure.reason.find("transom") == std::string::npos);
    }
    Opening none(Level::verify);
    none.run_with(kTls + "S: 250 SIZE\n" + kQuit);
    CHECK(none.failure.reason == "cannot log in as ann: the host offers no AUTH");
    CHECK(none.failure.login);
  }

  TEST_CASE("of SCRAM a host has to prove that it knows the password itself") {
    Opening s(Level::opportunistic);
    HostOptions options;
    // The nonce is another each time: the script begins behind it.
    s.run(kClear + "S: 250 AUTH SCRAM-SHA-256\nOCTETS 69\nS: 235 2.7.0 welcome\nEND", options);
    CHECK_FALSE(s.opened);
    CHECK(s.failure.login);
    CHECK(s.failure.reason.find("before it is done") != std::string::npos);
    CHECK(s.heard.find("transom") == std::string::npos);
  }

  TEST_CASE("a host of the configuration that wants a login where it has none fails, and no message") {
    for (const bool given : {true, false}) {
      CAPTURE(given);
      Opening s(Level::none);
      s.attempts = 1;
      s.peer.as = nullptr;
      s.peer.given = given;
      s.run(kClear + "S: 250 8BITMIME\nOCTETS 5\nS: 530 5.7.0 authentication required\nEND");
      REQUIRE(s.results.size() == 1);
      CHECK(s.result().host.has_value() == given);
      CHECK(s.outcome().event == (given ? queue::Event::attempt_deferred : queue::Event::attempt_failed));
      if (given) CHECK(s.result().host->login);
    }
  }

  TEST_CASE("the name in EHLO and the address that a route gives") {
    Opening s(Level::none);
    Identity as;
    as.ehlo = "news.example";
    s.peer.source = *net::Address::parse("192.0.2.51", 0);
    s.peer.as = std::make_shared<const Identity>(as);
    s.settings.source = {*net::Address::parse("192.0.2.99", 0)};
    s.run("S: 220 x\nC: EHLO news.example\nS: 500 no\nC: HELO news.example\nS: 250 x\n" + kQuit);
    CHECK(s.mistake == "");
    CHECK(s.client_address.host() == "192.0.2.51");
  }
}
