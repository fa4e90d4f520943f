#include <string>

#include <doctest/doctest.h>

#include "conf/values.h"
#include "mta/session.h"
#include "tests/support/harness.h"

namespace waypost::mta {
namespace {

using tests::Harness;
using tests::HarnessOptions;

/// Behind a balancer, or a proxy that speaks SMTP, at 192.0.2.1; the network of the relay is another.
HarnessOptions behind(bool balancer) {
  HarnessOptions options;
  options.client = "192.0.2.1";
  options.config.relay.networks = {*conf::parse_network("10.0.0.0/8")};
  std::vector<conf::Network>& networks = balancer ? options.listener.proxy : options.listener.xclient;
  networks = {*conf::parse_network("192.0.2.0/30")};
  return options;
}

constexpr std::string_view kFar = "RCPT TO:<r@far.example>";

std::string message(Harness& h) {
  return Harness::codes(h.say({"MAIL FROM:<s@c.example>", "RCPT TO:<r@b.example>", "DATA", "text", "."}));
}

}  // namespace

TEST_SUITE("mta/session_proxy") {
  TEST_CASE("PROXY: the client is whom the balancer names, for the log, the trace and the relay") {
    Harness h(behind(true));
    CHECK(h.heard().empty());
    CHECK(h.send("PROXY TCP4 10.1.2.3 203.0.113.99 40000 25\r\nEHLO").starts_with("220 "));
    CHECK(h.send(" c.example\r\n").starts_with("250-"));
    CHECK(h.say("MAIL FROM:<s@c.example>").starts_with("250"));
    CHECK(h.say(kFar).starts_with("250"));
    CHECK(h.say("RSET").starts_with("250"));
    CHECK(message(h) == "250 250 354 250");
    REQUIRE(h.store.committed.size() == 1);
    CHECK(h.store.committed[0].message.origin.client == "10.1.2.3");
    CHECK(h.store.committed[0].message.trace.find("10.1.2.3") != std::string::npos);
    CHECK(h.store.committed[0].message.trace.find("192.0.2.1") == std::string::npos);
    CHECK(h.say("MAIL FROM:<s@c.example>").starts_with("250"));
    CHECK(h.say("RCPT TO:<postmaster@[203.0.113.99]>").starts_with("250"));
  }

  TEST_CASE("PROXY: a stranger behind the balancer may not relay, though the balancer might") {
    HarnessOptions options = behind(true);
    options.config.relay.networks = {*conf::parse_network("192.0.2.0/24")};
    Harness h(options);
    h.send("PROXY TCP4 198.51.100.7 203.0.113.25 40000 25\r\n");
    h.say({"EHLO c.example", "MAIL FROM:<s@c.example>"});
    CHECK(h.say(kFar).starts_with("554 5.7.1"));
  }

  TEST_CASE("PROXY: from the networks that are named it must come, and from others it is no command") {
    for (const char* octets : {"EHLO client.example\r\n", "PROXY TCP4 nonsense here 1 2\r\n"}) {
      CAPTURE(octets);
      Harness h(behind(true));
      CHECK(h.send(octets).empty());
      CHECK(h.ended());
    }
    HarnessOptions options = behind(true);
    options.client = "192.0.2.77";
    Harness h(options);
    CHECK(h.heard().starts_with("220 "));
    CHECK(h.say("PROXY TCP4 10.1.2.3 203.0.113.25 40000 25").starts_with("500 5.5.2"));
  }

  TEST_CASE("PROXY: silence ends it, and so does a stop") {
    Harness silent(behind(true));
    silent.runtime.advance(std::chrono::seconds(31));
    CHECK(silent.ended());
    CHECK(silent.all_heard().empty());
    Harness stopped(behind(true));
    stopped.send("PROXY TC");
    stopped.stop();
    stopped.runtime.advance(std::chrono::seconds(30));
    CHECK(stopped.ended());
  }

  TEST_CASE("PROXY: its client's connections are counted, not the balancer's") {
    HarnessOptions options = behind(true);
    options.config.limits.connections_per_client = 2;
    Harness h(options);
    const net::Address client = *net::Address::parse("10.1.2.3", 0);
    {
      const auto one = h.limits.acquire(client, 10, 10);
      const auto two = h.limits.acquire(client, 10, 10);
      CHECK(h.send("PROXY TCP4 10.1.2.3 203.0.113.25 40000 25\r\n").starts_with("421 4.7.0"));
      CHECK(h.ended());
      CHECK(h.limits.connections() == 2);
    }
    Harness other(options);
    CHECK(other.send("PROXY TCP4 10.1.2.3 203.0.113.25 40000 25\r\n").starts_with("220"));
    CHECK(other.limits.connections_of(client) == 1);
    CHECK(other.limits.connections_of(*net::Address::parse("192.0.2.1", 0)) == 0);
    other.hang_up();
    CHECK(other.limits.connections() == 0);
  }

  TEST_CASE("XCLIENT: offered to the networks that are named, and the session begins anew") {
    Harness h(behind(false));
    CHECK(h.say("EHLO proxy.example").find("250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n") !=
          std::string::npos);
    CHECK(h.say("MAIL FROM:<s@c.example>").starts_with("250"));
    CHECK(h.say("XCLIENT ADDR=10.1.2.3").starts_with("503 5.5.1"));
    CHECK(h.say("RSET").starts_with("250"));
    CHECK(h.say("XCLIENT ADDR=here").starts_with("501 5.5.4"));
    CHECK(h.say("XCLIENT NAME=mx.a.example ADDR=10.1.2.3 HELO=c.example PROTO=SMTP").starts_with("220 "));
    CHECK(h.say("MAIL FROM:<s@c.example>").starts_with("250"));
    CHECK(h.say(kFar).starts_with("250"));
    CHECK(h.say("RSET").starts_with("250"));
    CHECK(message(h) == "250 250 354 250");
    REQUIRE(h.store.committed.size() == 1);
    CHECK(h.store.committed[0].message.origin.client == "10.1.2.3");
    CHECK(h.store.committed[0].message.trace.find("c.example (mx.a.example [10.1.2.3])") != std::string::npos);
    CHECK(h.store.committed[0].message.origin.protocol == "SMTP");
  }

  TEST_CASE("XCLIENT: a login is as good as the proxy's word, which is taken once") {
    Harness h(behind(false));
    h.say("EHLO proxy.example");
    CHECK(h.say("XCLIENT LOGIN=ann ADDR=198.51.100.7").starts_with("220 "));
    h.say("EHLO c.example");
    CHECK(message(h) == "250 250 354 250");
    REQUIRE(h.store.committed.size() == 1);
    CHECK(h.store.committed[0].message.origin.user == "ann");
    // A proxy that passes on its client's words: they are not its own.
    CHECK(h.say("EHLO c.example").find("XCLIENT") == std::string::npos);
    CHECK(h.say("XCLIENT LOGIN=boss ADDR=10.1.2.3").starts_with("502 5.5.1"));
  }

  TEST_CASE("XCLIENT: without an address the client is not its proxy, whose rights and login are not the client's") {
    HarnessOptions options = behind(false);
    options.config.relay.networks = {*conf::parse_network("192.0.2.0/24")};
    Harness h(options);
    h.say("EHLO proxy.example");
    for (const char* line : {"XCLIENT NAME=a.example", "XCLIENT ADDR=[UNAVAILABLE]", "XCLIENT LOGIN=ann"}) {
      CHECK(h.say(line).starts_with("501 5.5.4"));
    }
    CHECK(h.say("XCLIENT ADDR=198.51.100.7").starts_with("220 "));
    h.say("EHLO c.example");
    h.say("MAIL FROM:<s@c.example>");
    CHECK(h.say(kFar).starts_with("554 5.7.1"));
  }

  TEST_CASE("XCLIENT: behind a balancer it is the client's network that counts") {
    HarnessOptions options = behind(true);
    options.listener.xclient = options.listener.proxy;
    Harness h(options);
    h.send("PROXY TCP4 198.51.100.7 203.0.113.25 40000 25\r\n");
    CHECK(h.say("EHLO c.example").find("XCLIENT") == std::string::npos);
    CHECK(h.say("XCLIENT ADDR=10.1.2.3").starts_with("502 5.5.1"));
  }

  TEST_CASE("XCLIENT: not for others, not without EHLO, and nothing may be sent behind it") {
    Harness stranger;
    stranger.greet();
    CHECK(stranger.say("XCLIENT ADDR=10.1.2.3").starts_with("502 5.5.1"));
    Harness early(behind(false));
    CHECK(early.say("XCLIENT ADDR=10.1.2.3").find("502 5.5.1") != std::string::npos);
    Harness pushy(behind(false));
    pushy.greet();
    CHECK(pushy.send("XCLIENT ADDR=10.1.2.3\r\nMAIL FROM:<>\r\n").starts_with("554 5.5.0"));
    CHECK(pushy.ended());
  }

  TEST_CASE("ETRN: for those who may relay, with what the queue says [RFC 1985]") {
    HarnessOptions options;
    options.client = "192.0.2.1";
    Harness h(options);
    CHECK(h.say("EHLO c.example").find("250-ETRN\r\n") != std::string::npos);
    CHECK(h.say("ETRN b.example").starts_with("251 2.0.0"));
    CHECK(h.store.asked_to_change.find("@b.example") != std::string::npos);
    h.store.changed->recipients = 3;
    CHECK(h.say("ETRN b.example").starts_with("458 4.3.0"));  // within a minute
    h.runtime.advance(std::chrono::minutes(3));
    CHECK(h.say("ETRN @b.example").starts_with("253 2.0.0 3 "));
    CHECK(h.store.asked_to_change.find("*.b.example") != std::string::npos);
    CHECK(h.say("ETRN elsewhere.example").starts_with("459 4.7.1"));
    h.store.changed = fail(Errc::busy, "another change is under way");
    CHECK(h.say("ETRN known.example").starts_with("458 4.3.0"));
    CHECK(h.say("ETRN #b.example").starts_with("501 5.5.4"));
    CHECK(h.say("ETRN").starts_with("501 5.5.4"));
    CHECK(h.say("MAIL FROM:<s@c.example>").starts_with("250"));
    CHECK(h.say("ETRN b.example").starts_with("503 5.5.1"));
    Harness stranger;
    CHECK(stranger.say("EHLO c.example").find("ETRN") == std::string::npos);
    CHECK(stranger.say("ETRN b.example").starts_with("502 5.5.1"));
  }
}

}  // namespace waypost::mta
