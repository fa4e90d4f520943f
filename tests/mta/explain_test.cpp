// tests/mta/explain_test.cpp: what would become of a message.
#include "mta/explain.h"

#include <doctest/doctest.h>

#include "conf/values.h"

using namespace waypost;
using namespace waypost::mta;

namespace {

conf::Config config() {
  conf::Config out;
  out.hostname = "relay.example";
  out.relay.networks = {*conf::parse_network("10.0.0.0/8")};
  out.relay.domains = {"b.example"};
  conf::ClientClass printers;
  printers.name = "printers";
  printers.networks = {*conf::parse_network("10.1.0.0/16")};
  printers.sender = "printer@office.example";
  out.clients = {printers};
  conf::Listener mx, submission;
  submission.role = conf::Role::submission;
  out.listeners = {mx, submission};
  return out;
}

ExplainQuery query(const std::string& to, const std::string& client) {
  ExplainQuery out;
  out.to = to;
  out.client = client;
  out.from = "a@office.example";
  return out;
}

}  // namespace

TEST_SUITE("mta/explain") {
  TEST_CASE("whether it is taken, by the rules of MAIL and RCPT") {
    const conf::Config all = config();
    const Result<Admission> ours = explain_admission(all, query("<x@gmail.test>", "10.1.4.20"));
    REQUIRE(ours);
    CHECK(ours->client_class == "printers");
    CHECK(ours->may_send);
    CHECK(ours->sender.text() == "printer@office.example");
    CHECK_FALSE(ours->recipient_refused);
    REQUIRE(ours->goals.size() == 1);
    CHECK(ours->goals[0].text() == "x@gmail.test");

    const Result<Admission> stranger = explain_admission(all, query("x@gmail.test", "192.0.2.1"));
    REQUIRE(stranger);
    CHECK(stranger->client_class.empty());
    CHECK_FALSE(stranger->may_send);
    REQUIRE(stranger->recipient_refused);
    CHECK(stranger->recipient_refused->code == 554);
    CHECK(stranger->goals.empty());
    CHECK_FALSE(explain_admission(all, query("x@b.example", "192.0.2.1"))->recipient_refused);

    ExplainQuery login = query("x@gmail.test", "192.0.2.1");
    login.login = "ann";
    CHECK_FALSE(explain_admission(all, login)->recipient_refused);
    login.login.clear();
    login.role = conf::Role::submission;
    CHECK(explain_admission(all, login)->sender_refused->code == 530);
  }

  TEST_CASE("what is no address is said to be none") {
    const conf::Config all = config();
    for (const char* bad : {"", "<", "a b@c.example", "<a@b.example> c", "a@@b.example"}) {
      CAPTURE(bad);
      CHECK(explain_admission(all, query(bad, "10.0.0.1")).error().code == Errc::invalid);
    }
    CHECK(explain_admission(all, query("a@b.example", "nonsense")).error().code == Errc::invalid);
    ExplainQuery bad_sender = query("a@b.example", "10.0.0.1");
    bad_sender.from = "a b";
    CHECK(explain_admission(all, bad_sender).error().code == Errc::invalid);
  }
}
