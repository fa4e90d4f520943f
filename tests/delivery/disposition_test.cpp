#include "delivery/disposition.h"

#include <optional>

#include <doctest/doctest.h>

#include "smtp/reply_parser.h"

using namespace waypost;
using namespace waypost::delivery;
using queue::Event;

namespace {

const std::string kHost = "mx.b.example[192.0.2.7]:25";

smtp::Reply reply_of(const std::string& line) {
  smtp::ReplyParser parser;
  Result<std::optional<smtp::Reply>> reply = parser.on_line(line);
  REQUIRE(reply);
  REQUIRE(*reply);
  return **reply;
}

constexpr Event kDeferred = Event::attempt_deferred, kFailed = Event::attempt_failed, kRelayed = Event::attempt_relayed;

}  // namespace

TEST_SUITE("delivery/disposition") {
  TEST_CASE("a reply to a recipient's transaction: event, status, whether the next host is tried [RFC 5321 4.2.1]") {
    struct Row {
      Stage stage;
      const char* reply;
      Event event;
      const char* status;
      bool next_host;
      bool host_failed = false;
    };
    const Row rows[] = {
        {Stage::mail, "450 4.7.1 greylisted", kDeferred, "4.7.1", true},
        {Stage::mail, "451 local error", kDeferred, "4.0.0", true},
        {Stage::mail, "452 4.3.1 disk full", kDeferred, "4.3.1", true},
        {Stage::mail, "455 parameters", kDeferred, "4.0.0", true},
        {Stage::mail, "500 what", kFailed, "5.0.0", false},
        {Stage::mail, "501 5.1.7 bad sender", kFailed, "5.1.7", false},
        {Stage::mail, "530 5.7.0 authenticate", kFailed, "5.7.0", false},
        {Stage::mail, "550 5.7.1 refused", kFailed, "5.7.1", false},
        {Stage::mail, "552 5.3.4 too big", kFailed, "5.3.4", false},
        {Stage::mail, "554 no", kFailed, "5.0.0", false},
        {Stage::mail, "555 5.5.4 parameter", kFailed, "5.5.4", false},
        {Stage::mail, "421 4.3.2 shutting down", kDeferred, "4.3.2", true, true},
        {Stage::mail, "354 go ahead", kDeferred, "4.5.0", true, true},
        {Stage::rcpt, "450 4.2.1 busy", kDeferred, "4.2.1", true},
        {Stage::rcpt, "451 4.3.0 error", kDeferred, "4.3.0", true},
        {Stage::rcpt, "452 4.5.3 too many", kDeferred, "4.5.3", true},
        {Stage::rcpt, "452 too many", kDeferred, "4.0.0", true},
        {Stage::rcpt, "499", kDeferred, "4.0.0", true},
        {Stage::rcpt, "552 too many", kDeferred, "4.5.3", true},
        {Stage::rcpt, "552 5.2.2 mailbox full", kDeferred, "4.2.2", true},
        {Stage::rcpt, "552 5.5.3 too many", kDeferred, "4.5.3", true},
        {Stage::rcpt, "550 5.1.1 unknown", kFailed, "5.1.1", false},
        {Stage::rcpt, "550", kFailed, "5.0.0", false},
        {Stage::rcpt, "551 5.1.6 moved", kFailed, "5.1.6", false},
        {Stage::rcpt, "553 5.1.3 syntax", kFailed, "5.1.3", false},
        {Stage::rcpt, "503 5.5.1 sequence", kFailed, "5.5.1", false},
        {Stage::rcpt, "556 5.1.10 null MX", kFailed, "5.1.10", false},
        {Stage::rcpt, "599 strange", kFailed, "5.0.0", false},
        {Stage::rcpt, "421 4.7.0 enough", kDeferred, "4.7.0", true, true},
        {Stage::rcpt, "421 5.7.0 enough", kDeferred, "4.3.2", true, true},
        {Stage::rcpt, "354 go ahead", kDeferred, "4.5.0", true, true},
        // Reply code and enhanced code disagree: the reply code's class wins.
        {Stage::rcpt, "450 5.1.1 unknown", kDeferred, "4.0.0", true},
        {Stage::rcpt, "550 4.2.2 full", kFailed, "5.0.0", false},
        {Stage::rcpt, "550 2.1.5 fine", kFailed, "5.0.0", false},
        {Stage::mail, "451 2.0.0 fine", kDeferred, "4.0.0", true},
        {Stage::data, "451 4.3.0 error", kDeferred, "4.3.0", true},
        {Stage::data, "452 4.3.1 disk full", kDeferred, "4.3.1", true},
        {Stage::data, "503 5.5.1 sequence", kFailed, "5.5.1", false},
        {Stage::data, "554 5.7.1 refused", kFailed, "5.7.1", false},
        {Stage::data, "552 5.2.2 full", kFailed, "5.2.2", false},
        {Stage::data, "250 ok", kDeferred, "4.5.0", true, true},
        {Stage::data, "421 4.4.2 bye", kDeferred, "4.4.2", true, true},
        {Stage::body, "552 5.3.4 too big", kFailed, "5.3.4", false},
        {Stage::body, "451 4.7.1 later", kDeferred, "4.7.1", true},
        {Stage::body, "421 bye", kDeferred, "4.3.2", true, true},
        {Stage::final_dot, "250 2.0.0 queued as 1", kRelayed, "2.0.0", false},
        {Stage::final_dot, "250 2.6.0 accepted", kRelayed, "2.6.0", false},
        {Stage::final_dot, "250 ok", kRelayed, "2.0.0", false},
        {Stage::final_dot, "250 5.0.0 odd", kRelayed, "2.0.0", false},
        {Stage::final_dot, "200 ok", kRelayed, "2.0.0", false},
        {Stage::final_dot, "451 4.7.1 later", kDeferred, "4.7.1", true},
        {Stage::final_dot, "452 4.3.1 disk full", kDeferred, "4.3.1", true},
        {Stage::final_dot, "550 5.7.1 spam", kFailed, "5.7.1", false},
        {Stage::final_dot, "552 5.3.4 too big", kFailed, "5.3.4", false},
        {Stage::final_dot, "554 5.6.0 content", kFailed, "5.6.0", false},
        {Stage::final_dot, "421 4.3.2 bye", kDeferred, "4.3.2", true, true},
        {Stage::final_dot, "354 more", kDeferred, "4.5.0", true, true},
        {Stage::final_dot, "502 5.5.1 what", kFailed, "5.5.1", false},
        // RELIABILITY F39: a host that offers CHUNKING and knows no BDAT has said nothing of the message.
        {Stage::chunk, "500 5.5.2 what", kDeferred, "4.5.1", true, true},
        {Stage::chunk, "502 5.5.1 not implemented", kDeferred, "4.5.1", true, true},
        {Stage::chunk, "503 5.5.1 sequence", kDeferred, "4.5.1", true, true},
        {Stage::chunk, "504 5.5.4 parameter", kDeferred, "4.5.1", true, true},
        {Stage::chunk, "552 5.3.4 too big", kFailed, "5.3.4", false},
        {Stage::chunk, "554 5.6.0 content", kFailed, "5.6.0", false},
        {Stage::chunk, "451 4.7.1 later", kDeferred, "4.7.1", true},
        {Stage::chunk, "421 4.3.2 bye", kDeferred, "4.3.2", true, true},
        {Stage::chunk, "354 more", kDeferred, "4.5.0", true, true},
        {Stage::chunk, "250 2.0.0 queued as 1", kRelayed, "2.0.0", false},
    };
    for (const Row& row : rows) {
      CAPTURE(row.reply);
      CAPTURE(static_cast<int>(row.stage));
      smtp::Reply reply = reply_of(row.reply);
      Outcome outcome = of_reply(row.stage, reply, kHost);
      CHECK(outcome.event == row.event);
      CHECK(outcome.status == row.status);
      CHECK(outcome.try_next_host == row.next_host);
      CHECK(outcome.host == kHost);
      CHECK_FALSE(outcome.next_transaction);
      CHECK(is_host_failure(row.stage, reply) == row.host_failed);
      if (!row.host_failed) CHECK(outcome.reply == row.reply);
    }
  }

  TEST_CASE("banner and EHLO: any but 2xx is the host's, and temporary [RFC 5321 3.1, 3.2]") {
    struct Row {
      const char* reply;
      bool failure;
      const char* status = "";
    };
    const Row rows[] = {
        {"220 mx.b.example ESMTP", false},      {"250 mx.b.example", false},          {"421 busy", true, "4.3.2"},
        {"421 4.7.0 slow down", true, "4.7.0"}, {"450 4.3.2 not now", true, "4.3.2"}, {"500 what", true, "4.3.2"},
        {"521 no mail here", true, "4.3.2"},    {"550 5.7.1 blocked", true, "4.3.2"}, {"554 5.7.1 no", true, "4.3.2"},
        {"354 go ahead", true, "4.5.0"},
    };
    for (Stage stage : {Stage::banner, Stage::ehlo}) {
      for (const Row& row : rows) {
        CAPTURE(row.reply);
        smtp::Reply reply = reply_of(row.reply);
        CHECK(is_host_failure(stage, reply) == row.failure);
        if (!row.failure) continue;
        HostFailure failure = host_failure(stage, reply, kHost);
        CHECK(failure.status == row.status);
        CHECK(failure.host == kHost);
        CHECK(failure.reason.find(row.reply) != std::string::npos);
        CHECK_FALSE(failure.ours);
        CHECK_FALSE(failure.loop);
      }
    }
  }

  TEST_CASE("an I/O error is temporary, and says whose it is") {
    struct Row {
      Stage stage;
      Errc code;
      const char* status;
      bool ours;
      const char* reason;
    };
    const Row rows[] = {
        {Stage::connect, Errc::timed_out, "4.4.1", false, "timed out while connecting"},
        {Stage::connect, Errc::refused, "4.4.1", false, "connection refused"},
        {Stage::connect, Errc::unreachable, "4.4.1", false, "while connecting: what"},
        {Stage::connect, Errc::closed, "4.4.1", false, "lost connection while connecting"},
        {Stage::connect, Errc::busy, "4.3.0", true, "while connecting: what"},
        {Stage::connect, Errc::invalid, "4.3.0", true, "while connecting: what"},
        {Stage::connect, Errc::cancelled, "4.3.0", true, "stopped while connecting"},
        {Stage::connect, Errc::denied, "4.3.0", true, "while connecting: what"},
        {Stage::banner, Errc::timed_out, "4.4.2", false, "timed out while awaiting the greeting"},
        {Stage::banner, Errc::closed, "4.4.2", false, "lost connection while awaiting the greeting"},
        {Stage::banner, Errc::protocol, "4.5.0", false, "protocol error while awaiting the greeting: what"},
        {Stage::ehlo, Errc::closed, "4.4.2", false, "lost connection while awaiting the reply to EHLO"},
        {Stage::mail, Errc::timed_out, "4.4.2", false, "timed out while awaiting the reply to MAIL"},
        {Stage::rcpt, Errc::closed, "4.4.2", false, "lost connection while awaiting the reply to RCPT"},
        {Stage::data, Errc::closed, "4.4.2", false, "lost connection while awaiting the reply to DATA"},
        {Stage::body, Errc::closed, "4.4.2", false, "lost connection while sending the message"},
        {Stage::body, Errc::timed_out, "4.4.2", false, "timed out while sending the message"},
        {Stage::body, Errc::cancelled, "4.3.0", true, "stopped while sending the message"},
        {Stage::final_dot, Errc::closed, "4.4.2", false, "lost connection while awaiting the reply to the final dot"},
        {Stage::rset, Errc::protocol, "4.5.0", false, "protocol error while awaiting the reply to RSET: what"},
        {Stage::mail, Errc::internal, "4.3.0", true, "while awaiting the reply to MAIL: what"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.reason);
      HostFailure failure = of_error(row.stage, Error(row.code, "what"), kHost);
      CHECK(failure.status == row.status);
      CHECK(failure.ours == row.ours);
      CHECK(failure.reason == row.reason);
      Outcome outcome = from_host_failure(failure);
      CHECK(outcome.event == kDeferred);
      CHECK(outcome.status == row.status);
      CHECK(outcome.reply == row.reason);
      CHECK(outcome.host == kHost);
      CHECK(outcome.try_next_host == !row.ours);
    }
  }

  TEST_CASE("in doubt: deferred, and no other host is tried at once [RFC 1047]") {
    HostFailure failure = in_doubt(Error(Errc::timed_out, "what"), kHost);
    CHECK(failure.status == "4.4.2");
    CHECK(failure.reason == "in doubt: timed out while awaiting the reply to the final dot");
    Outcome outcome = from_doubt(failure);
    CHECK(outcome.event == kDeferred);
    CHECK_FALSE(outcome.try_next_host);
  }

  TEST_CASE("a host that is ourselves: failed, 5.4.6, and no exchanger after it [RFC 5321 5.1]") {
    HostFailure failure = loops_back("relay.example", kHost);
    CHECK(failure.loop);
    CHECK(failure.status == "5.4.6");
    CHECK(failure.reason == "mail loops back to myself: the host greets as relay.example");
    Outcome outcome = from_host_failure(failure);
    CHECK(outcome.event == kFailed);
    CHECK_FALSE(outcome.try_next_host);
  }

  TEST_CASE("own trouble never bounces") {
    for (Errc code : {Errc::io, Errc::damaged, Errc::busy, Errc::denied, Errc::not_found, Errc::internal}) {
      Outcome outcome = of_local_error(Error(code, "disk on fire"));
      CHECK(outcome.event == kDeferred);
      CHECK(outcome.status == "4.3.0");
      CHECK(outcome.reply == "disk on fire");
      CHECK_FALSE(outcome.try_next_host);
    }
    CHECK(of_local_error(Error(Errc::full, "x")).status == "4.3.1");
  }

  TEST_CASE("what the host does not offer") {
    Outcome big = too_big(2000, 1000, kHost);
    CHECK(big.event == kFailed);
    CHECK(big.status == "5.3.4");
    CHECK_FALSE(big.try_next_host);
    Outcome utf8 = needs_smtputf8(kHost);
    CHECK(utf8.event == kFailed);
    CHECK(utf8.status == "5.6.7");
    CHECK(utf8.try_next_host);
    Outcome tls = needs_tls(false, kHost);
    CHECK(tls.event == kDeferred);
    CHECK(tls.status == "4.7.10");
    CHECK(needs_tls(true, kHost).status == "4.7.30");
    CHECK(tls.try_next_host);
  }

  TEST_CASE("final delivery") {
    CHECK(delivered("maildir").event == Event::attempt_delivered);
    CHECK(delivered("maildir").status == "2.0.0");
    Outcome loop = delivery_loop("r@b.example", "maildir");
    CHECK(loop.event == kFailed);
    CHECK(loop.status == "5.4.6");
    CHECK(loop.reply == "mail forwarding loop for r@b.example");
  }

  TEST_CASE("what a host did, in words; our words are none of its replies") {
    struct Row {
      std::string host;
      HostFailure failure;
      std::string words;
      bool is_reply;
    };
    const std::string name = "mx.b.example [192.0.2.7]";
    smtp::Reply busy;
    busy.code = 450;
    busy.lines = {"busy"};
    smtp::Reply strange;
    strange.code = 354;
    const Row rows[] = {
        {kHost, host_failure(Stage::banner, busy, kHost), name + " answered: 450 busy", true},
        {kHost, host_failure(Stage::rcpt, strange, kHost),
         name + " did not take it: unexpected reply while awaiting the reply to RCPT: 354", false},
        {kHost, of_error(Stage::connect, Error(Errc::refused, ""), kHost),
         name + " could not be reached: connection refused", false},
        {kHost, of_error(Stage::connect, Error(Errc::timed_out, ""), kHost),
         name + " could not be reached: timed out while connecting", false},
        {kHost, of_error(Stage::body, Error(Errc::closed, ""), kHost),
         name + " did not take it: lost connection while sending the message", false},
        {kHost, in_doubt(Error(Errc::closed, ""), kHost),
         name + " did not confirm that it took it: lost connection while awaiting the reply to the final dot", false},
        {kHost, injected(512, kHost),
         name + " did not take it: behind STARTTLS came 512 octets in clear: somebody is in between", false},
        {"192.0.2.7[192.0.2.7]:2525", of_error(Stage::connect, Error(Errc::refused, ""), ""),
         "192.0.2.7:2525 could not be reached: connection refused", false},
        {"/run/lmtp", of_error(Stage::connect, Error(Errc::refused, ""), ""),
         "/run/lmtp could not be reached: connection refused", false},
    };
    for (const Row& row : rows) {
      CHECK(in_words(row.host, row.failure.status, row.failure.reason) == row.words);
      CHECK(is_reply(row.failure.reason) == row.is_reply);
    }
    for (const char* text : {"250", "250 ok", "550 5.1.1 no", "599 "}) CHECK(is_reply(text));
    for (const char* text : {"", "25", "150 x", "650 x", "2500 x", "25x", "250-x", "x 250"})
      CHECK_FALSE(is_reply(text));
  }

  TEST_CASE("a reply is one line of at most 512 octets, whatever the host says [C2]") {
    smtp::Reply reply;
    reply.code = 550;
    reply.lines.clear();
    for (int i = 0; i < 100; ++i) reply.lines.push_back("no\r\nTo: x\x1b[2J \xff \xe2\x80\xae" + std::string(300, 'x'));
    for (Stage stage : {Stage::banner, Stage::rcpt, Stage::final_dot}) {
      Outcome outcome = of_reply(stage, reply, kHost);
      CHECK(outcome.reply.size() <= 512);
      CHECK(outcome.reply.find_first_of("\r\n\x1b\xff") == std::string::npos);
      CHECK(outcome.reply.starts_with("550 no\\r\\nTo: x\\x1"));
    }
    reply.code = 354;
    CHECK(of_reply(Stage::rcpt, reply, kHost).reply.size() <= 512);
    CHECK(of_error(Stage::mail, Error(Errc::protocol, std::string(1000, 'x')), kHost).reason.size() == 512);
    // Cut between characters.
    std::string umlauts;
    for (int i = 0; i < 600; ++i) umlauts += "\xc3\xa4";
    std::string cut = of_local_error(Error(Errc::io, "a" + umlauts)).reply;
    CHECK(cut.size() <= 512);
    CHECK(cut.ends_with("\xc3\xa4..."));
  }

  TEST_CASE("a sender is told nothing of logins, routes and addresses") {
    struct Row {
      const char *reason, *want;
    };
    const Row rows[] = {
        {"login as relay@office.example was refused: 535 5.7.8 no", "the mail server does not let this relay in"},
        {"cannot log in as relay: the host offers no AUTH", "the mail server does not let this relay in"},
        {"the host wants a login: 530 5.7.0 no", "the mail server does not let this relay in"},
        {"TLS policy wants TLS, verify by route office: not offered", "TLS policy wants TLS"},
        {"the certificate is not what TLS policy wants, verify by route office: self-signed certificate; it is for a.b",
         "the certificate is not what TLS policy wants"},
        {"while connecting: connect to 192.0.2.1:25: address not available (from 10.0.0.5:0)",
         "while connecting: connect to 192.0.2.1:25: address not available"},
        {"550 5.7.1 your address (from 192.0.2.9) is listed", "550 5.7.1 your address (from 192.0.2.9) is listed"},
        {"connection refused", "connection refused"},
        {"", ""},
    };
    for (const Row& row : rows) {
      CAPTURE(row.reason);
      CHECK(for_senders(row.reason) == row.want);
    }
    // What the texts begin with is what they are made with.
    smtp::Reply reply;
    reply.code = 535;
    reply.lines = {"no"};
    const std::string told = "the mail server does not let this relay in";
    CHECK(for_senders(login_refused("ann", reply, "h").reason) == told);
    CHECK(for_senders(cannot_log_in("ann", Error(Errc::denied, "x"), "h").reason) == told);
    CHECK(for_senders(login_wanted(reply, "h").reason) == told);
    CHECK(for_senders(too_little_tls(TlsEvidence(), "h").reason) == "TLS policy wants TLS");
  }
}
