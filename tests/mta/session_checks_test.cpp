#include <chrono>
#include <string>

#include <doctest/doctest.h>

#include "mta/session.h"
#include "tests/support/harness.h"

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;
using resolver::Status;
using tests::Harness;
using tests::HarnessOptions;

constexpr std::string_view kMail = "MAIL FROM:<s@c.example>";
constexpr std::string_view kRcpt = "RCPT TO:<r@b.example>";

HarnessOptions asking() {
  HarnessOptions options;
  options.asks_dns = true;
  return options;
}

HarnessOptions with_list() {
  HarnessOptions options = asking();
  options.config.checks.lists.resize(2);
  options.config.checks.lists[0].zone = "one.example";
  options.config.checks.lists[1].zone = "two.example";
  return options;
}

}  // namespace

TEST_SUITE("mta/session_checks") {
  TEST_CASE("lists are asked at once, at the first RCPT of a stranger, and answers are kept for the session") {
    Harness h(with_list());
    h.dns.add_host("7.100.51.198.two.example", {"127.0.0.2"});
    h.greet();
    CHECK(h.say(kMail).starts_with("250"));
    CHECK(h.dns.asked().empty());
    CHECK(h.say(kRcpt).starts_with("554 5.7.1 Client [198.51.100.7] is listed by two.example"));
    CHECK(h.say("RCPT TO:<q@b.example>").starts_with("554 5.7.1"));
    CHECK(h.say("RCPT TO:<Postmaster@b.example>").starts_with("250"));
    CHECK(h.say("RSET").starts_with("250"));
    CHECK(h.say(kMail).starts_with("250"));
    CHECK(h.say(kRcpt).starts_with("554 5.7.1"));
    CHECK(h.dns.asked().size() == 2);
    CHECK(h.say("EHLO d.example").starts_with("250"));
    CHECK(h.say(kMail).starts_with("250"));
    CHECK(h.say(kRcpt).starts_with("554 5.7.1"));
    CHECK(h.dns.asked().size() == 4);
  }

  TEST_CASE("who logs in, or has a list of dead domains, is no stranger and makes no errors") {
    HarnessOptions options = asking();
    options.client = "192.0.2.1";
    options.listener.role = conf::Role::submission;
    Harness h(options);
    h.greet();
    h.say(kMail);
    for (int i = 0; i < 30; ++i) {
      CHECK(h.say("RCPT TO:<r@dead" + std::to_string(i) + ".example>").starts_with("550 5.1.2"));
    }
    CHECK(h.say(kRcpt).starts_with("250"));
  }

  TEST_CASE("<postmaster> is taken of a listed client, whoever it is for [RFC 5321 4.5.1]") {
    Harness h(with_list());
    h.dns.add_host("7.100.51.198.two.example", {"127.0.0.2"});
    h.greet();
    CHECK(h.say({kMail, "RCPT TO:<Postmaster>"}).ends_with("250 2.1.5 Ok\r\n"));
    CHECK(h.dns.asked().empty());
    CHECK(h.say(kRcpt).starts_with("554 5.7.1"));
    CHECK(h.say("RSET").starts_with("250"));
    CHECK(Harness::codes(h.say({kMail, "RCPT TO:<POSTMASTER@relay.example>"})) == "250 250");
  }

  TEST_CASE("a list that does not answer costs the time-out once, and refuses nobody") {
    HarnessOptions options = with_list();
    options.config.checks.timeout = 2s;
    Harness h(options);
    h.dns.delay("7.100.51.198.one.example", 60s);
    h.greet();
    h.say(kMail);
    CHECK(h.say(kRcpt).empty());
    CHECK(h.dns.most_under_way() == 2);
    h.runtime.advance(1s);
    CHECK(h.heard().empty());
    h.runtime.advance(1100ms);
    CHECK(h.heard().starts_with("250"));
    CHECK(h.say("RCPT TO:<q@b.example>").starts_with("250"));
    h.hang_up();
    h.runtime.advance(60s);
    CHECK(h.ended());
  }

  TEST_CASE("those who may relay are asked about nothing, and in a pipelined group each reply has its place") {
    HarnessOptions options = with_list();
    options.config.relay.networks = {tests::harness_config().relay.networks};
    options.client = "192.0.2.1";
    Harness trusted(options);
    trusted.greet();
    trusted.say(kMail);
    CHECK(trusted.say(kRcpt).starts_with("250"));
    CHECK(trusted.dns.asked().empty());

    Harness h(with_list());
    h.greet();
    CHECK(Harness::codes(h.send("MAIL FROM:<s@c.example>\r\nRCPT TO:<r@b.example>\r\nRCPT TO:<x@no.example>\r\n"
                                "RCPT TO:<q@b.example>\r\nDATA\r\n")) == "250 250 554 250 354");
    CHECK(Harness::codes(h.send("text\r\n.\r\n")) == "250");
  }

  TEST_CASE("reverse DNS: the confirmed name goes into Received") {
    HarnessOptions options = asking();
    options.config.checks.reverse_dns = true;
    Harness h(options);
    h.dns.add_ptr("198.51.100.7", "mx.c.example");
    h.dns.add_host("mx.c.example", {"198.51.100.7"});
    h.greet();
    CHECK(Harness::codes(h.say({kMail, kRcpt, "DATA", "text", "."})) == "250 250 354 250");
    REQUIRE(h.store.committed.size() == 1);
    CHECK(h.store.committed[0].message.trace.find("c.example (mx.c.example [198.51.100.7])") != std::string::npos);
    Harness nameless(options);
    nameless.greet();
    nameless.say(kMail);
    CHECK(nameless.say(kRcpt).starts_with("550 5.7.25"));
  }

  TEST_CASE("a sender's domain: asked once a transaction, never for the null path") {
    HarnessOptions options = asking();
    options.config.checks.sender_domain = true;
    Harness h(options);
    h.dns.add_mx("good.example", {{10, "mx.good.example"}});
    h.dns.add_mx("null.example", {{0, ""}});
    h.greet();
    const auto tried = [&h](const char* from) {
      h.say("RSET");
      h.say("MAIL FROM:" + std::string(from));
      const std::string first = h.say(kRcpt);
      CHECK(h.say("RCPT TO:<q@b.example>").substr(0, 3) == first.substr(0, 3));
      return first.substr(0, 9);
    };
    CHECK(tried("<s@good.example>") == "250 2.1.5");
    CHECK(tried("<s@null.example>") == "550 5.7.2");
    CHECK(tried("<s@none.example>") == "550 5.1.8");
    CHECK(tried("<>") == "250 2.1.5");
    CHECK(h.dns.asked().size() == 3);
  }

  TEST_CASE("submission: a domain that cannot exist is refused at RCPT, if the DNS says so within a second") {
    HarnessOptions options = asking();
    options.client = "192.0.2.1";
    options.listener.role = conf::Role::submission;
    conf::Route route;
    route.match = "*.routed.example";
    route.next_hops = {conf::NextHop()};
    conf::Route tls_alone;  // the way is that of DNS
    tls_alone.match = "none.example";
    tls_alone.tls.level = conf::TlsLevel::verify;
    options.config.routes = {route, tls_alone};
    Harness h(options);
    h.dns.add_mx("good.example", {{10, "mx.good.example"}});
    h.dns.add_mx("null.example", {{0, ""}});
    h.dns.fail("trouble.example", "", Status::server_failed);
    h.dns.delay("slow.example", 10s);
    h.greet();
    h.say(kMail);
    CHECK(h.say("RCPT TO:<r@good.example>").starts_with("250"));
    CHECK(h.say("RCPT TO:<r@null.example>").starts_with("556 5.1.10"));
    CHECK(h.say("RCPT TO:<r@none.example>").starts_with("550 5.1.2"));
    CHECK(h.say("RCPT TO:<r@trouble.example>").starts_with("250"));
    CHECK(h.say("RCPT TO:<r@a.routed.example>").starts_with("250"));
    CHECK(h.say("RCPT TO:<r@[192.0.2.9]>").starts_with("250"));
    CHECK(h.say(kRcpt).starts_with("250"));
    CHECK(h.dns.asked().size() == 4);
    CHECK(h.say("RCPT TO:<r@slow.example>").empty());
    h.runtime.advance(1100ms);
    CHECK(h.heard().starts_with("250"));
  }

  TEST_CASE("greeting delay: strangers who talk first are sent away, others are let in") {
    HarnessOptions options;
    options.config.checks.greeting_delay = 3s;
    Harness early(options);
    CHECK(early.heard().empty());
    CHECK(early.send("EHLO c.example\r\n").starts_with("554 5.5.1"));
    CHECK(early.ended());
    Harness patient(options);
    patient.runtime.advance(3100ms);
    CHECK(patient.heard().starts_with("220 "));
    Harness stopped(options);
    stopped.stop();
    stopped.runtime.run_until_idle();
    CHECK(stopped.heard().starts_with("421 4.3.2"));
    CHECK(stopped.ended());
    options.client = "192.0.2.1";
    CHECK(Harness(options).heard().starts_with("220 "));
    options.client = "198.51.100.7";
    options.listener.role = conf::Role::submission;
    CHECK(Harness(options).heard().starts_with("220 "));
  }
}

}  // namespace waypost::mta
