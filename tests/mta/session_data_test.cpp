#include <chrono>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include "mta/session.h"
#include "smtp/header_scan.h"
#include "tests/support/harness.h"

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using tests::FakeStore;
using tests::Harness;
using tests::HarnessOptions;

std::string repeated(std::string_view what, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += what;
  return out;
}

void begin(Harness& h, std::string_view mail = "MAIL FROM:<s@c.example>") {
  h.greet();
  CHECK(Harness::codes(h.say({mail, "RCPT TO:<r@b.example>", "DATA"})) == "250 250 354");
}

/// What becomes of these octets after 354.
std::string deliver(Harness& h, std::string_view wire) {
  begin(h);
  return h.send(wire);
}

HarnessOptions submission() {
  HarnessOptions options;
  options.client = "192.0.2.1";
  options.listener.role = conf::Role::submission;
  return options;
}

/// What C3 says of a body on the wire, written down the slow way: where it ends, and what it is.
struct Oracle {
  explicit Oracle(const std::string& wire) {
    // The CRLF of the DATA command counts as one that the dot may follow.
    const std::string whole = "\r\n" + wire;
    std::size_t end = whole.find("\r\n.\r\n");
    if (end == std::string::npos) return;
    ended = true;
    rest = whole.substr(end + 5);
    std::string lines = whole.substr(2, end);
    while (!lines.empty()) {
      std::size_t crlf = lines.find("\r\n");
      std::string line = lines.substr(0, crlf);
      lines.erase(0, crlf + 2);
      bool stuffed = line.size() > 1 && line[0] == '.' && line[1] != '\r' && line[1] != '\n';
      if (stuffed) line.erase(0, 1);
      for (char c : line) body += c == '\r' || c == '\n' ? "\r\n" : std::string(1, c);
      body += "\r\n";
    }
  }
  bool ended = false;
  std::string body;
  std::string rest;
};

TEST_SUITE("mta/session_data") {
  TEST_CASE("CRLF.CRLF alone ends DATA: all mixes of CR, LF, dot, NUL and x around it (C3)") {
    constexpr std::string_view kOctets = "\r\n.\0x"sv;
    std::size_t stored = 0;
    for (int mix = 0; mix < 5 * 5 * 5 * 5 * 5; ++mix) {
      std::string wire = mix % 2 == 0 ? "a" : "";
      for (int digits = mix, i = 0; i < 5; ++i, digits /= 5) wire += kOctets[static_cast<std::size_t>(digits % 5)];
      wire += "\r\n.\r\n";
      Oracle want(wire);
      REQUIRE(want.ended);
      CAPTURE(mix);
      for (bool whole : {true, false}) {
        CAPTURE(whole);
        Harness h;
        begin(h);
        std::string heard;
        if (whole) heard = h.send(wire);
        for (char c : whole ? std::string() : wire) heard += h.send(std::string_view(&c, 1));
        bool nul = want.body.find('\0') != std::string::npos;
        CHECK(heard.starts_with(nul ? "554 5.6.0" : "250 2.0.0"));
        CHECK(h.store.begun == (nul ? 0U : 1U));
        if (!nul && !h.store.committed.empty()) CHECK(h.store.committed[0].body == want.body);
        stored += h.store.committed.size();
        // What follows the end is commands, and never a second message.
        if (want.rest.empty()) CHECK(Harness::codes(heard).size() == 3);
      }
    }
    CHECK(stored > 2000);
  }

  TEST_CASE("dot stuffing, an empty body, a body without a header section [RFC 5321 4.5.2]") {
    struct {
      std::string_view wire;
      std::string_view body;
      bool dot_lines;
    } const table[] = {
        {".\r\n", "", false},
        {"\r\n.\r\n", "\r\n", false},
        {"text\r\n.\r\n", "text\r\n", false},
        {"..\r\n.\r\n", ".\r\n", true},
        {"a: b\r\n\r\n..x\r\n...\r\n.\r\n", "a: b\r\n\r\n.x\r\n..\r\n", true},
        {".x\r\n.\r\n", "x\r\n", false},
        {"a: b\r\n\r\nx.y.\r\n.\r\n", "a: b\r\n\r\nx.y.\r\n", false},
    };
    for (const auto& row : table) {
      CAPTURE(row.wire);
      Harness h;
      CHECK(deliver(h, row.wire).starts_with("250 2.0.0"));
      REQUIRE(h.store.committed.size() == 1);
      CHECK(h.store.committed[0].body == row.body);
      CHECK(h.store.committed[0].notes.dot_lines == row.dot_lines);
      CHECK_FALSE(h.store.committed[0].notes.eight_bit);
    }
  }

  TEST_CASE("8-bit content is taken with or without BODY=8BITMIME, and noted [RFC 6152]") {
    for (std::string_view mail : {"MAIL FROM:<s@c.example>", "MAIL FROM:<s@c.example> BODY=8BITMIME"}) {
      Harness h;
      begin(h, mail);
      h.send("a: \xC3\xA4\r\n\r\n\xFF\r\n.\r\n");
      REQUIRE(h.store.committed.size() == 1);
      CHECK(h.store.committed[0].notes.eight_bit);
      bool declared = mail.ends_with("8BITMIME");
      CHECK((h.store.committed[0].message.envelope.body == smtp::BodyType::eight_bit_mime) == declared);
    }
  }

  TEST_CASE("lines of any length pass unchanged, in bounded memory [RFC 5321 4.5.3.1.6]") {
    Harness h;
    std::string line = repeated("0123456789", 30'000);
    deliver(h, "a: b\r\n\r\n" + line + "\r\n.\r\n");
    REQUIRE(h.store.committed.size() == 1);
    CHECK(h.store.committed[0].body == "a: b\r\n\r\n" + line + "\r\n");
  }

  TEST_CASE("a body over the inline limit goes to a spool file as it comes") {
    HarnessOptions options;
    options.inline_limit = 1000;
    Harness h(std::move(options));
    std::string body = "a: b\r\n\r\n" + repeated("line of the body\r\n", 5000);
    begin(h);
    h.send(body.substr(0, 50'000));
    CHECK(h.store.files.count() == 1);
    CHECK(h.send(body.substr(50'000) + ".\r\n").starts_with("250 2.0.0"));
    REQUIRE(h.store.committed.size() == 1);
    CHECK(h.store.committed[0].in_file);
    CHECK(h.store.committed[0].body == body);
  }

  TEST_CASE("the size limit: as much is taken, one octet more is 552 5.3.4 after the real end [RFC 1870 6.1] (F47)") {
    for (std::size_t inline_limit : {100'000, 100}) {
      CAPTURE(inline_limit);
      HarnessOptions options;
      options.config.limits.message_size = 1000;
      options.inline_limit = inline_limit;
      Harness h(std::move(options));
      CHECK(deliver(h, repeated("x", 998) + "\r\n.\r\n").starts_with("250 2.0.0"));
      begin(h);
      CHECK(h.send(repeated("x", 999)) == "");
      CHECK(h.send(repeated("y", 100'000)) == "");
      h.runtime.run_until_idle();
      CHECK(h.store.files.count() == (inline_limit == 100 ? 1 : 0));  // the first one's
      CHECK(h.send("\r\n.\r\nNOOP\r\n").starts_with("552 5.3.4"));
      CHECK(h.say("NOOP").starts_with("250"));
      CHECK(h.store.begun == 1);
    }
  }

  TEST_CASE("a SIZE that lies is of no use: what comes is what counts") {
    HarnessOptions options;
    options.config.limits.message_size = 1000;
    Harness h(std::move(options));
    begin(h, "MAIL FROM:<s@c.example> SIZE=10");
    CHECK(h.send(repeated("x", 2000) + "\r\n.\r\n").starts_with("552 5.3.4"));
  }

  TEST_CASE("NUL in content: 554 5.6.0 after the real end, nothing cut off [RFC 5321 2.3.8]") {
    Harness h;
    begin(h);
    CHECK(h.send("a: b\r\n\r\nx\0y\r\n"sv) == "");
    CHECK(Harness::codes(h.send(".\r\nNOOP\r\n")) == "554 250");
    CHECK(h.store.begun == 0);
  }

  TEST_CASE("bare line ends: made CRLF, or 550 5.6.0 after the real end where the listener refuses them") {
    for (std::string_view text : {"one\ntwo\r\n.\r\n"sv, "one\rtwo\r\n.\r\n"sv, "one\r\n.\ntwo\r\n.\r\n"sv}) {
      CAPTURE(text);
      Harness h;
      CHECK(deliver(h, text).starts_with("250 2.0.0"));
      CHECK(h.store.committed[0].body == Oracle(std::string(text)).body);
      HarnessOptions options;
      options.listener.reject_bare_newline = true;
      Harness strict(std::move(options));
      CHECK(Harness::codes(deliver(strict, std::string(text) + "NOOP\r\n")) == "550 250");
      CHECK(strict.store.begun == 0);
    }
  }

  TEST_CASE("smuggling: what another server would take for a second message stays in the first (C3)") {
    for (std::string_view end : {"\n.\n"sv, "\n.\r\n"sv, "\r\n.\n"sv, "\r.\r"sv, "\r.\r\n"sv, "\r\n.\r"sv,
                                 "\n\n.\r\r\n"sv, "\r\n\0.\r\n"sv, "\r\r\n.\r\r\n"sv}) {
      CAPTURE(end);
      Harness h;
      std::string wire = "Subject: one\r\n\r\ntext" + std::string(end) +
                         "MAIL FROM:<evil@c.example>\r\nRCPT TO:<r@b.example>\r\nDATA\r\nSubject: two\r\n\r\n.\r\n";
      std::string heard = deliver(h, wire);
      CHECK(Harness::codes(heard).size() == 3);
      CHECK(h.store.begun <= 1);
    }
  }

  TEST_CASE("smuggling: DATA that a line feed alone ended, and a dot behind it") {
    Harness h;
    h.greet();
    CHECK(Harness::codes(h.say({"MAIL FROM:<s@c.example>", "RCPT TO:<r@b.example>"})) == "250 250");
    CHECK(Harness::codes(h.send("DATA\n")) == "354");
    CHECK(h.send(".\r\nMAIL FROM:<evil@c.example>\r\n") == "");
    CHECK(Harness::codes(h.send(".\r\nNOOP\r\n")) == "250 250");
    CHECK(h.store.committed.at(0).body == ".\r\nMAIL FROM:<evil@c.example>\r\n");
  }

  TEST_CASE("Received fields: a hundred pass, one more is a loop: 554 5.4.6 [RFC 5321 6.3] (F51)") {
    const std::string field = "Received: from a.example by b.example; Thu, 20 Aug 2026 09:05:03 +0200\r\n";
    Harness h;
    CHECK(deliver(h, repeated(field, 100) + "\r\ntext\r\n.\r\n").starts_with("250 2.0.0"));
    begin(h);
    CHECK(h.send(repeated(field, 101) + "\r\ntext\r\n.\r\n").starts_with("554 5.4.6"));
    begin(h);
    CHECK(h.send("a: b\r\n\r\n" + repeated(field, 200) + ".\r\n").starts_with("250 2.0.0"));
    CHECK(h.store.begun == 2);
  }

  TEST_CASE("our own Received line five times is a loop: 554 5.4.6") {
    const std::string field = "Received: from a.example by relay.example (Waypost) with ESMTP id 01JD8Q2M3XK7; x\r\n";
    Harness h;
    CHECK(deliver(h, repeated(field, 4) + "\r\n.\r\n").starts_with("250 2.0.0"));
    begin(h);
    CHECK(h.send(repeated(field, 5) + "\r\n.\r\n").starts_with("554 5.4.6"));
  }

  TEST_CASE("the disk is full: 452 4.3.1; another fault of the store: 451 4.3.0; it closes: 421 4.3.2 (F9)") {
    struct {
      Errc code;
      std::string_view want;
      bool ends;
    } const table[] = {
        {Errc::full, "452 4.3.1", false},    {Errc::io, "451 4.3.0", false},       {Errc::internal, "451 4.3.0", false},
        {Errc::damaged, "451 4.3.0", false}, {Errc::cancelled, "421 4.3.2", true},
    };
    for (const auto& row : table) {
      CAPTURE(row.want);
      Harness h;
      h.store.fail_commits(row.code);
      CHECK(deliver(h, "a: b\r\n\r\n.\r\n").starts_with(row.want));
      CHECK(h.ended() == row.ends);
      CHECK(h.store.committed.empty());
    }
  }

  TEST_CASE("the disk is full while a large body comes: it is read to its end, then 452 4.3.1 (F9, F10)") {
    for (Errc code : {Errc::full, Errc::io}) {
      HarnessOptions options;
      options.inline_limit = 1000;
      Harness h(std::move(options));
      h.store.files.fail_appends(code);
      begin(h);
      CHECK(h.send(repeated("text text\r\n", 10'000)) == "");
      CHECK(h.send(".\r\nNOOP\r\n").starts_with(code == Errc::full ? "452 4.3.1" : "451 4.3.0"));
      CHECK(h.store.begun == 0);
      CHECK(h.store.files.count() == 0);
    }
  }

  TEST_CASE("a body that stops coming: 421 4.4.2 after limits.data_timeout, nothing kept") {
    Harness h;
    begin(h);
    h.send("Subject: x\r\n");
    h.runtime.advance(599s);
    CHECK_FALSE(h.ended());
    h.runtime.advance(10s);
    CHECK(h.heard().starts_with("421 4.4.2"));
    CHECK(h.ended());
    CHECK(h.store.begun == 0);
  }

  TEST_CASE("a body of an octet now and then is cut off, one at 200 octets a second is not (F36)") {
    Harness slow;
    begin(slow);
    for (int i = 0; i < 25 && !slow.ended(); ++i) {
      slow.send("x");
      slow.runtime.advance(30s);
    }
    CHECK(slow.ended());
    CHECK(slow.heard().find("421 4.4.2") != std::string::npos);

    Harness steady;
    begin(steady);
    for (int i = 0; i < 360; ++i) {
      steady.send(repeated("x", 1998) + "\r\n");
      steady.runtime.advance(10s);
    }
    CHECK(steady.send(".\r\n").starts_with("250 2.0.0"));
  }

  TEST_CASE("a body without end is cut off at last, and its octets over the limit buy it no time (F47)") {
    HarnessOptions options;
    options.config.limits.message_size = 1000;
    Harness h(std::move(options));
    begin(h);
    for (int i = 0; i < 70 && !h.ended(); ++i) {
      h.send(repeated("x", 10'000));
      h.runtime.advance(10s);
    }
    CHECK(h.ended());
    CHECK(h.heard().find("421 4.4.2") != std::string::npos);
  }

  TEST_CASE("what is committed: id, envelope, origin, times") {
    Harness h;
    net::WallTime before = h.runtime.wall_now();
    begin(h, "MAIL FROM:<s@c.example> SIZE=20 BODY=8BITMIME");
    std::string heard = h.send("Message-ID: <1@c.example>\r\n\r\ntext\r\n.\r\n");
    REQUIRE(h.store.committed.size() == 1);
    const queue::NewMessage& message = h.store.committed[0].message;
    CHECK(heard == "250 2.0.0 Ok: queued as " + message.id.text() + "\r\n");
    CHECK(message.envelope.reverse_path.text() == "s@c.example");
    CHECK(message.envelope.recipients.size() == 1);
    CHECK(message.envelope.size == 20);
    CHECK(message.message_id == "<1@c.example>");
    CHECK(message.origin.client == "198.51.100.7");
    CHECK(message.origin.helo == "c.example");
    CHECK(message.origin.protocol == "ESMTP");
    CHECK(message.origin.listener == "mx");
    CHECK(message.origin.user == "");
    CHECK(message.arrival == before);
    CHECK(message.expires == before + 5 * 24h);
    CHECK(message.warn_at == before + 4h);
  }

  TEST_CASE("a null reverse-path: several recipients, a day to live, no delay notification (P4) [RFC 5321 4.5.5]") {
    Harness h;
    h.greet();
    CHECK(Harness::codes(h.say({"MAIL FROM:<>", "RCPT TO:<r@b.example>", "RCPT TO:<q@b.example>", "DATA", "."})) ==
          "250 250 250 354 250");
    REQUIRE(h.store.committed.size() == 1);
    const queue::NewMessage& message = h.store.committed[0].message;
    CHECK(message.envelope.reverse_path.is_null());
    CHECK(message.expires == message.arrival + 24h);
    CHECK_FALSE(message.warn_at);
  }

  TEST_CASE("delay_warning = 0s: no delay notification") {
    HarnessOptions options;
    options.config.queue.delay_warning = std::chrono::seconds(0);
    Harness h(std::move(options));
    deliver(h, ".\r\n");
    CHECK_FALSE(h.store.committed.at(0).message.warn_at);
  }

  TEST_CASE("the trace line: FROM BY WITH ID, FOR with a single recipient only [RFC 5321 4.4, 7.6]") {
    Harness h;
    deliver(h, "a: b\r\n\r\n.\r\n");
    h.say({"MAIL FROM:<s@c.example>", "RCPT TO:<r@b.example>", "RCPT TO:<q@b.example>", "DATA", "."});
    REQUIRE(h.store.committed.size() == 2);
    const std::string& one = h.store.committed[0].message.trace;
    const std::string& two = h.store.committed[1].message.trace;
    for (std::string_view part :
         {"Received: from c.example (unknown [198.51.100.7])", "by relay.example (Waypost)", "with ESMTP", "id "}) {
      CAPTURE(part);
      CHECK(one.find(part) != std::string::npos);
    }
    CHECK(one.find(h.store.committed[0].message.id.text()) != std::string::npos);
    CHECK(one.find("for <r@b.example>") != std::string::npos);
    CHECK(two.find("for <") == std::string::npos);
    CHECK(two.find("@b.example") == std::string::npos);
    smtp::HeaderScan scan("relay.example");
    scan.feed(one);
    scan.finish();
    CHECK(scan.notes().fields == 1);
    CHECK(scan.notes().own_hops == 1);
  }

  TEST_CASE("an IPv6 client stands in the trace as a literal") {
    HarnessOptions options;
    options.client = "2001:db8::7";
    Harness h(std::move(options));
    deliver(h, ".\r\n");
    CHECK(h.store.committed.at(0).message.trace.find("[IPv6:2001:db8::7]") != std::string::npos);
  }

  TEST_CASE("BDAT: chunks of any size are one message, dots and commands in them are content [RFC 3030]") {
    const std::string body = "Subject: x\r\n\r\n.\r\n..\r\nQUIT\r\nlast";
    for (std::size_t size : {1UL, 2UL, 7UL, 16UL, 100UL}) {
      Harness h;
      h.greet();
      std::string wire = "MAIL FROM:<s@c.example>\r\nRCPT TO:<r@b.example>\r\n";
      std::string want = "250 250";
      for (std::size_t at = 0; at < body.size(); at += size) {
        const std::string chunk = body.substr(at, size);
        wire += "BDAT " + std::to_string(chunk.size()) + (at + size >= body.size() ? " LAST\r\n" : "\r\n") + chunk;
        want += " 250";
      }
      CHECK(Harness::codes(h.send(wire + "NOOP\r\n")) == want + " 250");
      REQUIRE(h.store.committed.size() == 1);
      CHECK(h.store.committed[0].body == body + "\r\n");
      CHECK(h.store.committed[0].notes.dot_lines);
    }
    Harness empty;
    empty.greet();
    CHECK(Harness::codes(empty.say({"MAIL FROM:<s@c.example>", "RCPT TO:<r@b.example>", "BDAT 0", "BDAT 0 LAST"})) ==
          "250 250 250 250");
    CHECK(empty.store.committed.at(0).body.empty());
  }

  TEST_CASE("BINARYMIME: every octet is kept, by BDAT alone; what turns out to be text is 8BITMIME [RFC 3030 3]") {
    struct {
      std::string body;
      smtp::BodyType kept_as;
    } const table[] = {
        {std::string("a: b\r\n\r\n\0\r\n\n\r.\r\n.\r\n", 18), smtp::BodyType::binary_mime},
        {"a: b\r\n\r\nno line end", smtp::BodyType::binary_mime},
        {"a: b\r\n\r\n" + std::string(999, 'x') + "\r\n", smtp::BodyType::binary_mime},
        {"a: b\r\n\r\n.gr\xc3\xbc\xc3\x9f\r\n", smtp::BodyType::eight_bit_mime},
    };
    for (const auto& row : table) {
      for (const bool reject : {false, true}) {
        CAPTURE(row.body);
        HarnessOptions options;
        options.listener.reject_bare_newline = reject;
        Harness h(options);
        h.greet();
        const std::string half = row.body.substr(0, row.body.size() / 2), rest = row.body.substr(half.size());
        CHECK(Harness::codes(h.send("MAIL FROM:<s@c.example> BODY=BINARYMIME\r\nRCPT TO:<r@b.example>\r\nBDAT " +
                                    std::to_string(half.size()) + "\r\n" + half + "BDAT " +
                                    std::to_string(rest.size()) + " LAST\r\n" + rest)) == "250 250 250 250");
        REQUIRE(h.store.committed.size() == 1);
        CHECK(h.store.committed[0].body == row.body);
        CHECK(h.store.committed[0].message.envelope.body == row.kept_as);
      }
    }
    Harness h;
    h.greet();
    CHECK(Harness::codes(h.say({"MAIL FROM:<s@c.example> BODY=BINARYMIME", "RCPT TO:<r@b.example>", "DATA"})) ==
          "250 250 503");
    CHECK(Harness::codes(h.say({"BDAT 0 LAST"})) == "250");
    CHECK(Harness::codes(h.send("MAIL FROM:<s@c.example> BODY=BINARYMIME\r\nRCPT TO:<r@b.example>\r\nBDAT 13 LAST\r\n" +
                                std::string("a: b\nc: d\r\n\r\n"))) == "250 250 554");
  }

  TEST_CASE("BDAT out of order: its octets are read, none is a command; the order is told [RFC 3030 2, C4]") {
    struct Row {
      std::string wire;
      std::string want;
      std::size_t stored;
    };
    const std::string mail = "MAIL FROM:<s@c.example>\r\n", rcpt = "RCPT TO:<r@b.example>\r\n";
    const std::string chunk = "BDAT 6\r\nQUIT\r\n", last = "BDAT 6 LAST\r\nQUIT\r\n", noop = "NOOP\r\n";
    const Row rows[] = {
        {chunk + noop, "503 250", 0},
        {mail + chunk + last + noop, "250 554 554 250", 0},
        {mail + "RCPT TO:<x@elsewhere.example>\r\n" + last + noop, "250 554 554 250", 0},
        {mail + rcpt + chunk + "RSET\r\n" + last + noop, "250 250 250 250 503 250", 0},
        {mail + rcpt + chunk + "DATA\r\n", "250 250 250 503", 0},
        {mail + rcpt + chunk + rcpt + last, "250 250 250 503 250", 1},
        {mail + rcpt + chunk + mail + last, "250 250 250 503 250", 1},
        {mail + rcpt + last + last + noop, "250 250 250 503 250", 1},
        {mail + rcpt + last + mail + rcpt + last, "250 250 250 250 250 250", 2},
        {mail + rcpt + std::string("BDAT 3\r\na\0b", 11) + chunk + last + noop, "250 250 554 503 503 250", 0},
        {mail + rcpt + "bdat 6 last\r\nQUIT\r\n" + noop, "250 250 250 250", 1},
    };
    for (const Row& row : rows) {
      CAPTURE(row.wire);
      Harness h;
      h.greet();
      CHECK(Harness::codes(h.send(row.wire)) == row.want);
      CHECK(h.store.committed.size() == row.stored);
      CHECK_FALSE(h.ended());
    }
  }

  TEST_CASE("BDAT that does not parse ends the session: what follows is not known to be commands") {
    for (std::string_view line : {"BDAT", "BDAT x", "BDAT -1", "BDAT 6 LATE", "BDAT 99999999999999999999 LAST"}) {
      CAPTURE(line);
      Harness h;
      h.greet();
      CHECK(Harness::codes(h.send("MAIL FROM:<s@c.example>\r\nRCPT TO:<r@b.example>\r\n" + std::string(line) +
                                  "\r\nMAIL FROM:<evil@c.example>\r\n")) == "250 250 501");
      CHECK(h.ended());
    }
  }

  TEST_CASE("BDAT on a line that is not taken ends the session too; empty chunks without end are junk") {
    HarnessOptions options;
    options.listener.reject_bare_newline = true;
    for (const std::string& line : {std::string("BDAT 6 LAST\n"), "BDAT 6 " + std::string(3000, ' ') + "LAST\r\n"}) {
      Harness h(options);
      h.greet();
      const std::string heard = h.send("MAIL FROM:<s@c.example>\r\nRCPT TO:<r@b.example>\r\n" + line + "RSET\r\n");
      CHECK(Harness::codes(heard).substr(0, 10) == "250 250 50");
      CHECK(Harness::codes(heard).size() == 11);
      CHECK(h.ended());
    }
    Harness h;
    h.greet();
    const std::string heard =
        h.send("MAIL FROM:<s@c.example>\r\nRCPT TO:<r@b.example>\r\n" + repeated("BDAT 0\r\n", 200));
    CHECK(heard.find("421 4.7.0") != std::string::npos);
    CHECK(h.ended());
  }

  TEST_CASE("BDAT: a message that has begun may be finished after a stop, within the grace [RFC 5321 3.8]") {
    Harness h;
    h.greet();
    CHECK(Harness::codes(h.send("MAIL FROM:<s@c.example>\r\nRCPT TO:<r@b.example>\r\nBDAT 3\r\na\r\n")) ==
          "250 250 250");
    h.stop();
    CHECK(h.heard().empty());
    const std::string heard = h.send("BDAT 3 LAST\r\nb\r\n");
    CHECK(heard.starts_with("250 2.0.0 Ok: queued"));
    CHECK(heard.find("421 4.3.2") != std::string::npos);
    CHECK(h.ended());
    CHECK(h.store.committed.at(0).body == "a\r\nb\r\n");
  }

  TEST_CASE("BDAT: over the size limit 552 at once, the rest of it is thrown away; a slow one is cut off [F36, F47]") {
    HarnessOptions options;
    options.config.limits.message_size = 1000;
    Harness h(options);
    h.greet();
    CHECK(Harness::codes(h.send("MAIL FROM:<s@c.example>\r\nRCPT TO:<r@b.example>\r\nBDAT 1200\r\n" +
                                repeated("x", 1200) + "BDAT 3000 LAST\r\n" + repeated("y", 3000) + "NOOP\r\n")) ==
          "250 250 552 503 250");
    CHECK(h.store.committed.empty());
    CHECK(Harness::codes(h.send("MAIL FROM:<s@c.example>\r\nRCPT TO:<r@b.example>\r\nBDAT 500 LAST\r\nab")) ==
          "250 250");
    h.runtime.advance(11min);
    CHECK(h.heard().starts_with("421 4.4.2"));
    CHECK(h.ended());
    CHECK(h.store.committed.empty());
  }

  TEST_CASE("submission adds Date and Message-ID where they are missing [RFC 6409 8], MX never") {
    struct {
      std::string_view header;
      bool adds_date;
      bool adds_message_id;
    } const table[] = {
        {"Subject: x\r\n", true, true},
        {"Date: Thu, 20 Aug 2026 09:05:03 +0200\r\n", false, true},
        {"message-id: <1@c.example>\r\n", true, false},
        {"Date: Thu, 20 Aug 2026 09:05:03 +0200\r\nMessage-ID: <1@c.example>\r\n", false, false},
    };
    for (const auto& row : table) {
      CAPTURE(row.header);
      const std::string wire = std::string(row.header) + "\r\ntext\r\n.\r\n";
      Harness submitted(submission());
      CHECK(deliver(submitted, wire).starts_with("250 2.0.0"));
      const FakeStore::Committed& stored = submitted.store.committed.at(0);
      smtp::HeaderScan scan("relay.example");
      scan.feed(stored.message.trace);
      scan.finish();
      CHECK(scan.notes().hops == 1);
      CHECK(scan.notes().has_date == row.adds_date);
      CHECK(scan.notes().has_message_id == row.adds_message_id);
      CHECK(stored.message.origin.listener == "submission");
      CHECK(stored.message.message_id ==
            (row.adds_message_id ? "<" + stored.message.id.text() + "@relay.example>" : "<1@c.example>"));
      CHECK(stored.body + ".\r\n" == wire);

      Harness relayed;
      CHECK(deliver(relayed, wire).starts_with("250 2.0.0"));
      CHECK(relayed.store.committed.at(0).message.trace.find("\r\nDate:") == std::string::npos);
      CHECK(relayed.store.committed.at(0).message.trace.find("\r\nMessage-ID:") == std::string::npos);
      CHECK(relayed.store.committed.at(0).body + ".\r\n" == wire);
    }
  }

  TEST_CASE("a million header fields, and one of a megabyte: taken in bounded memory (C9)") {
    Harness h;
    std::string many = repeated("X: y\r\n", 100'000);
    CHECK(deliver(h, many + "\r\n.\r\n").starts_with("250 2.0.0"));
    begin(h);
    CHECK(h.send("X: " + repeated("y", 900'000) + "\r\n\r\n.\r\n").starts_with("250 2.0.0"));
    for (const FakeStore::Committed& stored : h.store.committed) CHECK(stored.message.trace.size() < 1000);
  }

  TEST_CASE("submission adds From where it is missing, of whoever the envelope is from") {
    struct {
      const char* mail;
      const char* header;
      const char* want;  // "": nothing
    } const table[] = {
        {"MAIL FROM:<s@c.example>", "Subject: x", "\r\nFrom: <s@c.example>\r\n"},
        {"MAIL FROM:<s>", "Subject: x", "\r\nFrom: <s@relay.example>\r\n"},
        {"MAIL FROM:<postmaster>", "Subject: x", "\r\nFrom: <postmaster@relay.example>\r\n"},
        {"MAIL FROM:<\"a b\"@c.example>", "Subject: x", "\r\nFrom: <\"a b\"@c.example>\r\n"},
        {"MAIL FROM:<s@c.example>", "from: <t@c.example>", ""},
        {"MAIL FROM:<>", "Subject: x", ""},
    };
    for (const auto& row : table) {
      CAPTURE(row.mail);
      CAPTURE(row.header);
      HarnessOptions options;
      options.client = "192.0.2.1";
      options.listener.role = conf::Role::submission;
      Harness h(options);
      h.greet();
      CHECK(Harness::codes(h.say({row.mail, "RCPT TO:<r@b.example>", "DATA", row.header, "", "x", "."})) ==
            "250 250 354 250");
      REQUIRE(h.store.committed.size() == 1);
      const std::string& trace = h.store.committed[0].message.trace;
      if (*row.want != '\0') CHECK(trace.find(row.want) != std::string::npos);
      if (*row.want == '\0') CHECK(trace.find("From: ") == std::string::npos);
    }
  }

  TEST_CASE("SMTPUTF8: kept where the header needs it, and told in Received [RFC 6531 3.5, 4.3]") {
    struct {
      const char* mail;
      const char* rcpt;
      const char* text;
      bool kept;
      const char* protocol;
    } const table[] = {
        {"MAIL FROM:<s@c.example> SMTPUTF8", "<r@b.example>", "Subject: x\r\n\r\n\xc3\xbc\r\n", false, "UTF8SMTP"},
        {"MAIL FROM:<s@c.example> SMTPUTF8", "<r@b.example>", "Subject: \xc3\xbc\r\n\r\nx\r\n", true, "UTF8SMTP"},
        {"MAIL FROM:<s@c.example> SMTPUTF8", "<\xc3\xbc@b.example>", "Subject: x\r\n\r\nx\r\n", true, "UTF8SMTP"},
        {"MAIL FROM:<s@c.example>", "<r@b.example>", "Subject: \xc3\xbc\r\n\r\nx\r\n", false, "ESMTP"},
    };
    for (const auto& row : table) {
      CAPTURE(row.rcpt);
      CAPTURE(row.text);
      Harness h;
      h.greet();
      CHECK(h.say(row.mail).starts_with("250"));
      CHECK(h.say("RCPT TO:" + std::string(row.rcpt)).starts_with("250"));
      CHECK(h.say("DATA").starts_with("354"));
      CHECK(h.send(std::string(row.text) + ".\r\n").starts_with("250"));
      REQUIRE(h.store.committed.size() == 1);
      CHECK(h.store.committed[0].message.envelope.smtputf8 == row.kept);
      CHECK(h.store.committed[0].message.origin.protocol == row.protocol);
    }
  }

  TEST_CASE("a domain in UTF-8 is ours by its name in the DNS [RFC 5891]") {
    tests::HarnessOptions options;
    options.config.domains[0].name = "xn--bcher-kva.example";
    Harness h(options);
    h.greet();
    CHECK(h.say("MAIL FROM:<s@c.example> SMTPUTF8").starts_with("250"));
    CHECK(h.say("RCPT TO:<r@B\xc3\xbc"
                "cher.example>")
              .starts_with("250"));
    CHECK(h.say("RCPT TO:<r@xn--bcher-kva.example>").starts_with("250"));
    CHECK(h.say("DATA").starts_with("354"));
    CHECK(h.send("x\r\n.\r\n").starts_with("250"));
    REQUIRE(h.store.committed.size() == 1);
    REQUIRE(h.store.committed[0].message.envelope.recipients.size() == 1);
    CHECK(h.store.committed[0].message.envelope.recipients[0].forward_path.text() == "r@xn--bcher-kva.example");
  }

  TEST_CASE("field names that mean something elsewhere are data here (C11)") {
    Harness h;
    const std::string header = "__proto__: x\r\nconstructor: y\r\n: z\r\n";
    CHECK(deliver(h, header + "\r\n.\r\n").starts_with("250 2.0.0"));
    CHECK(h.store.committed.at(0).body == header + "\r\n");
  }
}

}  // namespace
}  // namespace waypost::mta
