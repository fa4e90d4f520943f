#include <string>

#include <doctest/doctest.h>

#include "mta/server.h"
#include "mta/session.h"
#include "tests/support/harness.h"

namespace waypost::mta {
namespace {

using tests::Harness;
using tests::HarnessOptions;

constexpr std::uint32_t kNobodyHas = 4'123'456'789;

/// Of root, whom each machine has.
HarnessOptions of_user(std::uint32_t uid = 0) {
  HarnessOptions options;
  options.user = uid;
  options.listener = local_listener();
  return options;
}

const queue::NewMessage& stored(Harness& h) {
  h.greet();
  CHECK(Harness::codes(h.say({"MAIL FROM:<ann>", "RCPT TO:<r@far.example>", "DATA", "Subject: x", "", "."})) ==
        "250 250 354 250");
  REQUIRE(h.store.committed.size() == 1);
  return h.store.committed[0].message;
}

}  // namespace

TEST_SUITE("mta/session_local") {
  TEST_CASE("a user of this machine may send to anyone, and is named in trace and store") {
    Harness h(of_user());
    const queue::NewMessage& message = stored(h);
    CHECK(message.envelope.reverse_path.text() == "ann@relay.example");
    CHECK(message.origin.client == "root[uid=0]");
    CHECK(message.origin.listener == "local");
    CHECK(message.origin.protocol == "ESMTP");
    CHECK(message.origin.user.empty());
    CHECK(message.trace.starts_with("Received: by relay.example (Waypost, from user root) with ESMTP\r\n\tid "));
    CHECK(message.trace.find("c.example") == std::string::npos);
  }

  TEST_CASE("one without a name is known by number") {
    Harness h(of_user(kNobodyHas));
    const queue::NewMessage& message = stored(h);
    CHECK(message.origin.client == "unknown[uid=4123456789]");
    CHECK(message.trace.find("from user uid=4123456789)") != std::string::npos);
  }

  TEST_CASE("no TLS, no logins, no XCLIENT, no ETRN; REQUIRETLS, since nobody reads along [RFC 8689 2]") {
    HarnessOptions options = of_user();
    options.config.auth.users = "/nowhere/users";
    options.config.auth.require_tls = false;
    Harness h(options);
    const std::string offered = h.say("EHLO c.example");
    CHECK(offered.find("STARTTLS") == std::string::npos);
    CHECK(offered.find("AUTH") == std::string::npos);
    CHECK(offered.find("XCLIENT") == std::string::npos);
    CHECK(offered.find("ETRN") == std::string::npos);
    CHECK(offered.find("REQUIRETLS") != std::string::npos);
    CHECK(h.say("AUTH PLAIN AGFubgB4").starts_with("502"));
    CHECK(h.say("XCLIENT ADDR=192.0.2.1").starts_with("502"));
  }

  TEST_CASE("a client by network is no user, whatever it says") {
    Harness h;
    h.greet("EHLO root");
    h.say("MAIL FROM:<root@c.example>");
    CHECK(h.say("RCPT TO:<r@far.example>").starts_with("554 5.7.1"));
  }

  TEST_CASE("limits of senders hold for logins, and those of recipients for users too") {
    HarnessOptions options = of_user();
    options.config.auth.sender_must_match = true;
    options.config.limits.recipients = 1;
    Harness h(options);
    h.greet();
    CHECK(h.say("MAIL FROM:<other@c.example>").starts_with("250"));
    CHECK(h.say("RCPT TO:<x@known.example>").starts_with("550 5.1.1"));
    CHECK(h.say("RCPT TO:<ann@known.example>").starts_with("250"));
    CHECK(h.say("RCPT TO:<bob@known.example>").starts_with("452"));
  }

  TEST_CASE("a list of which much is refused is gone through, without a delay") {
    HarnessOptions options = of_user();
    options.config.limits.errors = 5;
    Harness h(options);
    h.greet();
    h.say("MAIL FROM:<ann@b.example>");
    for (int i = 0; i < 2 * Session::kMaxUnknownRecipients; ++i) {
      CHECK(h.say("RCPT TO:<nobody" + std::to_string(i) + "@known.example>").starts_with("550 5.1.1"));
      CHECK(h.say("RCPT TO:<a b>").starts_with("501"));
    }
    CHECK(h.say("RCPT TO:<ann@known.example>").starts_with("250"));
  }

  TEST_CASE("a class may keep users here") {
    HarnessOptions options = of_user();
    options.config.clients.emplace_back();
    options.config.clients[0].name = "all";
    options.config.clients[0].relay = false;
    Harness h(options);
    h.greet();
    CHECK(h.say("MAIL FROM:<ann@c.example>").starts_with("250"));
    CHECK(h.say("RCPT TO:<r@far.example>").starts_with("554 5.7.1"));
    CHECK(h.say("RCPT TO:<ann@known.example>").starts_with("250"));
  }
}

}  // namespace waypost::mta
