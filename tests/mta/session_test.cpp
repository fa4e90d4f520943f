#include "mta/session.h"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include "smtp/reply.h"
#include "tests/support/harness.h"

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using tests::Harness;
using tests::HarnessOptions;

constexpr std::string_view kMail = "MAIL FROM:<s@c.example>";
constexpr std::string_view kRcpt = "RCPT TO:<r@b.example>";
constexpr std::string_view kTrusted = "192.0.2.1";

HarnessOptions trusted() {
  HarnessOptions options;
  options.client = kTrusted;
  return options;
}

HarnessOptions submission() {
  HarnessOptions options = trusted();
  options.listener.role = conf::Role::submission;
  return options;
}

std::string repeated(std::string_view what, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += what;
  return out;
}

TEST_SUITE("mta/session") {
  TEST_CASE("DATA: no 250 before the commit is durable [RFC 5321 6.1]") {
    Harness h;
    h.store.hold_commits();
    h.say({"EHLO c.example", "MAIL FROM:<s@c.example>", "RCPT TO:<r@b.example>", "DATA"});
    CHECK(h.say({"Subject: hello", "", "text", "."}) == "");
    CHECK(h.store.waiting() == 1);
    CHECK(h.store.committed.empty());
    h.store.release_commits();
    h.runtime.run_until_idle();
    CHECK(h.heard().starts_with("250 2.0.0"));
    REQUIRE(h.store.committed.size() == 1);
    CHECK(h.store.committed[0].body == "Subject: hello\r\n\r\ntext\r\n");
  }

  TEST_CASE("the greeting, and what EHLO and HELO answer [RFC 5321 4.1.1.1]") {
    Harness h;
    CHECK(h.heard() == "220 relay.example ESMTP Waypost\r\n");
    std::string ehlo = h.say("EHLO c.example");
    CHECK(ehlo.starts_with("250-relay.example\r\n"));
    for (std::string_view keyword : {"PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN",
                                     "CHUNKING", "BINARYMIME", "LIMITS RCPTMAX=1000"}) {
      CAPTURE(keyword);
      CHECK(ehlo.find(std::string(keyword) + "\r\n") != std::string::npos);
    }
    for (std::string_view later : {"STARTTLS", "AUTH", "REQUIRETLS"}) {
      CAPTURE(later);
      CHECK(ehlo.find(later) == std::string::npos);
    }
    CHECK(h.say("HELO c.example") == "250 relay.example\r\n");
    CHECK(h.say("QUIT").starts_with("221 2.0.0 relay.example"));
    CHECK(h.ended());
  }

  TEST_CASE("each command after EHLO, and its reply") {
    struct {
      std::string_view line;
      std::string_view want;
    } const table[] = {
        {"NOOP", "250 2.0.0"},
        {"noop whatever it says", "250 2.0.0"},
        {"RSET", "250 2.0.0"},
        {"RSET now", "501 5.5.4"},
        {"VRFY postmaster", "252 2.0.0"},
        {"VRFY", "501 5.5.4"},
        {"HELP", "214-2.0.0"},
        {"HELP MAIL", "214-2.0.0"},
        {"QUIT", "221 2.0.0"},
        {"QUIT now", "501 5.5.4"},
        {"EHLO c.example", "250-relay.example"},
        {"HELO c.example", "250 relay.example"},
        {"EHLO", "501 5.5.2"},
        {"HELO", "501 5.5.2"},
        {"EHLO <c.example>", "501 5.5.2"},
        {"STARTTLS", "502 5.5.1"},
        {"AUTH PLAIN AGEAYg==", "502 5.5.1"},
        {"ETRN c.example", "502 5.5.1"},
        {"EXPN staff", "502 5.5.1"},
        {"TURN", "500 5.5.2"},
        {"", "500 5.5.2"},
        {"MAILFROM:<a@b.example>", "500 5.5.2"},
        {"DATA", "503 5.5.1"},
        {"DATA now", "501 5.5.4"},
        {"RCPT TO:<r@b.example>", "503 5.5.1"},
        {"MAIL FROM:<s@c.example>", "250 2.1.0"},
        {"MAIL FROM: <s@c.example>", "250 2.1.0"},
        {"mail from:<s@c.example>", "250 2.1.0"},
        {"MAIL FROM:<>", "250 2.1.0"},
        {"MAIL FROM:s@c.example", "501 5.5.4"},
        {"MAIL FROM:<s@c..example>", "501 5.1.7"},
        {"MAIL FROM:<@a.example:s@c.example>", "250 2.1.0"},
        {"MAIL FROM:<s@c.example> SIZE=1000", "250 2.1.0"},
        {"MAIL FROM:<s@c.example> SIZE=52428800", "250 2.1.0"},
        {"MAIL FROM:<s@c.example> SIZE=52428801", "552 5.3.4"},
        {"MAIL FROM:<s@c.example> SIZE=x", "501 5.5.4"},
        {"MAIL FROM:<s@c.example> SIZE=1 SIZE=1", "501 5.5.4"},
        {"MAIL FROM:<s@c.example> BODY=8BITMIME", "250 2.1.0"},
        {"MAIL FROM:<s@c.example> BODY=7BIT", "250 2.1.0"},
        {"MAIL FROM:<s@c.example> BODY=9BIT", "501 5.5.4"},
        {"MAIL FROM:<s@c.example> COLOUR=RED", "555 5.5.4"},
        {"MAIL FROM:<s@c.example> SMTPUTF8=1", "501 5.5.4"},
        {"MAIL FROM:<s@c.example> RET=HDRS ENVID=q+2B1", "250 2.1.0"},
        {"MAIL FROM:<s@c.example> RET=SOME", "501 5.5.4"},
        {"MAIL FROM:<s@c.example> ENVID=q+2b", "501 5.5.4"},
        {"MAIL FROM:<s@c.example> AUTH=<>", "555 5.5.4"},
        {"MAIL FROM:<s\xC3\xA4@c.example>", "553 5.6.7"},
        {"NOOP \0 x"sv, "501 5.5.2"},
        {"MAIL FROM:<a\0b@c.example>"sv, "501 5.5.2"},
        {"GET / HTTP/1.1", "554 5.5.0"},
        {"Host: relay.example", "554 5.5.0"},
    };
    for (const auto& row : table) {
      CAPTURE(row.line);
      Harness h;
      h.greet();
      std::string heard = h.say(row.line);
      CHECK(heard.substr(0, row.want.size()) == row.want);
      CHECK_FALSE(h.heard().starts_with("421"));
    }
  }

  TEST_CASE("an alias becomes those whom it stands for; its sender is told of the alias alone [RFC 3461 5.2.7]") {
    HarnessOptions options;
    conf::Domain domain;
    domain.name = "v.example";
    domain.aliases["sales"] = {{"ann@b.example", false}, {"far@elsewhere.example", false}};
    domain.aliases["round"] = {{"other@v.example", false}};
    domain.aliases["@"] = {{"round@v.example", false}};
    domain.relocated["gone"] = "new@elsewhere.example";
    options.config.domains.push_back(domain);
    Harness h(options);
    h.greet();
    CHECK(h.say("MAIL FROM:<s@c.example>").starts_with("250"));
    CHECK(h.say("RCPT TO:<gone@v.example>") == "551 5.1.6 Recipient has moved, please try <new@elsewhere.example>\r\n");
    CHECK(h.say("RCPT TO:<round@v.example>").starts_with("451 4.3.0"));
    CHECK(h.say("RCPT TO:<ann@b.example> NOTIFY=NEVER").starts_with("250"));
    CHECK(h.say("RCPT TO:<Sales@v.example> NOTIFY=SUCCESS,DELAY").starts_with("250"));
    CHECK(h.say("RCPT TO:<sales@v.example>").starts_with("250"));
    CHECK(Harness::codes(h.say({"DATA"})) == "354");
    CHECK(h.send("a: b\r\n\r\n.\r\n").starts_with("250"));
    const std::vector<smtp::EnvelopeRecipient>& stored = h.store.committed.at(0).message.envelope.recipients;
    REQUIRE(stored.size() == 2);
    CHECK(stored[0].forward_path.text() == "ann@b.example");
    CHECK(stored[0].notify.bits == smtp::Notify::kNever);
    CHECK(stored[0].orcpt.empty());
    CHECK(stored[1].forward_path.text() == "far@elsewhere.example");
    CHECK(stored[1].notify.bits == (smtp::Notify::kDelay | smtp::Notify::kByAlias));
    CHECK(stored[1].orcpt == "rfc822;Sales@v.example");
    const std::optional<queue::Notification>& report = h.store.committed.at(0).notification;
    REQUIRE(report);
    CHECK(report->message.envelope.reverse_path.is_null());
    CHECK(report->message.envelope.recipients.at(0).forward_path.text() == "s@c.example");
    CHECK(report->body.find("Final-Recipient: rfc822; Sales@v.example\r\nAction: expanded\r\n") != std::string::npos);
    CHECK(report->body.find("\r\na: b\r\n") != std::string::npos);
    CHECK(report->body.find("far@elsewhere.example") == std::string::npos);
  }

  TEST_CASE("an alias of several is told of where its success is asked for, and nowhere else [RFC 3461 5.2.7.3]") {
    struct {
      const char* from;
      const char* to;
      std::uint8_t notify;
      bool told;
    } const table[] = {
        {"<s@c.example>", "<many@v.example> NOTIFY=SUCCESS", smtp::Notify::kNever | smtp::Notify::kByAlias, true},
        {"<s@c.example>", "<many@v.example> NOTIFY=SUCCESS,FAILURE", smtp::Notify::kFailure | smtp::Notify::kByAlias,
         true},
        {"<s@c.example>", "<many@v.example> NOTIFY=FAILURE", smtp::Notify::kFailure | smtp::Notify::kByAlias, false},
        {"<s@c.example>", "<many@v.example>", smtp::Notify::kByAlias, false},
        {"<s@c.example>", "<one@v.example> NOTIFY=SUCCESS", smtp::Notify::kSuccess | smtp::Notify::kByAlias, false},
        {"<>", "<many@v.example> NOTIFY=SUCCESS", smtp::Notify::kNever | smtp::Notify::kByAlias, false},
    };
    for (const auto& row : table) {
      CAPTURE(row.to);
      HarnessOptions options;
      conf::Domain domain;
      domain.name = "v.example";
      domain.aliases["many"] = {{"ann@b.example", false}, {"far@elsewhere.example", false}};
      domain.aliases["one"] = {{"ann@b.example", false}};
      options.config.domains.push_back(domain);
      options.inline_limit = 100;
      Harness h(options);
      h.greet();
      CHECK(h.say(std::string("MAIL FROM:") + row.from).starts_with("250"));
      CHECK(h.say(std::string("RCPT TO:") + row.to).starts_with("250"));
      CHECK(Harness::codes(h.say({"DATA"})) == "354");
      CHECK(h.send("Subject: told\r\n\r\n" + std::string(500, 'x') + "\r\n.\r\n").starts_with("250"));
      const tests::FakeStore::Committed& stored = h.store.committed.at(0);
      CHECK(stored.in_file);
      CHECK(stored.message.envelope.recipients.at(0).notify.bits == row.notify);
      CHECK(stored.notification.has_value() == row.told);
      if (row.told) CHECK(stored.notification->body.find("\r\nSubject: told\r\n") != std::string::npos);
    }
  }

  TEST_CASE("who is named beside an alias is told of himself; addresses are bounded in number as recipients are") {
    HarnessOptions options;
    options.config.limits.recipients = 4;
    conf::Domain domain;
    domain.name = "v.example";
    domain.aliases["@"] = {{"ann@b.example", false}, {"bob@b.example", false}};
    options.config.domains.push_back(domain);
    Harness h(options);
    h.greet();
    CHECK(Harness::codes(h.say({"MAIL FROM:<s@c.example>", "RCPT TO:<many@v.example> NOTIFY=SUCCESS",
                                "RCPT TO:<bob@b.example> NOTIFY=FAILURE", "RCPT TO:<more@v.example> NOTIFY=SUCCESS",
                                "RCPT TO:<most@v.example> NOTIFY=SUCCESS", "RCPT TO:<all@v.example>"})) ==
          "250 250 250 250 250 452");
    CHECK(Harness::codes(h.say({"DATA"})) == "354");
    CHECK(h.send("\r\nno header\r\n.\r\n").starts_with("250"));
    const tests::FakeStore::Committed& stored = h.store.committed.at(0);
    REQUIRE(stored.message.envelope.recipients.size() == 2);
    CHECK(stored.message.envelope.recipients[0].notify.bits == (smtp::Notify::kNever | smtp::Notify::kByAlias));
    CHECK(stored.message.envelope.recipients[1].notify.bits == smtp::Notify::kFailure);
    CHECK(stored.message.envelope.recipients[1].orcpt.empty());
    REQUIRE(stored.notification);
    CHECK(stored.notification->body.find("no header") == std::string::npos);
  }

  TEST_CASE(
      "SMTPUTF8 is offered where the listener has it; elsewhere its parameter and addresses are refused [RFC 6531]") {
    for (const bool offered : {true, false}) {
      CAPTURE(offered);
      HarnessOptions options;
      options.listener.smtputf8 = offered;
      Harness h(options);
      CHECK((h.say("EHLO c.example").find("SMTPUTF8") != std::string::npos) == offered);
      CHECK(h.say("MAIL FROM:<s@c.example> SMTPUTF8").starts_with(offered ? "250" : "555 5.5.4"));
      if (!offered) CHECK(h.say("MAIL FROM:<s@c.example>").starts_with("250"));
      CHECK(h.say("RCPT TO:<j\xc3\xb6rg@b.example>").starts_with(offered ? "250" : "553 5.6.7"));
    }
  }

  TEST_CASE("each RCPT within a transaction, and its reply") {
    struct {
      std::string_view line;
      std::string_view want;
    } const table[] = {
        {"RCPT TO:<r@b.example>", "250 2.1.5"},
        {"RCPT TO: <r@b.example>", "250 2.1.5"},
        {"rcpt to:<r@b.example>", "250 2.1.5"},
        {"RCPT TO:<r@B.Example.>", "250 2.1.5"},
        {"RCPT TO:<\"a b\"@b.example>", "250 2.1.5"},
        {"RCPT TO:<Postmaster>", "250 2.1.5"},
        {"RCPT TO:<@one.example,@two.example:r@b.example>", "250 2.1.5"},
        {"RCPT TO:<x@backup.example>", "250 2.1.5"},
        {"RCPT TO:<carl@known.example>", "550 5.1.1"},
        {"RCPT TO:<x@elsewhere.example>", "554 5.7.1"},
        {"RCPT TO:<@b.example:x@elsewhere.example>", "554 5.7.1"},
        {"RCPT TO:<x%elsewhere.example@backup.example>", "550 5.7.1"},
        {"RCPT TO:<x@[198.51.100.99]>", "550 5.1.2"},
        {"RCPT TO:<x@[IPv6:2001:db8::1]>", "550 5.1.2"},
        {"RCPT TO:<x@[300.1.1.1]>", "501 5.1.3"},
        {"RCPT TO:<r>", "501 5.1.3"},
        {"RCPT TO:<>", "501 5.1.3"},
        {"RCPT TO:<r@>", "501 5.1.3"},
        {"RCPT TO:r@b.example", "501 5.5.4"},
        {"RCPT TO:<r@b.example> NOTIFY=NEVER ORCPT=rfc822;x@b.example", "250 2.1.5"},
        {"RCPT TO:<r@b.example> NOTIFY=NEVER,SUCCESS", "501 5.5.4"},
        {"RCPT TO:<r@b.example> ORCPT=x@b.example", "501 5.5.4"},
        {"RCPT TO:<\xC3\xA4@b.example>", "553 5.6.7"},
        {"MAIL FROM:<s@c.example>", "503 5.5.1"},
        {"DATA", "503 5.5.1"},
    };
    for (const auto& row : table) {
      CAPTURE(row.line);
      Harness h;
      h.greet();
      h.say(kMail);
      CHECK(h.say(row.line).substr(0, row.want.size()) == row.want);
    }
  }

  TEST_CASE("MAIL before EHLO, and RCPT and DATA: 503 5.5.1 [RFC 5321 4.1.4]; NOOP, RSET, VRFY, HELP, QUIT need none") {
    Harness h;
    h.heard();
    CHECK(h.say(kMail).starts_with("503 5.5.1"));
    CHECK(h.say(kRcpt).starts_with("503 5.5.1"));
    CHECK(h.say("DATA").starts_with("503 5.5.1"));
    CHECK(Harness::codes(h.say({"NOOP", "RSET", "VRFY a", "HELP", "QUIT"})) == "250 250 252 214 221");
  }

  TEST_CASE("HELO is enough, and the trace says SMTP; its parameters are understood all the same") {
    Harness h;
    h.greet("HELO c.example");
    CHECK(Harness::codes(h.say({"MAIL FROM:<s@c.example> SIZE=10", kRcpt, "DATA", "a: b", "", "x", "."})) ==
          "250 250 354 250");
    REQUIRE(h.store.committed.size() == 1);
    CHECK(h.store.committed[0].message.origin.protocol == "SMTP");
    CHECK(h.store.committed[0].message.trace.find("with SMTP ") != std::string::npos);
  }

  TEST_CASE("submission: no angle brackets needed, as old devices send [PROTOCOL]") {
    Harness h(submission());
    h.greet();
    CHECK(Harness::codes(h.say({"MAIL FROM:s@c.example", "RCPT TO:r@elsewhere.example", "RCPT TO: q@b.example"})) ==
          "250 250 250");
    CHECK(h.say("RCPT TO:<r>").starts_with("250"));
  }

  TEST_CASE("submission from a stranger: 530 5.7.0 at MAIL, and nothing after it") {
    HarnessOptions options;
    options.listener.role = conf::Role::submission;
    Harness h(std::move(options));
    h.greet();
    CHECK(h.say(kMail).starts_with("530 5.7.0"));
    CHECK(h.say(kRcpt).starts_with("503 5.5.1"));
  }

  TEST_CASE("an early talker is not sent away while the greeting delay is off") {
    Harness h;
    std::string heard = h.send("EHLO c.example\r\n");
    CHECK(Harness::codes(heard) == "220 250");
  }

  TEST_CASE("commands behind EHLO or HELO before its reply: 554 5.5.0 and close [RFC 2920 3.1]") {
    for (std::string_view line :
         {"EHLO c.example\r\nMAIL FROM:<s@c.example>\r\n", "HELO c.example\r\nMAIL FROM:<", "EHLO c.example\r\nN"}) {
      CAPTURE(line);
      Harness h;
      h.heard();
      CHECK(h.send(line).starts_with("554 5.5.0"));
      CHECK(h.ended());
    }
  }

  TEST_CASE("octets behind DATA before its 354: 554 5.5.0 and close, with recipients or without [RFC 2920 3.1]") {
    for (std::string_view before : {"MAIL FROM:<s@c.example>\r\nRCPT TO:<r@b.example>\r\n"sv,
                                    "MAIL FROM:<s@c.example>\r\nRCPT TO:<r@elsewhere.example>\r\n"sv, ""sv}) {
      CAPTURE(before);
      Harness h;
      h.greet();
      h.send(before);
      h.heard();
      CHECK(h.send("DATA\r\nSubject: pushed\r\n\r\n.\r\n").starts_with("554 5.5.0"));
      CHECK(h.ended());
      CHECK(h.store.begun == 0);
    }
  }

  TEST_CASE("a group of commands: replies in their order, in one write [RFC 2920 3.2]") {
    Harness h;
    h.greet();
    std::size_t writes = h.writes();
    std::string heard = h.send(
        "MAIL FROM:<s@c.example>\r\nRCPT TO:<r@b.example>\r\nRCPT TO:<x@elsewhere.example>\r\nRCPT TO:<q@b.example>\r\n"
        "DATA\r\n");
    CHECK(Harness::codes(heard) == "250 250 554 250 354");
    CHECK(h.writes() == writes + 1);
    heard = h.send("a: b\r\n\r\ntext\r\n.\r\nMAIL FROM:<s@c.example>\r\nRCPT TO:<r@b.example>\r\nNOOP\r\nDATA\r\n");
    CHECK(Harness::codes(heard) == "250 250 250 250 354");
    CHECK(h.writes() == writes + 2);
    heard = h.send(".\r\nQUIT\r\n");
    CHECK(Harness::codes(heard) == "250 221");
    CHECK(h.writes() == writes + 3);
    REQUIRE(h.store.committed.size() == 2);
    CHECK(h.store.committed[0].message.envelope.recipients.size() == 2);
    CHECK(h.store.committed[1].body == "");
  }

  TEST_CASE("replies do not wait for the rest of a command that has come in part") {
    Harness h;
    h.greet();
    CHECK(Harness::codes(h.send("NOOP\r\nMAIL FROM:<s@c.exa")) == "250");
    CHECK(Harness::codes(h.send("mple>\r\n")) == "250");
  }

  TEST_CASE("a group in all its splits says the same [RFC 2920]") {
    const std::string group = std::string(kMail) + "\r\n" + std::string(kRcpt) +
                              "\r\nRCPT TO:<x@elsewhere.example>\r\nVRFY x\r\nRSET\r\nMAIL FROM:<>\r\nRCPT "
                              "TO:<Postmaster>\r\nBOGUS\r\nDATA\r\n";
    const std::string rest = "Subject: s\r\n\r\n..dot\r\n.\r\n" + std::string(kMail) + "\r\nQUIT\r\n";
    const std::string want = "250 250 554 252 250 250 250 500 354 250 250 221";
    for (std::size_t at = 0; at <= group.size() + rest.size(); ++at) {
      CAPTURE(at);
      Harness h;
      h.greet();
      std::size_t in_group = std::min(at, group.size());
      std::size_t in_rest = at - in_group;
      std::string heard = h.send(group.substr(0, in_group));
      heard += h.send(group.substr(in_group));
      heard += h.send(rest.substr(0, in_rest));
      heard += h.send(rest.substr(in_rest));
      CHECK(Harness::codes(heard) == want);
      REQUIRE(h.store.committed.size() == 1);
      CHECK(h.store.committed[0].body == "Subject: s\r\n\r\n.dot\r\n");
      CHECK(h.store.committed[0].message.envelope.recipients.size() == 1);
    }
    Harness h;
    h.greet();
    std::string heard;
    for (char c : group + rest) heard += h.send(std::string_view(&c, 1));
    CHECK(Harness::codes(heard) == want);
  }

  TEST_CASE("DATA without a recipient: 503 5.5.1; in a group 554 5.5.1 [RFC 5321 3.3, RFC 2920 3.1]") {
    Harness h;
    h.greet();
    h.say(kMail);
    CHECK(h.say("DATA").starts_with("503 5.5.1"));
    CHECK(h.say("RCPT TO:<x@elsewhere.example>").starts_with("554 5.7.1"));
    CHECK(h.say("DATA").starts_with("503 5.5.1"));
    std::string heard = h.send("RCPT TO:<x@elsewhere.example>\r\nDATA\r\n");
    CHECK(heard.find("\r\n554 5.5.1") != std::string::npos);
    CHECK(h.say(kRcpt).starts_with("250 2.1.5"));
    CHECK(h.say("DATA").starts_with("354"));
  }

  TEST_CASE("duplicate recipients: 250 each, stored once [RFC 5321 4.5.3]") {
    Harness h;
    h.greet();
    h.say(kMail);
    for (std::string_view path :
         {"<r@b.example>", "<r@B.EXAMPLE>", "<\"r\"@b.example>", "<R@b.example>", "<postmaster>", "<PostMaster>",
          "<pm@b.example>", "<postmaster@known.example>", "<Postmaster@known.example>"}) {
      CAPTURE(path);
      CHECK(h.say("RCPT TO:" + std::string(path)).starts_with("250 2.1.5"));
    }
    h.say({"DATA", "x: y", "", "."});
    REQUIRE(h.store.committed.size() == 1);
    std::vector<std::string> stored;
    for (const auto& recipient : h.store.committed[0].message.envelope.recipients)
      stored.push_back(recipient.forward_path.text());
    CHECK(stored == std::vector<std::string>{"r@b.example", "R@b.example", "pm@b.example", "postmaster@known.example"});
  }

  TEST_CASE("too many recipients: 452 4.5.3, those before it are kept [RFC 5321 4.5.3.1.10]") {
    HarnessOptions options;
    options.config.limits.recipients = 3;
    Harness h(std::move(options));
    h.greet();
    h.say(kMail);
    for (int i = 0; i < 3; ++i) CHECK(h.say("RCPT TO:<r" + std::to_string(i) + "@b.example>").starts_with("250"));
    for (int i = 3; i < 40; ++i)
      CHECK(h.say("RCPT TO:<r" + std::to_string(i) + "@b.example>").starts_with("452 4.5.3"));
    CHECK(Harness::codes(h.say({"DATA", "x: y", "", "."})) == "354 250");
    CHECK(h.store.committed[0].message.envelope.recipients.size() == 3);
  }

  TEST_CASE("RSET, EHLO and each end of DATA leave nothing of the transaction (C4)") {
    HarnessOptions options;
    options.config.limits.message_size = 1000;
    Harness h(std::move(options));
    h.greet();
    auto begin = [&h] { return Harness::codes(h.say({kMail, kRcpt})); };
    auto is_clean = [&h] { return Harness::codes(h.say({"RCPT TO:<r@b.example>", "DATA"})) == "503 503"; };
    CHECK(begin() == "250 250");
    h.say("RSET");
    CHECK(is_clean());
    CHECK(begin() == "250 250");
    h.say("EHLO c.example");
    CHECK(is_clean());
    CHECK(begin() == "250 250");
    h.say("HELO c.example");
    CHECK(is_clean());
    CHECK(begin() == "250 250");
    CHECK(Harness::codes(h.say({"DATA", "text", "."})) == "354 250");
    CHECK(is_clean());
    CHECK(begin() == "250 250");
    CHECK(Harness::codes(h.say({"DATA", repeated("x", 1200), "."})) == "354 552");
    CHECK(is_clean());
    CHECK(begin() == "250 250");
    h.store.fail_commits(Errc::full);
    CHECK(Harness::codes(h.say({"DATA", "text", "."})) == "354 452");
    h.store.fail_commits(std::nullopt);
    CHECK(is_clean());
    CHECK(begin() == "250 250");
    CHECK(Harness::codes(h.say({"DATA", "a\0b"sv, "."})) == "354 554");
    CHECK(is_clean());
  }

  TEST_CASE("a command of 2048 octets is read, a longer one is 500 5.5.2 after its end [RFC 5321 4.5.3.1.4]") {
    Harness h;
    h.greet();
    CHECK(h.say("NOOP " + repeated("x", 2041)).starts_with("250"));
    CHECK(h.say("NOOP " + repeated("x", 2042)).starts_with("500 5.5.2"));
    CHECK(h.send("NOOP " + repeated("x", 100'000)) == "");
    CHECK(Harness::codes(h.send(repeated("x", 100'000) + "\r\nNOOP\r\n")) == "500 250");
  }

  TEST_CASE("a command that ends with a bare LF is read; 501 5.5.2 where the listener refuses bare newlines") {
    Harness h;
    h.greet();
    CHECK(h.send("NOOP\n").starts_with("250"));
    HarnessOptions options;
    options.listener.reject_bare_newline = true;
    Harness strict(std::move(options));
    strict.greet();
    CHECK(strict.send("NOOP\n").starts_with("501 5.5.2"));
    CHECK(strict.send("NOOP\r\n").starts_with("250"));
  }

  TEST_CASE("TLS on a plain port: 554 5.5.0 and close, also where no line feed is in it [PROTOCOL]") {
    for (std::string_view hello : {"\x16\x03\x01\x02\x00\x01\x00"sv, "\x16\x03\x01\x02\n\x01\x00"sv}) {
      Harness h;
      h.heard();
      CHECK(h.send(hello).starts_with("554 5.5.0"));
      CHECK(h.ended());
    }
    Harness h;
    h.greet();
    CHECK(h.say("STARTTLS").starts_with("502 5.5.1"));
    CHECK(h.send("\x16\x03\x01\x02\x00\x01\x00"sv).starts_with("554 5.5.0"));
    CHECK(h.ended());
  }

  TEST_CASE("HTTP on a plain port: 554 5.5.0 and close, before any of its body is taken for commands [PROTOCOL]") {
    Harness h;
    h.heard();
    std::string heard = h.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO c.example\r\nMAIL FROM:<s@c.example>\r\n");
    CHECK(Harness::codes(heard) == "554");
    CHECK(h.ended());
  }

  TEST_CASE("errors: tarpit from the 10th, 421 4.7.0 at limits.errors, and close [RFC 5321 4.3.2]") {
    Harness h;
    h.greet();
    for (int i = 1; i < 10; ++i) CHECK(h.say("BOGUS").starts_with("500 5.5.2"));
    for (int i = 10; i < 20; ++i) {
      CAPTURE(i);
      auto wait = std::min(std::chrono::seconds(i - 9), 10s);
      CHECK(h.say("BOGUS") == "");
      h.runtime.advance(wait - 1ms);
      CHECK(h.heard() == "");
      h.runtime.advance(1ms);
      CHECK(h.heard().starts_with("500 5.5.2"));
    }
    CHECK(h.say("NOOP").starts_with("250"));
    h.say("BOGUS");
    h.runtime.advance(10s);
    CHECK(h.heard().starts_with("421 4.7.0"));
    CHECK(h.ended());
  }

  TEST_CASE("the 250 to a message does not wait for the tarpit of what was pipelined behind it") {
    Harness h;
    h.greet();
    h.say({kMail, kRcpt, "DATA"});
    h.heard();
    std::string heard = h.send(".\r\n" + repeated("BOGUS\r\n", 15));
    CHECK(heard.starts_with("250 2.0.0"));
    CHECK(Harness::codes(heard) == "250 500 500 500 500 500 500 500 500 500");
  }

  TEST_CASE("limits.errors below the tarpit: 421 without a delay") {
    HarnessOptions options;
    options.config.limits.errors = 3;
    Harness h(std::move(options));
    h.greet();
    CHECK(Harness::codes(h.say({"BOGUS", "RCPT TO:<x@b.example>", "EHLO"})) == "500 503 421");
    CHECK(h.ended());
  }

  TEST_CASE("refused relaying counts as an error, too many recipients and sizes over the limit do not") {
    HarnessOptions options;
    options.config.limits.errors = 5;
    options.config.limits.recipients = 1;
    Harness h(std::move(options));
    h.greet();
    for (int i = 0; i < 20; ++i) CHECK(h.say("MAIL FROM:<s@c.example> SIZE=99999999999").starts_with("552"));
    h.say({kMail, kRcpt});
    for (int i = 0; i < 20; ++i) CHECK(h.say(kRcpt).starts_with("452"));
    h.say({"RSET", kMail});
    for (int i = 0; i < 4; ++i) CHECK(h.say("RCPT TO:<x@elsewhere.example>").starts_with("554 5.7.1"));
    CHECK(h.say("RCPT TO:<x@elsewhere.example>").starts_with("421 4.7.0"));
  }

  TEST_CASE("unknown recipients are counted apart: 421 at the 50th, a message resets the count") {
    Harness h;
    h.greet();
    h.say({kMail, kRcpt});
    for (int i = 1; i < 50; ++i) CHECK(h.say("RCPT TO:<carl@known.example>").starts_with("550 5.1.1"));
    CHECK(Harness::codes(h.say({"DATA", "x: y", "", "."})) == "354 250");
    h.say(kMail);
    for (int i = 1; i < 50; ++i) CHECK(h.say("RCPT TO:<carl@known.example>").starts_with("550 5.1.1"));
    CHECK(h.say("RCPT TO:<carl@known.example>").starts_with("421 4.7.0"));
    CHECK(h.ended());
  }

  TEST_CASE("a client that pipelines behind refused recipients makes no errors by that") {
    Harness h;
    h.greet();
    for (int i = 0; i < 30; ++i) {
      CHECK(Harness::codes(h.send("MAIL FROM:<s@c.example>\r\nRCPT TO:<carl@known.example>\r\nDATA\r\n")) ==
            "250 550 554");
      h.say("RSET");
    }
  }

  TEST_CASE("junk: 421 at the 100th NOOP, RSET, VRFY, HELP or EHLO since the last message") {
    Harness h;
    h.greet();
    for (int i = 1; i < 99; ++i) h.say("NOOP");
    CHECK(Harness::codes(h.say({kMail, kRcpt, "DATA", "x: y", "", "."})) == "250 250 354 250");
    constexpr std::string_view kJunk[] = {"NOOP", "RSET", "VRFY x", "HELP", "EHLO c.example"};
    for (std::size_t i = 1; i < 100; ++i) CHECK(h.say(kJunk[i % 5]).starts_with("2"));
    CHECK(h.say("NOOP").starts_with("421 4.7.0"));
    CHECK(h.ended());
  }

  TEST_CASE("idle: 421 4.4.2 after limits.command_timeout, and close [RFC 5321 4.5.3.2]") {
    Harness h;
    h.greet();
    h.runtime.advance(299s);
    CHECK(h.heard() == "");
    CHECK(h.say("NOOP").starts_with("250"));
    h.runtime.advance(299s);
    CHECK(h.heard() == "");
    h.runtime.advance(1s);
    CHECK(h.heard().starts_with("421 4.4.2 relay.example"));
    CHECK(h.ended());
  }

  TEST_CASE("one octet now and then does not keep a command's time from running out (F36)") {
    Harness h;
    h.greet();
    for (int i = 0; i < 29; ++i) {
      h.send("x");
      h.runtime.advance(10s);
    }
    CHECK_FALSE(h.ended());
    h.send("x");
    h.runtime.advance(10s);
    CHECK(h.heard().starts_with("421 4.4.2"));
    CHECK(h.ended());
  }

  TEST_CASE("where places are scarce, the time for a command is a minute") {
    HarnessOptions options;
    options.config.limits.connections = 1;
    Harness h(std::move(options));
    h.greet();
    h.runtime.advance(59s);
    CHECK_FALSE(h.ended());
    h.runtime.advance(1s);
    CHECK(h.heard().starts_with("421 4.4.2"));
  }

  TEST_CASE("a client that never reads holds its place for limits.command_timeout at most") {
    HarnessOptions options;
    options.capacity = 64;
    Harness h(std::move(options));
    h.send(repeated("HELP\r\n", 50));
    h.runtime.advance(301s);
    h.runtime.advance(301s);
    CHECK(h.ended());
  }

  TEST_CASE("stop: an idle client is told 421 4.3.2 at once [RFC 5321 3.8]") {
    Harness h;
    h.greet();
    h.stop();
    h.runtime.run_until_idle();
    CHECK(h.heard() == "421 4.3.2 relay.example Shutting down, try again later\r\n");
    CHECK(h.ended());
  }

  TEST_CASE("stop: a message on its way may finish, then 421 4.3.2 (F61)") {
    Harness h;
    h.greet();
    h.say({kMail, kRcpt, "DATA", "Subject: x"});
    h.heard();
    h.stop();
    h.runtime.advance(20s);
    CHECK(h.heard() == "");
    CHECK_FALSE(h.ended());
    CHECK(Harness::codes(h.say({"", "text", "."})) == "250 421");
    CHECK(h.ended());
    CHECK(h.store.committed.size() == 1);
  }

  TEST_CASE("stop: a message that is not finished within the grace is not taken: 421 4.3.2 (F61)") {
    Harness h;
    h.greet();
    h.say({kMail, kRcpt, "DATA", "Subject: x"});
    h.heard();
    h.stop();
    h.runtime.advance(24s);
    CHECK_FALSE(h.ended());
    h.runtime.advance(2s);
    CHECK(h.heard().starts_with("421 4.3.2"));
    CHECK(h.ended());
    CHECK(h.store.begun == 0);
  }

  TEST_CASE("stop: a commit that has begun is waited for, and answered") {
    Harness h;
    h.store.hold_commits();
    h.greet();
    h.say({kMail, kRcpt, "DATA", "x: y", "", "."});
    h.heard();
    h.stop();
    h.runtime.advance(10s);
    CHECK_FALSE(h.ended());
    h.store.release_commits();
    h.runtime.run_until_idle();
    CHECK(Harness::codes(h.heard()) == "250 421");
    CHECK(h.ended());
  }

  TEST_CASE("stop: commands that were pipelined behind the one in work are answered with the one 421") {
    Harness h;
    h.store.hold_commits();
    h.greet();
    h.say({kMail, kRcpt, "DATA"});
    h.heard();
    h.send("x: y\r\n\r\n.\r\nMAIL FROM:<s@c.example>\r\nRCPT TO:<r@b.example>\r\n");
    h.stop();
    h.store.release_commits();
    h.runtime.run_until_idle();
    CHECK(Harness::codes(h.heard()) == "250 421");
    CHECK(h.ended());
  }

  TEST_CASE("stop: nobody waits for a tarpit") {
    Harness h;
    h.greet();
    for (int i = 0; i < 18; ++i) {
      h.say("BOGUS");
      h.runtime.advance(10s);
    }
    h.heard();
    h.say("BOGUS");
    h.stop();
    h.runtime.run_until_idle();
    CHECK(Harness::codes(h.heard()) == "500 421");
    CHECK(h.ended());
  }

  TEST_CASE("stop before the greeting: 421 4.3.2 is the greeting") {
    HarnessOptions options;
    Harness h(std::move(options));
    h.accepting = false;
    h.greet();
    CHECK(h.say(kMail).starts_with("421 4.3.2"));
    CHECK(h.ended());
  }

  TEST_CASE("a reload applies to the next transaction of a session that is there") {
    Harness h;
    h.greet();
    h.say(kMail);
    CHECK(h.say("RCPT TO:<x@new.example>").starts_with("554 5.7.1"));
    conf::Config config = tests::harness_config();
    config.relay.domains.push_back("new.example");
    config.hostname = "renamed.example";
    h.configure(config);
    CHECK(h.say("RCPT TO:<x@new.example>").starts_with("554 5.7.1"));
    h.say({"RSET", kMail});
    CHECK(h.say("RCPT TO:<x@new.example>").starts_with("250 2.1.5"));
    CHECK(h.say("EHLO c.example").starts_with("250-renamed.example"));
  }

  TEST_CASE("the client goes away at any octet: a message is stored if its end was read, else not (C8, F1)") {
    const std::string first = "EHLO c.example\r\n";
    const std::string group = std::string(kMail) + "\r\n" + std::string(kRcpt) + "\r\nDATA\r\n";
    const std::string body = "Subject: x\r\n\r\ntext\r\n.\r\n";
    const std::string session = first + group + body + "QUIT\r\n";
    const std::size_t end_of_data = (first + group + body).size();
    for (std::size_t at = 0; at <= session.size(); ++at) {
      CAPTURE(at);
      Harness h;
      for (char c : session.substr(0, at)) h.send(std::string_view(&c, 1));
      h.hang_up();
      CHECK(h.ended());
      CHECK(h.store.committed.size() == (at >= end_of_data ? 1U : 0U));
      CHECK(h.store.files.count() == 0);
    }
  }

  TEST_CASE("the client goes away while its commit runs: the message stays [RFC 5321 4.1.1.10]") {
    Harness h;
    h.store.hold_commits();
    h.greet();
    h.say({kMail, kRcpt, "DATA", "x: y", "", "."});
    h.hang_up();
    CHECK_FALSE(h.ended());
    h.store.release_commits();
    h.runtime.run_until_idle();
    CHECK(h.ended());
    CHECK(h.store.committed.size() == 1);
  }
}

}  // namespace
}  // namespace waypost::mta
