#include "delivery/attempt.h"

#include <vector>

#include <doctest/doctest.h>

#include "tests/delivery/scripted_host.h"

using namespace waypost;
using namespace waypost::delivery;
using namespace std::chrono_literals;
using queue::Event;
using tests::ClientSession;
using tests::HostOptions;

namespace {

constexpr Event kDeferred = Event::attempt_deferred, kFailed = Event::attempt_failed, kRelayed = Event::attempt_relayed;

const std::string kPlain = "S: 220 mx\nC: EHLO relay.example\nS: 250 mx\n";
const std::string kPipelining = "S: 220 mx\nC: EHLO relay.example\nS: 250-mx\nS: 250 PIPELINING\n";
const std::string kQuit = "\nC: QUIT\nS: 221 bye\nEND";

std::string offering(const std::string& keyword) {
  return "S: 220 mx\nC: EHLO relay.example\nS: 250-mx\nS: 250 " + keyword + "\n";
}

HostOptions split_at(std::size_t octets) {
  HostOptions options;
  options.split = octets;
  return options;
}

HostOptions lock_step() {
  HostOptions options;
  options.lock_step = true;
  return options;
}

void check(const ClientSession& s, std::size_t i, Event event, const std::string& status, const std::string& reply) {
  CAPTURE(i);
  CHECK(s.mistake == "");
  CHECK(s.outcome(i).event == event);
  CHECK(s.outcome(i).status == status);
  CHECK(s.outcome(i).reply == reply);
  CHECK(s.outcome(i).host == "mx.b.example[192.0.2.7]:25");
}

ClientSession& with_recipients(ClientSession& s, int count) {
  for (int i = 2; i <= count; ++i) s.message.add_recipient("r" + std::to_string(i) + "@b.example");
  return s;
}

}  // namespace

TEST_SUITE("delivery/attempt") {
  TEST_CASE("one at a time where PIPELINING is not offered [RFC 5321 4.1.1]") {
    for (std::size_t split : {1000, 1, 2, 5}) {
      ClientSession s;
      with_recipients(s, 2);
      HostOptions options = lock_step();
      options.split = split;
      s.run(kPlain + R"(C: MAIL FROM:<s@a.example>
                        S: 250 2.1.0 ok
                        C: RCPT TO:<r1@b.example>
                        S: 250 2.1.5 ok
                        C: RCPT TO:<r2@b.example>
                        S: 251 will forward
                        C: DATA
                        S: 354 go ahead
                        BODY
                        S: 250 2.0.0 queued as 7)" +
                kQuit,
            options);
      check(s, 0, kRelayed, "2.0.0", "250 2.0.0 queued as 7");
      check(s, 1, kRelayed, "2.0.0", "250 2.0.0 queued as 7");
      CHECK(s.body == "Received: by relay.example; now\r\nSubject: hello\r\n\r\ntext\r\n.\r\n");
      CHECK_FALSE(s.result().host);
      CHECK_FALSE(s.result().in_doubt);
      CHECK(s.usable);
    }
  }

  TEST_CASE("MAIL, RCPT and DATA in one go where it is offered; the content never before 354 [RFC 2920]") {
    for (std::size_t split : {1000, 1, 3}) {
      ClientSession s;
      with_recipients(s, 3);
      s.run(kPipelining + R"(C: MAIL FROM:<s@a.example>
                             C: RCPT TO:<r1@b.example>
                             C: RCPT TO:<r2@b.example>
                             C: RCPT TO:<r3@b.example>
                             C: DATA
                             S: 250 ok
                             S: 250 ok
                             S: 550 5.1.1 unknown
                             S: 450-4.2.1 busy,
                             S: 450 4.2.1 come again
                             WAIT 20
                             S: 354 go ahead
                             BODY
                             S: 250 ok)" +
                kQuit,
            split_at(split));
      check(s, 0, kRelayed, "2.0.0", "250 ok");
      check(s, 1, kFailed, "5.1.1", "550 5.1.1 unknown");
      check(s, 2, kDeferred, "4.2.1", "450 4.2.1 busy, / come again");
      CHECK(s.outcome(2).try_next_host);
      CHECK_FALSE(s.outcome(1).try_next_host);
      CHECK(s.usable);
    }
  }

  TEST_CASE("1,000 recipients go out in batches, so that nobody waits for ever [RFC 2920 3.1]") {
    ClientSession s;
    with_recipients(s, 1000);
    std::string script = kPipelining + "C: MAIL FROM:<s@a.example>\n";
    std::string replies = "S: 250 ok\n";
    int said = 1;
    for (int i = 1; i <= 1000; ++i) {
      script += "C: RCPT TO:<r" + std::to_string(i) + "@b.example>\n";
      replies += "S: 250 " + std::string(400, 'x') + "\n";
      if (++said == 100) {
        script += std::exchange(replies, {});
        said = 0;
      }
    }
    s.run(script + "C: DATA\n" + replies + "S: 354 go\nBODY\nS: 250 ok" + kQuit);
    CHECK(s.mistake == "");
    for (std::size_t i = 0; i < 1000; ++i) CHECK(s.outcome(i).event == kRelayed);
  }

  TEST_CASE("a second transaction in the same session") {
    ClientSession s;
    s.attempts = 2;
    std::string transaction =
        "C: MAIL FROM:<s@a.example>\nC: RCPT TO:<r1@b.example>\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nBODY\nS: 250 "
        "ok\n";
    s.run(kPipelining + transaction + transaction + kQuit);
    CHECK(s.mistake == "");
    REQUIRE(s.results.size() == 2);
    CHECK(s.results[1].outcomes[0].event == kRelayed);
  }

  TEST_CASE("the null reverse-path; parameters where they are offered [RFC 1870, 6152, 3461]") {
    struct Row {
      const char* offer;
      const char* mail;
      const char* rcpt;
    };
    const Row rows[] = {
        {"HELP", "MAIL FROM:<>", "RCPT TO:<r1@b.example>"},
        {"SIZE", "MAIL FROM:<> SIZE=56", "RCPT TO:<r1@b.example>"},
        {"SIZE 56", "MAIL FROM:<> SIZE=56", "RCPT TO:<r1@b.example>"},
        {"SIZE 0", "MAIL FROM:<> SIZE=56", "RCPT TO:<r1@b.example>"},
        {"8BITMIME", "MAIL FROM:<> BODY=8BITMIME", "RCPT TO:<r1@b.example>"},
        {"DSN", "MAIL FROM:<> RET=HDRS ENVID=a+2Bb", "RCPT TO:<r1@b.example> NOTIFY=NEVER ORCPT=rfc822;x@y"},
    };
    for (const Row& row : rows) {
      ClientSession s;
      s.message.set_sender("");
      s.message.info.size = 56;
      s.message.info.eight_bit = true;
      s.message.info.ret = smtp::Ret::headers;
      s.message.info.envid = "a+2Bb";
      s.message.recipients[0].notify.bits = smtp::Notify::kNever;
      s.message.recipients[0].orcpt = "rfc822;x@y";
      s.run(offering(row.offer) + "C: " + row.mail + "\nS: 250 ok\nC: " + row.rcpt +
            "\nS: 250 ok\nC: DATA\nS: 354 go\nBODY\nS: 250 ok" + kQuit);
      check(s, 0, kRelayed, "2.0.0", "250 ok");
    }
  }

  TEST_CASE("a message that is too big is not begun: failed, 5.3.4 [RFC 1870 6]") {
    ClientSession s;
    with_recipients(s, 2);
    s.message.info.size = 1001;
    s.run(offering("SIZE 1000") + kQuit);
    check(s, 0, kFailed, "5.3.4", "message of 1001 octets is over the host's limit of 1000");
    check(s, 1, kFailed, "5.3.4", "message of 1001 octets is over the host's limit of 1000");
    CHECK(s.usable);
  }

  TEST_CASE("SMTPUTF8: asked for where it is needed, and failed 5.6.7 unless another host has it [RFC 6531 3.5]") {
    std::string rest = "\nS: 250 ok\nC: RCPT TO:<j\xc3\xbc@b.example>\nS: 250 ok\nC: DATA\nS: 354 go\nBODY\nS: 250 ok";
    ClientSession with;
    with.message.info.smtputf8 = true;
    with.message.recipients.clear();
    with.message.add_recipient("j\xc3\xbc@b.example");
    with.run(offering("SMTPUTF8") + "C: MAIL FROM:<s@a.example> SMTPUTF8" + rest + kQuit);
    CHECK(with.outcome().event == kRelayed);

    ClientSession without;
    without.message.info = with.message.info;
    without.message.recipients = with.message.recipients;
    without.run(kPlain + kQuit);
    CHECK(without.mistake == "");
    CHECK(without.outcome().event == kFailed);
    CHECK(without.outcome().status == "5.6.7");
    CHECK(without.outcome().try_next_host);

    // Only those whose addresses are not ASCII need it.
    ClientSession mixed;
    mixed.message.add_recipient("j\xc3\xbc@b.example");
    mixed.run(kPlain +
              "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 250\nC: DATA\nS: 354\nBODY\nS: 250" +
              kQuit);
    CHECK(mixed.mistake == "");
    CHECK(mixed.outcome().event == kRelayed);
    CHECK(mixed.outcome(1).event == kFailed);
    CHECK(mixed.outcome(1).status == "5.6.7");

    // The header section is ASCII, and so are the addresses: the body does not matter.
    ClientSession ascii;
    ascii.message.info.eight_bit = true;
    ascii.run(kPlain +
              "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 250\nC: DATA\nS: 354\nBODY\nS: 250" +
              kQuit);
    CHECK(ascii.outcome().event == kRelayed);
    CHECK(ascii.mistake == "");

    ClientSession header;
    header.message.info.smtputf8 = true;
    header.run(kPlain + kQuit);
    CHECK(header.outcome().status == "5.6.7");
  }

  TEST_CASE("8-bit content for a host without 8BITMIME: converted, or 5.6.3, or as it is [RFC 6152 3]") {
    const std::string field = "Content-Type: text/plain; charset=utf-8\r\n";
    const std::string plain =
        "MIME-Version: 1.0\r\n" + field + "Content-Transfer-Encoding: 8bit\r\n\r\n.gr\xc3\xbc\xc3\x9f\r\n";
    const std::string sealed = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n" +
                               field +
                               "Content-Transfer-Encoding: 8bit\r\n\r\ngr\xc3\xbc\xc3\x9f\r\n--b\r\n\r\n\r\n--b--\r\n";
    const std::string envelope = "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 250\n";
    const std::string by_data = envelope + "C: DATA\nS: 354\nBODY\nS: 250 ok" + kQuit;
    for (const bool in_file : {false, true}) {
      for (const std::string& offer : {std::string("HELP"), std::string("SIZE"), std::string("CHUNKING")}) {
        CAPTURE(offer);
        ClientSession s;
        s.message.info.eight_bit = s.message.info.dot_lines = true;
        if (in_file) s.message.set_body_in_file(plain);
        if (!in_file) s.message.set_body(plain);
        s.run(offering(offer) + by_data);
        check(s, 0, kRelayed, "2.0.0", "250 ok");
        CHECK(s.body == "Received: by relay.example; now\r\nMIME-Version: 1.0\r\n" + field +
                            "Content-Transfer-Encoding: quoted-printable\r\n\r\n..gr=C3=BC=C3=9F\r\n.\r\n");
      }
      ClientSession s;
      s.message.info.eight_bit = true;
      if (in_file) s.message.set_body_in_file(sealed);
      if (!in_file) s.message.set_body(sealed);
      s.run(kPlain + kQuit);
      check(s, 0, kFailed, "5.6.3",
            "the host does not offer 8BITMIME, and the message cannot be converted: it is signed or encrypted");
      CHECK(s.outcome().try_next_host);

      ClientSession as_it_is;
      as_it_is.settings.send_unconverted = true;
      as_it_is.message.info.eight_bit = true;
      as_it_is.message.set_body(sealed);
      as_it_is.run(kPlain + by_data);
      check(as_it_is, 0, kRelayed, "2.0.0", "250 ok");
      CHECK(as_it_is.body.find("\r\ngr\xc3\xbc\xc3\x9f\r\n") != std::string::npos);
    }

    ClientSession damaged;
    damaged.message.info.eight_bit = true;
    damaged.message.set_body_in_file(plain);
    damaged.message.damage();
    damaged.run(kPlain + kQuit);
    CHECK(damaged.mistake == "");
    CHECK(damaged.outcome().event == kDeferred);
    CHECK(damaged.outcome().status == "4.3.0");
  }

  TEST_CASE("by BDAT where it is offered: one chunk, whose last octet waits for the whole body [RFC 3030]") {
    const std::string body = "Subject: x\r\n\r\n.dot\r\n" + std::string(200'000, 'x') + "\r\n";
    const std::string sent = "Received: by relay.example; now\r\n" + body;
    const std::string size = std::to_string(sent.size());
    const std::string envelope = "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 250\n";
    const std::string by_bdat = "C: BDAT " + size + " LAST\nCHUNK " + size + "\n";
    for (const bool in_file : {false, true}) {
      CAPTURE(in_file);
      auto store = [&](ClientSession& s) {
        s.message.info.dot_lines = true;
        if (in_file) s.message.set_body_in_file(body);
        if (!in_file) s.message.set_body(body);
      };
      ClientSession s;
      store(s);
      s.run(offering("CHUNKING") + envelope + by_bdat + "S: 250 ok" + kQuit);
      check(s, 0, kRelayed, "2.0.0", "250 ok");
      CHECK(s.body == sent);

      ClientSession refused;
      store(refused);
      refused.run(offering("CHUNKING") + envelope + by_bdat + "S: 552 5.3.4 too big\nC: RSET\nS: 250" + kQuit);
      check(refused, 0, kFailed, "5.3.4", "552 5.3.4 too big");

      ClientSession unknown;
      store(unknown);
      unknown.run(offering("CHUNKING") + envelope + by_bdat + "S: 502 5.5.1 not implemented");
      check(unknown, 0, kDeferred, "4.5.1", "the host offers CHUNKING, but to BDAT it says: 502 5.5.1 not implemented");
      CHECK(unknown.outcome().try_next_host);
      CHECK_FALSE(unknown.result().in_doubt);

      ClientSession nobody;
      store(nobody);
      nobody.run(offering("CHUNKING") +
                 "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 550 5.1.1 no\n" +
                 "C: RSET\nS: 250" + kQuit);
      check(nobody, 0, kFailed, "5.1.1", "550 5.1.1 no");

      ClientSession silent;
      store(silent);
      silent.run(offering("CHUNKING") + envelope + by_bdat + "CLOSE");
      CHECK(silent.result().in_doubt);

      ClientSession cut;
      store(cut);
      HostOptions options;
      options.close_after_read = 5000;
      cut.run(offering("CHUNKING") + envelope + by_bdat, options);
      CHECK_FALSE(cut.result().in_doubt);
      CHECK(cut.outcome().event == kDeferred);

      ClientSession without;
      store(without);
      without.settings.chunking = false;
      without.run(offering("CHUNKING") + envelope + "C: DATA\nS: 354\nBODY\nS: 250 ok" + kQuit);
      check(without, 0, kRelayed, "2.0.0", "250 ok");
    }

    // The end of a damaged body never goes out, nor one that is not what BDAT has announced.
    ClientSession damaged;
    damaged.message.set_body_in_file(body);
    damaged.message.damage();
    damaged.run(offering("CHUNKING") + envelope + by_bdat);
    CHECK(damaged.mistake == "client gone in the chunk");
    CHECK(damaged.outcome().status == "4.3.0");
    ClientSession bare;
    bare.message.set_body("a: b\r\n\r\nx\ny\r\n");
    bare.run(offering("CHUNKING") + envelope + "OCTETS 1");
    CHECK(bare.outcome().event == kDeferred);
    CHECK(bare.outcome().status == "4.3.0");
  }

  TEST_CASE("binary content goes by BDAT with BINARYMIME, or is converted [RFC 3030 3]") {
    const std::string head = "MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n";
    const std::string body = head + "Content-Transfer-Encoding: binary\r\n\r\n" + std::string("\0\r\n.\n", 5);
    const std::string size = std::to_string(33 + body.size());
    for (const bool in_file : {false, true}) {
      auto store = [&](ClientSession& s) {
        s.message.info.body = smtp::BodyType::binary_mime;
        if (in_file) s.message.set_body_in_file(body);
        if (!in_file) s.message.set_body(body);
      };
      ClientSession s;
      store(s);
      s.run(
          "S: 220 mx\nC: EHLO relay.example\nS: 250-mx\nS: 250-CHUNKING\nS: 250 BINARYMIME\n"
          "C: MAIL FROM:<s@a.example> BODY=BINARYMIME\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 250\nC: BDAT " +
          size + " LAST\nCHUNK " + size + "\nS: 250 ok" + kQuit);
      check(s, 0, kRelayed, "2.0.0", "250 ok");
      CHECK(s.body == "Received: by relay.example; now\r\n" + body);

      for (const std::string& offer : {std::string("8BITMIME"), std::string("CHUNKING"), std::string("BINARYMIME")}) {
        CAPTURE(offer);
        ClientSession other;
        store(other);
        other.run(offering(offer) +
                  "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 250\nC: DATA\n"
                  "S: 354\nBODY\nS: 250 ok" +
                  kQuit);
        check(other, 0, kRelayed, "2.0.0", "250 ok");
        CHECK(other.body == "Received: by relay.example; now\r\n" + head +
                                "Content-Transfer-Encoding: base64\r\n\r\nAA0KLgo=\r\n.\r\n");
      }
    }

    // What is text but for its last line end needs neither; what is called base64 and is not cannot be mended.
    const std::string by_data =
        "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 250\nC: DATA\nS: 354\nBODY\nS: 250 ok";
    ClientSession text;
    text.message.info.body = smtp::BodyType::binary_mime;
    text.message.set_body("Subject: x\r\n\r\nno line end");
    text.run(offering("8BITMIME") + by_data + kQuit);
    check(text, 0, kRelayed, "2.0.0", "250 ok");
    CHECK(text.body.ends_with("\r\nno line end\r\n.\r\n"));
    ClientSession false_label;
    false_label.message.info.body = smtp::BodyType::binary_mime;
    false_label.message.set_body(head + "Content-Transfer-Encoding: base64\r\n\r\nAAAA" + std::string("\0\n.\n", 4));
    false_label.run(offering("8BITMIME") + kQuit);
    check(false_label, 0, kFailed, "5.6.3", "the host does not offer BINARYMIME, and the message cannot be converted");
  }

  TEST_CASE("503 to MAIL says nothing of the message: the session is out of step") {
    ClientSession s;
    s.run(kPlain + "C: MAIL FROM:<s@a.example>\nS: 503 5.5.1 nested MAIL" + kQuit);
    CHECK(s.result().host.has_value());
    CHECK(s.result().before_mail);
    CHECK(s.outcome().event == kDeferred);
    CHECK_FALSE(s.usable);
  }

  TEST_CASE("REQUIRETLS without TLS is deferred") {
    ClientSession s;
    s.message.info.require_tls = true;
    s.run(kPlain + kQuit);
    CHECK(s.mistake == "");
    CHECK(s.outcome().event == kDeferred);
    CHECK(s.outcome().status == "4.7.10");

    // A report is better delivered without than not at all [RFC 8689 5].
    ClientSession report;
    report.message.info.require_tls = true;
    report.message.set_sender("");
    report.run(kPlain + "C: MAIL FROM:<>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 250\nC: DATA\nS: 354\nBODY\nS: 250 ok" +
               kQuit);
    check(report, 0, kRelayed, "2.0.0", "250 ok");
  }

  TEST_CASE("a reply to MAIL is about all recipients; what follows it in the pipe is not listened to") {
    struct Row {
      const char* reply;
      Event event;
      const char* status;
    };
    for (const Row& row : {Row{"550 5.7.1 refused", kFailed, "5.7.1"}, Row{"451 4.3.0 later", kDeferred, "4.3.0"}}) {
      ClientSession s;
      with_recipients(s, 2);
      s.run(kPipelining +
            "C: MAIL FROM:<s@a.example>\nC: RCPT TO:<r1@b.example>\nC: RCPT TO:<r2@b.example>\nC: DATA\nS: " +
            row.reply + "\nS: 503 no\nS: 250 ok\nS: 503 no\n" + kQuit);
      check(s, 0, row.event, row.status, row.reply);
      check(s, 1, row.event, row.status, row.reply);
      CHECK(s.outcome().try_next_host == (row.event == kDeferred));
      CHECK_FALSE(s.result().host);
      CHECK(s.usable);

      ClientSession plain;
      plain.run(kPlain + "C: MAIL FROM:<s@a.example>\nS: " + row.reply + kQuit, lock_step());
      check(plain, 0, row.event, row.status, row.reply);
    }
  }

  TEST_CASE("no recipient left: RSET, and the session goes on; DATA is not said where it need not be") {
    ClientSession plain;
    with_recipients(plain, 2);
    plain.run(kPlain + R"(C: MAIL FROM:<s@a.example>
                          S: 250 ok
                          C: RCPT TO:<r1@b.example>
                          S: 550 5.1.1 no
                          C: RCPT TO:<r2@b.example>
                          S: 450 4.2.1 no
                          C: RSET
                          S: 250 ok)" +
                  kQuit,
              lock_step());
    check(plain, 0, kFailed, "5.1.1", "550 5.1.1 no");
    check(plain, 1, kDeferred, "4.2.1", "450 4.2.1 no");
    CHECK(plain.usable);

    for (const char* after_data :
         {"S: 554 5.5.1 no valid recipients\nC: RSET\nS: 250 ok", "S: 503 no\nC: RSET\nS: 250 ok"}) {
      ClientSession s;
      s.run(kPipelining +
            "C: MAIL FROM:<s@a.example>\nC: RCPT TO:<r1@b.example>\nC: DATA\nS: 250 ok\nS: 550 5.1.1 no\n" +
            after_data + kQuit);
      check(s, 0, kFailed, "5.1.1", "550 5.1.1 no");
      CHECK(s.usable);
    }
    // RSET refused: the session is over.
    ClientSession refused;
    refused.run(kPlain +
                "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 550\nC: RSET\nS: 500 what\nEND");
    CHECK(refused.mistake == "");
    CHECK_FALSE(refused.usable);
  }

  TEST_CASE("354 although nobody was accepted: just the dot, and its reply is nothing [RFC 2920 3.1]") {
    for (const char* reply : {"554 5.5.1 no recipients", "250 ok", "451 what"}) {
      ClientSession s;
      s.run(kPipelining + "C: MAIL FROM:<s@a.example>\nC: RCPT TO:<r1@b.example>\nC: DATA\n" +
            "S: 250 ok\nS: 550 5.1.1 no\nS: 354 go\nC: .\nS: " + reply + kQuit);
      check(s, 0, kFailed, "5.1.1", "550 5.1.1 no");
      CHECK(s.usable);
    }
  }

  TEST_CASE("552 to RCPT is as 452, and more may follow at once where others were taken [RFC 5321 4.5.3.1.10]") {
    ClientSession s;
    with_recipients(s, 4);
    s.run(kPipelining + R"(C: MAIL FROM:<s@a.example>
                           C: RCPT TO:<r1@b.example>
                           C: RCPT TO:<r2@b.example>
                           C: RCPT TO:<r3@b.example>
                           C: RCPT TO:<r4@b.example>
                           C: DATA
                           S: 250 ok
                           S: 250 ok
                           S: 552 too many
                           S: 452 4.5.3 too many
                           S: 552 5.2.2 mailbox full
                           S: 354 go
                           BODY
                           S: 250 ok)" +
          kQuit);
    check(s, 0, kRelayed, "2.0.0", "250 ok");
    check(s, 1, kDeferred, "4.5.3", "552 too many");
    check(s, 2, kDeferred, "4.5.3", "452 4.5.3 too many");
    check(s, 3, kDeferred, "4.2.2", "552 5.2.2 mailbox full");
    CHECK(s.outcome(1).next_transaction);
    CHECK(s.outcome(2).next_transaction);
    CHECK_FALSE(s.outcome(3).next_transaction);
  }

  TEST_CASE("421 ends the session: those accepted are undone, what was learnt stays [RFC 5321 3.8]") {
    const std::string mail = "C: MAIL FROM:<s@a.example>\n", rcpt1 = "C: RCPT TO:<r1@b.example>\n",
                      rcpt2 = "C: RCPT TO:<r2@b.example>\n", rcpt3 = "C: RCPT TO:<r3@b.example>\n";
    const std::string refused_then = mail + "S: 250\n" + rcpt1 + "S: 550 5.1.1 no\n" + rcpt2 + "S: 250\n" + rcpt3;
    for (const std::string& script :
         {refused_then + "S: 421 4.3.2 bye\nEND", refused_then + "S: 250\nC: DATA\nS: 421 4.3.2 bye\nEND",
          refused_then + "S: 250\nC: DATA\nS: 354\nBODY\nS: 421 4.3.2 bye\nEND"}) {
      CAPTURE(script);
      ClientSession s;
      with_recipients(s, 3);
      s.run(kPlain + script);
      check(s, 0, kFailed, "5.1.1", "550 5.1.1 no");
      check(s, 1, kDeferred, "4.3.2", "421 4.3.2 bye");
      check(s, 2, kDeferred, "4.3.2", "421 4.3.2 bye");
      CHECK(s.outcome(1).try_next_host);
      REQUIRE(s.result().host);
      CHECK(s.result().host->status == "4.3.2");
      CHECK_FALSE(s.result().before_mail);
      CHECK_FALSE(s.result().in_doubt);
      CHECK_FALSE(s.usable);
    }
    ClientSession at_mail;
    at_mail.run(kPlain + mail + "S: 421 idle\nEND");
    CHECK(at_mail.mistake == "");
    CHECK(at_mail.result().before_mail);
    CHECK_FALSE(at_mail.usable);
  }

  TEST_CASE("a reply to DATA, and the reply to the dot, are about those who were accepted") {
    struct Row {
      const char* reply;
      Event event;
      const char* status;
    };
    for (const Row& row : {Row{"550 5.7.1 refused", kFailed, "5.7.1"}, Row{"451 4.3.0 later", kDeferred, "4.3.0"},
                           Row{"554 no", kFailed, "5.0.0"}}) {
      std::string script =
          kPipelining + "C: MAIL FROM:<s@a.example>\nC: RCPT TO:<r1@b.example>\nC: RCPT TO:<r2@b.example>\nC: DATA\n" +
          "S: 250 ok\nS: 550 5.1.1 no\nS: 250 ok\nS: ";
      for (const std::string& rest :
           {script + row.reply + "\nC: RSET\nS: 250 ok" + kQuit, script + "354 go\nBODY\nS: " + row.reply + kQuit}) {
        ClientSession s;
        with_recipients(s, 2);
        s.run(rest);
        check(s, 0, kFailed, "5.1.1", "550 5.1.1 no");
        check(s, 1, row.event, row.status, row.reply);
        CHECK(s.outcome(1).try_next_host == (row.event == kDeferred));
        CHECK_FALSE(s.result().host);
        CHECK_FALSE(s.result().in_doubt);
        CHECK(s.usable);
      }
    }
  }

  TEST_CASE("replies that slide, or cannot be one: the session is over, nobody is relayed, nobody fails [F35, F39]") {
    const std::string mail = "C: MAIL FROM:<s@a.example>\n", rcpt = "C: RCPT TO:<r1@b.example>\n";
    for (const std::string& script :
         {mail + "S: 354 go\nEND", mail + "S: 250 ok\nS: 250 ahead\nEND", mail + "S: 250\n" + rcpt + "S: 354 go\nEND",
          mail + "S: 250\n" + rcpt + "S: 250\nS: 354 ahead\nEND",
          mail + "S: 250\n" + rcpt + "S: 250\nC: DATA\nS: 250 no\nEND",
          mail + "S: 250\n" + rcpt + "S: 250\nC: DATA\nS: 354 go\nS: 250 ahead\nEND",
          mail + "S: 250\n" + rcpt + "S: 250\nC: DATA\nS: 354 go\nRAW 250\nEND",
          mail + "S: 250\n" + rcpt + "S: 250\nC: DATA\nS: 354 go\nBODY\nS: 354 more\nEND", mail + "S: hello\nEND",
          mail + "S: 250-x\nS: 550 y\nEND", mail + "S:  250 x\nEND", mail + "S: 25\nEND", mail + "S: 2500 x\nEND"}) {
      CAPTURE(script);
      ClientSession s;
      s.run(kPlain + script);
      CHECK(s.mistake == "");
      CHECK(s.outcome().event == kDeferred);
      CHECK(s.outcome().status == "4.5.0");
      CHECK(s.outcome().try_next_host);
      CHECK(s.result().host);
      CHECK_FALSE(s.usable);
    }
    // As many replies as commands and one more: the content is not sent.
    ClientSession s;
    s.run(kPipelining +
          "C: MAIL FROM:<s@a.example>\nC: RCPT TO:<r1@b.example>\nC: DATA\nS: 250\nS: 250\nS: 354\nS: 250\nEND");
    CHECK(s.mistake == "");
    CHECK(s.outcome().event == kDeferred);
  }

  TEST_CASE("connection lost after the dot: in doubt, the host not asked again at once [RFC 1047, F34]") {
    const std::string script = kPlain + "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 250\n" +
                               "C: RCPT TO:<r2@b.example>\nS: 550 5.1.1 no\nC: DATA\nS: 354\nBODY\n";
    struct Row {
      const char* then;
      const char* reply;
      net::Duration took;
    };
    for (const Row& row :
         {Row{"CLOSE", "in doubt: lost connection while awaiting the reply to the final dot", 0s},
          Row{"RAW 250 ok\nCLOSE", "in doubt: lost connection while awaiting the reply to the final dot", 0s},
          Row{"WAIT 3600", "in doubt: timed out while awaiting the reply to the final dot", 10min},
          Row{"S: what\nEND",
              "in doubt: protocol error while awaiting the reply to the final dot: reply without a reply code", 0s}}) {
      ClientSession s;
      with_recipients(s, 2);
      s.run(script + row.then);
      check(s, 0, kDeferred, "4.4.2", row.reply);
      check(s, 1, kFailed, "5.1.1", "550 5.1.1 no");
      CHECK(s.result().in_doubt);
      CHECK(s.result().host);
      CHECK_FALSE(s.outcome(0).try_next_host);
      CHECK_FALSE(s.usable);
      CHECK(s.took == row.took);
    }
  }

  TEST_CASE("LMTP: LHLO, and after the dot a reply for each recipient that was accepted [RFC 2033]") {
    ClientSession s;
    s.peer.protocol = Protocol::lmtp;
    s.peer.name = "localhost";
    s.peer.address = net::Address::local("/run/lmtp");
    with_recipients(s, 4);
    s.run(R"(S: 220 relay.example LMTP
             C: LHLO relay.example
             S: 250-relay.example
             S: 250 PIPELINING
             C: MAIL FROM:<s@a.example>
             C: RCPT TO:<r1@b.example>
             C: RCPT TO:<r2@b.example>
             C: RCPT TO:<r3@b.example>
             C: RCPT TO:<r4@b.example>
             C: DATA
             S: 250 2.1.0 ok
             S: 250 2.1.5 ok
             S: 550 5.1.1 unknown
             S: 250 2.1.5 ok
             S: 250 2.1.5 ok
             S: 354 go ahead
             BODY
             S: 250 2.0.0 saved
             S: 452 4.2.2 over quota
             S: 552 5.2.3 too big for this one)" +
          kQuit);
    CHECK(s.mistake == "");
    CHECK(s.outcome(0).event == Event::attempt_delivered);
    CHECK(s.outcome(0).host == "localhost[/run/lmtp]");
    CHECK(s.outcome(1).event == kFailed);
    CHECK(s.outcome(1).status == "5.1.1");
    CHECK(s.outcome(2).event == kDeferred);
    CHECK(s.outcome(2).status == "4.2.2");
    CHECK(s.outcome(3).event == kFailed);
    CHECK(s.outcome(3).status == "5.2.3");
    CHECK_FALSE(s.result().host);
    CHECK(s.usable);
  }

  TEST_CASE("REQUIRETLS asks nothing of a socket of this machine") {
    ClientSession s;
    s.peer.protocol = Protocol::lmtp;
    s.peer.address = net::Address::local("/run/lmtp");
    s.message.info.require_tls = true;
    s.run(R"(S: 220 mx LMTP
             C: LHLO relay.example
             S: 250 mx
             C: MAIL FROM:<s@a.example>
             S: 250 ok
             C: RCPT TO:<r1@b.example>
             S: 250 ok
             C: DATA
             S: 354 go
             BODY
             S: 250 2.0.0 saved)" +
          kQuit);
    CHECK(s.mistake == "");
    CHECK(s.outcome().event == Event::attempt_delivered);
  }

  TEST_CASE("LMTP: the session is lost between the replies: those who had one have it, the others are in doubt") {
    for (const std::string& end : {std::string("CLOSE"), std::string("S: 421 4.3.2 going down\nCLOSE")}) {
      ClientSession s;
      s.peer.protocol = Protocol::lmtp;
      with_recipients(s, 3);
      s.run(R"(S: 220 mx LMTP
               C: LHLO relay.example
               S: 250 mx
               C: MAIL FROM:<s@a.example>
               S: 250 ok
               C: RCPT TO:<r1@b.example>
               S: 250 ok
               C: RCPT TO:<r2@b.example>
               S: 250 ok
               C: RCPT TO:<r3@b.example>
               S: 250 ok
               C: DATA
               S: 354 go
               BODY
               S: 250 2.0.0 saved
)" + end);
      CHECK(s.mistake == "");
      CHECK(s.outcome(0).event == Event::attempt_delivered);
      CHECK(s.outcome(1).event == kDeferred);
      CHECK(s.outcome(2).event == kDeferred);
      CHECK(s.result().in_doubt == (end == "CLOSE"));
      CHECK(s.result().host);
      CHECK_FALSE(s.usable);
    }
  }

  TEST_CASE("LMTP: 354 although nobody was accepted: closed, since no reply would follow") {
    ClientSession s;
    s.peer.protocol = Protocol::lmtp;
    s.run(R"(S: 220 mx LMTP
             C: LHLO relay.example
             S: 250-mx
             S: 250 PIPELINING
             C: MAIL FROM:<s@a.example>
             C: RCPT TO:<r1@b.example>
             C: DATA
             S: 250 ok
             S: 550 5.1.1 unknown
             S: 354 go
             END)");
    CHECK(s.mistake == "");
    CHECK(s.outcome().event == kFailed);
    CHECK_FALSE(s.usable);
  }

  TEST_CASE("each stage has its timeout [RFC 5321 4.5.3.2, F33]") {
    const std::string mail = "C: MAIL FROM:<s@a.example>\n", rcpt = "S: 250\nC: RCPT TO:<r1@b.example>\n",
                      data = "S: 250\nC: DATA\n";
    struct Row {
      std::string script;
      const char* reply;
      bool before_mail;
    };
    for (const Row& row : {Row{mail, "timed out while awaiting the reply to MAIL", true},
                           Row{mail + rcpt, "timed out while awaiting the reply to RCPT", false},
                           Row{mail + rcpt + data, "timed out while awaiting the reply to DATA", false}}) {
      ClientSession s;
      s.run(kPlain + row.script + "WAIT 3600");
      check(s, 0, kDeferred, "4.4.2", row.reply);
      CHECK(s.took == 5min);
      CHECK(s.result().before_mail == row.before_mail);
      CHECK_FALSE(s.result().in_doubt);
    }
    // A host that stops reading in the middle of a large body.
    ClientSession stuck;
    stuck.message.set_body_in_file(std::string(300'000, 'x') + "\r\n");
    stuck.run(kPlain + mail + rcpt + data + "S: 354\nOCTETS 1000\nWAIT 3600");
    check(stuck, 0, kDeferred, "4.4.2", "timed out while sending the message");
    CHECK_FALSE(stuck.result().in_doubt);
    CHECK(stuck.took == 10min);
  }

  TEST_CASE("a host that answers in the middle of the body and closes is heard") {
    struct Row {
      const char* reply;
      Event event;
      const char* status;
      bool host_failed;
    };
    for (const Row& row :
         {Row{"S: 552 5.3.4 too big", kFailed, "5.3.4", false}, Row{"S: 451 4.7.1 no", kDeferred, "4.7.1", false},
          Row{"S: 421 bye", kDeferred, "4.3.2", true}, Row{"S: 250 fine", kDeferred, "4.4.2", true},
          Row{"WAIT 1", kDeferred, "4.4.2", true}}) {
      CAPTURE(row.reply);
      ClientSession s;
      s.message.set_body_in_file(std::string(1'000'000, 'x') + "\r\n");
      s.run(kPlain +
            "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 250\nC: DATA\nS: 354\nOCTETS 70000\n" +
            row.reply + "\nCLOSE");
      CHECK(s.mistake == "");
      CHECK(s.outcome().event == row.event);
      CHECK(s.outcome().status == row.status);
      CHECK(s.result().host.has_value() == row.host_failed);
      CHECK_FALSE(s.result().in_doubt);
      CHECK_FALSE(s.usable);
    }
  }

  TEST_CASE("a body arrives as it was stored: dots stuffed, CRLF before the dot, pieces of any size [RFC 5321 4.5.2]") {
    struct Row {
      std::string body;
      std::string wire;
      bool dot_lines = false;
    };
    std::string large, dotted, stuffed;
    for (int i = 0; i < 20'000; ++i) large += "line " + std::to_string(i) + "\r\n";
    for (int i = 0; i < 20'000; ++i) {
      dotted += ".line " + std::to_string(i) + "\r\n";
      stuffed += "..line " + std::to_string(i) + "\r\n";
    }
    for (const Row& row : {Row{"", ""}, Row{"a", "a\r\n"}, Row{"a\nb", "a\r\nb\r\n"}, Row{".\r\n", "..\r\n", true},
                           Row{"x\r\n.y\r\n", "x\r\n..y\r\n"}, Row{large, large}, Row{dotted, stuffed, true}}) {
      for (bool in_file : {false, true}) {
        ClientSession s;
        in_file ? s.message.set_body_in_file(row.body) : s.message.set_body(row.body);
        s.message.info.dot_lines = row.dot_lines;
        s.run(kPlain +
              "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 250\nC: DATA\nS: 354\nBODY\nS: 250" +
              kQuit);
        check(s, 0, kRelayed, "2.0.0", "250");
        CHECK(s.body == s.message.content->trace + row.wire + ".\r\n");
      }
    }
  }

  TEST_CASE("a damaged body is not sent: inline before MAIL, from a file without the dot [F14]") {
    ClientSession s;
    s.message.damage();
    s.run(kPlain + kQuit);
    CHECK(s.mistake == "");
    CHECK(s.outcome().event == kDeferred);
    CHECK(s.outcome().status == "4.3.0");
    CHECK_FALSE(s.outcome().try_next_host);
    CHECK(s.usable);
    CHECK_FALSE(s.result().host);

    for (bool missing : {false, true}) {
      ClientSession file;
      file.message.set_body_in_file(std::string(200'000, 'x') + "\r\n");
      missing ? file.message.files.files.clear() : file.message.damage();
      file.run(kPlain +
               "C: MAIL FROM:<s@a.example>\nS: 250\nC: RCPT TO:<r1@b.example>\nS: 250\nC: DATA\nS: 354\nWAIT 1\nOCTETS "
               "300000");
      CHECK(file.mistake == "");
      CHECK(file.outcome().event == kDeferred);
      CHECK(file.outcome().status == "4.3.0");
      CHECK_FALSE(file.outcome().try_next_host);
      CHECK_FALSE(file.result().host);
      CHECK_FALSE(file.result().in_doubt);
      CHECK_FALSE(file.usable);
      CHECK_FALSE(file.heard.ends_with("\r\n.\r\n"));
    }
  }

  TEST_CASE("values of the database make no second command [C1, C2]") {
    ClientSession s;
    with_recipients(s, 2);
    s.message.recipients[0].forward_path.mailbox.domain = "b.example>\r\nRCPT TO:<evil@c.example";
    s.run(kPipelining +
          "C: MAIL FROM:<s@a.example>\nC: RCPT TO:<r2@b.example>\nC: DATA\nS: 250\nS: 250\nS: 354\nBODY\nS: 250" +
          kQuit);
    check(s, 0, kDeferred, "4.3.0", "stored forward-path is damaged");
    check(s, 1, kRelayed, "2.0.0", "250");

    ClientSession sender;
    sender.message.info.reverse_path.mailbox.domain = "a.example\nDATA";
    sender.run(kPlain + kQuit);
    check(sender, 0, kDeferred, "4.3.0", "stored reverse-path is damaged");

    ClientSession all;
    all.message.recipients[0].forward_path.mailbox.domain = "b.example\r\n";
    all.run(kPipelining + kQuit);
    check(all, 0, kDeferred, "4.3.0", "stored forward-path is damaged");
  }

  TEST_CASE("disconnected at every octet: one sane outcome each, relayed only by a whole 2xx after the dot [C8, F34]") {
    const std::string transaction = R"(C: MAIL FROM:<s@a.example>
                                       C: RCPT TO:<r1@b.example>
                                       C: RCPT TO:<r2@b.example>
                                       C: RCPT TO:<r3@b.example>
                                       C: DATA
                                       S: 250 2.1.0 ok
                                       S: 250 2.1.5 ok
                                       S: 550 5.1.1 unknown
                                       S: 250-2.1.5 ok
                                       S: 250 2.1.5 ok
                                       S: 354 go
                                       BODY
                                       S: 250 2.0.0 ok)";
    ClientSession whole;
    with_recipients(whole, 3);
    whole.run(kPipelining + transaction + kQuit);
    REQUIRE(whole.mistake == "");
    REQUIRE(whole.outcome(0).event == kRelayed);
    const std::size_t replies = whole.written - std::string("221 bye\r\n").size();
    const std::size_t before_final = replies - std::string("250 2.0.0 ok\r\n").size();

    for (std::size_t cut = 0; cut <= replies; ++cut) {
      CAPTURE(cut);
      HostOptions options;
      options.close_after_written = cut;
      ClientSession s;
      with_recipients(s, 3);
      s.run(kPipelining + transaction + kQuit, options);
      if (!s.opened) {
        CHECK(s.failure.status == "4.4.2");
        continue;
      }
      bool relayed = cut == replies;
      for (std::size_t i : {0, 2}) {
        CHECK(s.outcome(i).event == (relayed ? kRelayed : kDeferred));
        CHECK(s.outcome(i).host != "");
      }
      bool refused = s.outcome(1).event == kFailed;
      CHECK((refused || s.outcome(1).status == "4.4.2"));
      CHECK(s.result().in_doubt == (cut >= before_final && cut < replies));
      CHECK(s.result().host.has_value() == !relayed);
      if (s.result().in_doubt) CHECK(refused);
    }

    for (std::size_t cut = 0; cut < whole.heard.size() - std::string("QUIT\r\n").size(); ++cut) {
      CAPTURE(cut);
      HostOptions options;
      options.close_after_read = cut;
      ClientSession s;
      with_recipients(s, 3);
      s.run(kPipelining + transaction + kQuit, options);
      if (!s.opened) continue;
      for (std::size_t i : {0, 1, 2}) CHECK(s.outcome(i).event != kRelayed);
      CHECK(s.outcome(0).status == "4.4.2");
      CHECK(s.result().host);
      CHECK_FALSE(s.usable);
    }
  }
}
