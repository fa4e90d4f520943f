#include "delivery/connection.h"

#include <doctest/doctest.h>

#include "tests/delivery/scripted_host.h"

using namespace waypost;
using namespace waypost::delivery;
using namespace std::chrono_literals;
using tests::ClientSession;
using tests::HostOptions;

namespace {

const std::string kHost = "mx.b.example[192.0.2.7]:25";

/// A session that is opened and closed, without a transaction.
struct Opening : ClientSession {
  Opening() { attempts = 0; }
};

HostOptions split_at(std::size_t octets) {
  HostOptions options;
  options.split = octets;
  return options;
}

}  // namespace

TEST_SUITE("delivery/connection") {
  TEST_CASE("banner, EHLO, what is offered; QUIT at the end [RFC 5321 3.1, 3.2]") {
    for (std::size_t split : {1000, 1, 2, 3, 7}) {
      Opening s;
      s.run(R"(S: 220-mx.b.example ESMTP
               S: 220 no spam please
               C: EHLO relay.example
               S: 250-mx.b.example
               S: 250-PIPELINING
               S: 250-SIZE 1000
               S: 250 8BITMIME
               C: QUIT
               S: 221 bye
               END)",
            split_at(split));
      CHECK(s.mistake == "");
      CHECK(s.opened);
      CHECK(s.usable);
      CHECK(s.extensions.pipelining);
      CHECK(s.extensions.size_limit == 1000);
      CHECK(s.extensions.eight_bit_mime);
      CHECK_FALSE(s.extensions.smtputf8);
    }
  }

  TEST_CASE("bare LF, long lines and many lines are tolerated [F35]") {
    Opening s;
    std::string many;
    for (int i = 0; i < 1000; ++i) many += "S: 220-" + std::string(static_cast<std::size_t>(i) * 10, 'x') + "\n";
    s.run(many + "RAW 220 \\n\nC: EHLO relay.example\nRAW 250-mx\\n250 SIZE\\n\nC: QUIT\nS: 221 bye\nEND");
    CHECK(s.mistake == "");
    CHECK(s.opened);
    CHECK(s.extensions.size);
  }

  TEST_CASE("5xx to EHLO: HELO once, with no extensions [RFC 5321 3.2]") {
    Opening s;
    s.run(R"(S: 220 mx.b.example
             C: EHLO relay.example
             S: 502 5.5.1 what
             C: HELO relay.example
             S: 250-mx.b.example
             S: 250 PIPELINING
             C: QUIT
             S: 221 bye
             END)");
    CHECK(s.mistake == "");
    CHECK(s.opened);
    CHECK(s.extensions == smtp::Extensions());
  }

  TEST_CASE("what ends a session before it began is the host's failure, and temporary [F38]") {
    struct Row {
      const char* script;
      const char* status;
      const char* reason;
    };
    const Row rows[] = {
        {"S: 554 5.7.1 no\nC: QUIT\nS: 221 bye\nEND", "4.3.2", "554 5.7.1 no"},
        {"S: 450 4.3.2 later\nC: QUIT\nS: 221 bye\nEND", "4.3.2", "450 4.3.2 later"},
        {"S: 421 4.7.0 busy\nEND", "4.7.0", "421 4.7.0 busy"},
        {"S: 220 x\nC: EHLO relay.example\nS: 421 busy\nEND", "4.3.2", "421 busy"},
        {"S: 220 x\nC: EHLO relay.example\nS: 450 no\nC: QUIT\nEND", "4.3.2", "450 no"},
        {"S: 220 x\nC: EHLO relay.example\nS: 500 no\nC: HELO relay.example\nS: 550 5.7.1 no\nC: QUIT\nEND", "4.3.2",
         "550 5.7.1 no"},
        {"S: 220 x\nC: EHLO relay.example\nS: 500 no\nCLOSE", "4.4.2",
         "lost connection while awaiting the reply to EHLO"},
        {"S: 220 x\nC: EHLO relay.example\nS: 354 go\nC: QUIT\nEND", "4.5.0",
         "unexpected reply while awaiting the reply to EHLO: 354 go"},
        {"CLOSE", "4.4.2", "lost connection while awaiting the greeting"},
        {"S: 220-x\nCLOSE", "4.4.2", "lost connection while awaiting the greeting"},
        {"RAW 220 x\nCLOSE", "4.4.2", "lost connection while awaiting the greeting"},
        {"S: SSH-2.0-OpenSSH_9.2\nEND", "4.5.0",
         "protocol error while awaiting the greeting: reply without a reply code"},
        {"S: 220-x\nS: 250 y\nEND", "4.5.0", "protocol error while awaiting the greeting: reply with two reply codes"},
        {"S: 220 x\nS: 250 y\nEND", "4.5.0",
         "protocol error while awaiting the reply to EHLO: a reply before its command"},
        {"S: 220 x\nS: 421 bye\nEND", "4.3.2", "421 bye"},
        {"WAIT 3600\nEND", "4.4.2", "timed out while awaiting the greeting"},
        {"S: 220 x\nC: EHLO relay.example\nWAIT 3600\nEND", "4.4.2", "timed out while awaiting the reply to EHLO"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.script);
      for (std::size_t split : {1000, 1}) {
        // Octet by octet, a reply ahead of its command cannot be told from the reply to it.
        bool ahead = std::string_view(row.script).find("x\nS: ") != std::string_view::npos;
        if (ahead && split == 1) continue;
        Opening s;
        s.run(row.script, split_at(split));
        CHECK(s.mistake == "");
        CHECK_FALSE(s.opened);
        CHECK(s.failure.status == row.status);
        CHECK(s.failure.reason == row.reason);
        CHECK(s.failure.host == kHost);
        CHECK_FALSE(s.failure.ours);
        CHECK_FALSE(s.failure.loop);
      }
    }
  }

  TEST_CASE("each reply has its timeout, however slowly it drips [F36]") {
    Opening silent;
    silent.run("WAIT 3600");
    CHECK(silent.took == 5min);

    Opening drip;
    std::string script;
    for (int i = 0; i < 100; ++i) script += "RAW 220-x\\r\\n\nWAIT 30\n";
    drip.run(script);
    CHECK(drip.took == 5min);
    CHECK(drip.failure.reason == "timed out while awaiting the greeting");

    // One that dawdles within each timeout is served.
    Opening slow;
    slow.run("WAIT 290\nS: 220 x\nC: EHLO relay.example\nWAIT 290\nS: 250 x\nC: QUIT\nWAIT 100\nEND");
    CHECK(slow.opened);
    CHECK(slow.took == 290s + 290s + 2s);
  }

  TEST_CASE("connecting: refused, unreachable, black hole, no source [F30, F31]") {
    auto open = [](ClientSession& s) {
      Connection::Opened opened =
          s.runtime.complete(Connection::open(s.runtime, s.peer, s.settings, s.policy, s.stop.get_token()));
      CHECK(opened.connection == nullptr);
      return opened.failure;
    };
    ClientSession refused;
    HostFailure failure = open(refused);
    CHECK(failure.status == "4.4.1");
    CHECK(failure.reason == "connection refused");
    CHECK(failure.host == kHost);

    ClientSession unreachable;
    unreachable.runtime.unreachable(unreachable.peer.address);
    CHECK(open(unreachable).status == "4.4.1");

    ClientSession hole;
    hole.runtime.black_hole(hole.peer.address);
    net::TimePoint began = hole.runtime.now();
    failure = open(hole);
    CHECK(failure.status == "4.4.1");
    CHECK(failure.reason == "timed out while connecting");
    CHECK(hole.runtime.now() - began == 30s);
  }

  TEST_CASE("the source address is the first one of the peer's family") {
    Opening s;
    s.settings.source = {*net::Address::parse("2001:db8::1", 0), *net::Address::parse("192.0.2.99", 0),
                         *net::Address::parse("192.0.2.98", 0)};
    s.run("S: 220 x\nC: EHLO relay.example\nS: 250 x\nC: QUIT\nEND");
    CHECK(s.opened);
    CHECK(s.client_address.host() == "192.0.2.99");
  }

  TEST_CASE("a host that greets with our own name is ourselves: 5.4.6 [RFC 5321 5.1]") {
    const char* const scripts[] = {
        "S: 220 relay.example ESMTP\nC: QUIT\nEND",
        "S: 220 Relay.Example. ESMTP\nC: QUIT\nEND",
        "S: 220-relay.example\nS: 220 hello\nC: QUIT\nEND",
        "S: 220 mx\nC: EHLO relay.example\nS: 250-relay.example hello\nS: 250 SIZE\nC: QUIT\nEND",
        "S: 220 mx\nC: EHLO relay.example\nS: 500\nC: HELO relay.example\nS: 250 relay.example\nC: QUIT\nEND",
    };
    for (const char* script : scripts) {
      CAPTURE(script);
      Opening s;
      s.run(script);
      CHECK(s.mistake == "");
      CHECK_FALSE(s.opened);
      CHECK(s.failure.loop);
      CHECK(s.failure.status == "5.4.6");
    }
    Opening other;
    other.run("S: 220 mx.relay.example relay.example\nC: EHLO relay.example\nS: 250 hello relay.example\nC: QUIT\nEND");
    CHECK(other.opened);
  }

  TEST_CASE("a stop ends the opening at any point, and says nothing of the host") {
    for (const char* script : {"WAIT 3600", "S: 220 x\nC: EHLO relay.example\nWAIT 3600"}) {
      Opening s;
      s.stop_after = 10s;
      s.run(script);
      CHECK_FALSE(s.opened);
      CHECK(s.failure.ours);
      CHECK(s.failure.status == "4.3.0");
      CHECK(s.took == 10s);
    }
    Opening early;
    early.stop.request_stop();
    early.run("S: 220 x");
    CHECK(early.failure.ours);
  }

  TEST_CASE("a connection that was lost, or says what it was not asked for, takes no transaction") {
    ClientSession s;
    s.run("S: 220 x\nC: EHLO relay.example\nS: 250 x\nS: 250 one too many\nEND");
    CHECK(s.mistake == "");
    CHECK_FALSE(s.usable);
    CHECK(s.heard == "EHLO relay.example\r\n");
    CHECK(s.result().host);
    CHECK(s.result().before_mail);
  }
}
