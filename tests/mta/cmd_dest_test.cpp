// tests/mta/cmd_dest_test.cpp: waypost dest, attempt, why and explain: where mail waits, with the real handlers behind
// and no daemon.
#include "mta/cmd_dest.h"

#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "mta/cmd_why.h"
#include "mta/output.h"
#include "tests/mta/terminal.h"

using namespace waypost;
using namespace waypost::mta;

TEST_SUITE("mta/cmd_dest") {
  TEST_CASE("why: the reason that keeps a recipient, and what comes next") {
    Terminal t;
    CHECK(t.run({"why", kFirst}) == 0);
    CHECK(t.said("b@b.example waits until "));
    CHECK(t.said(" (in 10m) after 2 attempts; the last one: 4.4.1 connection timed out (mx.example[192.0.2.7]:25)\n"));
    t.backend.messages[0].recipients[0].reply = "450 4.4.1 later";
    CHECK(t.run({"why", kFirst}) == 0);
    CHECK(t.said("; the last one: 450 4.4.1 later, said mx.example[192.0.2.7]:25\n"));
    CHECK(t.said("It is given up at "));
    CHECK(t.run({"why", kFirst, "--json"}) == 0);
    const Json told = Json::parse(t.out.str());
    CHECK(told.begin().key() == "schema");
    CHECK(told["schema"] == 1);
    CHECK(told["id"] == kFirst);
    CHECK(told["recipients"][0]["why"].get<std::string>().starts_with(
        told["recipients"][0]["address"].get<std::string>()));
    CHECK(t.run({"why", "0000000000ZZ"}) == 1);
    CHECK(t.run({"why", "nonsense"}) == 64);

    queue::DestinationRow row;
    row.state.name = "b.example";
    row.state.held_until = tests::kNow + std::chrono::hours(1);
    row.state.held_reason = "they move";
    t.backend.destination_rows = {row};
    CHECK(t.run({"why", kFirst}) == 0);
    CHECK(t.said("b@b.example waits: all mail for b.example is held until "));
    CHECK(t.said(" (in 1h): they move. Changes if: waypost dest resume b.example\n"));

    row.state = {};
    row.state.name = "b.example";
    row.state.failures = 3;
    row.state.failing_since = tests::kNow - std::chrono::hours(2);
    row.state.next_attempt = tests::kNow + std::chrono::minutes(5);
    row.state.status = "4.4.1";
    row.state.reason = "no answer";
    t.backend.destination_rows = {row};
    CHECK(t.run({"why", kFirst}) == 0);
    CHECK(t.said("b@b.example waits: b.example cannot be reached since "));
    CHECK(t.said("tried 3 times: 4.4.1 no answer. Next attempt "));

    queue::DestinationRow site = row;
    site.state.kind = queue::DestinationState::Kind::site;
    site.state.name = row.state.site = "0 [192.0.2.7]:25;given;none by delivery.tls";
    row.state.failures = 0;
    t.backend.destination_rows = {row, site};
    CHECK(t.run({"why", kFirst}) == 0);
    CHECK(t.said("b@b.example waits: its site, [192.0.2.7]:25, cannot be reached since "));
    t.backend.destination_rows[1].state.held_until = tests::kNow + std::chrono::hours(1);
    CHECK(t.run({"why", kFirst}) == 0);
    CHECK(t.said(" (in 1h). Changes if: waypost dest resume b.example --site\n"));
  }

  TEST_CASE("explain: every layer's decision on one screen") {
    Terminal t;
    Admission& admission = t.backend.explanation.admission;
    admission.client_class = "printers";
    admission.may_send = true;
    admission.sender.mailbox = {"printer", "office.example"};
    admission.recipient.mailbox = {"x", "gmail.test"};
    admission.goals = {admission.recipient};
    Way way;
    way.to = admission.recipient;
    way.destination = "gmail.test";
    way.decided_by = "the DNS";
    conf::NextHop hop;
    hop.host.host = "gmail.test";
    hop.look_up_mx = true;
    way.directions.next_hops = {hop};
    resolver::Exchanger host;
    host.preference = 10;
    host.name = "mx.gmail.test";
    host.addresses = {*net::Address::parse("192.0.2.7", 25)};
    way.found.plan.key = "10 mx.gmail.test:25";
    way.found.plan.hops = {{{host}}};
    way.found.tls.resize(1);
    t.backend.explanation.ways = {way};
    CHECK(t.run({"explain", "x@gmail.test", "--client", "10.1.4.20", "--from", "scan@office.example"}) == 0);
    CHECK(t.backend.explained.to == "x@gmail.test");
    CHECK(t.backend.explained.client == "10.1.4.20");
    CHECK(t.out.str() ==
          "client           10.1.4.20, of class printers: may send to anyone\n"
          "sender           <printer@office.example>\n"
          "recipient        <x@gmail.test>\n"
          "to x@gmail.test  waits as gmail.test\n"
          "  way            by the DNS: smtp:gmail.test\n"
          "  hosts          10 mx.gmail.test [192.0.2.7:25], TLS opportunistic by delivery.tls\n");
    CHECK_FALSE(t.complained("note"));
    t.backend.reload_failed = true;
    CHECK(t.run({"explain", "x@gmail.test"}) == 0);
    CHECK(t.complained("by the configuration in force, epoch 7: the last reload of /etc/waypost/waypost.toml failed"));
    CHECK(t.run({"explain", "x@gmail.test", "--json"}) == 0);
    CHECK(Json::parse(t.out.str())["ways"][0]["hosts"][0]["name"] == "mx.gmail.test");

    t.backend.explanation.ways[0].found = {};
    t.backend.explanation.ways[0].found.trouble.status = "4.4.3";
    t.backend.explanation.ways[0].found.trouble.reason = "no answer from the DNS";
    admission.recipient_refused = smtp::Reply{554, smtp::EnhancedCode{5, 7, 1}, {"Relay access denied"}};
    CHECK(t.run({"explain", "x@gmail.test"}) == 0);
    CHECK(t.said("  trouble        4.4.3 no answer from the DNS\n"));
    CHECK(t.said("recipient        refused: 554 5.7.1 Relay access denied\n"));
    CHECK(t.run({"explain"}) == 64);
    CHECK(t.run({"explain", "x@b.example", "--role", "nonsense"}) == 64);
  }

  TEST_CASE("attempt settle: one end, of what is in doubt") {
    Terminal t;
    const std::string id = queue::Id{1000}.text();
    CHECK(t.run({"attempt", "settle", id}) == 64);
    CHECK(t.run({"attempt", "settle", id, "--delivered", "--failed"}) == 64);
    CHECK(t.run({"attempt", "settle", "!", "--failed"}) == 64);
    CHECK(t.run({"attempt", "settle", id, "--delivered"}) == 1);
    t.backend.in_doubt = 2;
    CHECK(t.run({"attempt", "settle", id, "--to", "b@b.example", "--delivered", "--reason", "their log"}) == 0);
    CHECK(t.said("2 recipients of " + id + ": delivered"));
    CHECK(t.backend.settled_as == id + " b@b.example delivered their log");
  }

  TEST_CASE("dest: what fails or is held; one with its site; changes") {
    Terminal t;
    CHECK(t.run({"dest", "list"}) == 0);
    CHECK(t.said("no destination fails, is held or slowed"));
    CHECK(t.run({"dest", "show", "b.example"}) == 1);
    queue::DestinationRow destination;
    destination.state.name = "b.example";
    destination.state.site = "10 mx1.shared.example:25, 20 mx2.shared.example:25";
    destination.state.held_until = tests::kNow + std::chrono::hours(2);
    destination.state.held_reason = "their migration\x1b";
    destination.waiting = 12;
    queue::DestinationRow site;
    site.state.kind = queue::DestinationState::Kind::site;
    site.state.name = destination.state.site;
    site.state.failures = 4;
    site.state.next_attempt = tests::kNow + std::chrono::minutes(20);
    site.state.failing_since = tests::kNow - std::chrono::hours(1);
    site.state.status = "4.4.1";
    site.state.reason = "connection timed out";
    site.state.host = "mx2.shared.example[192.0.2.7]:25";
    site.waiting = 1500;
    t.backend.destination_rows = {destination, site};
    CHECK(t.run({"dest", "list"}) == 0);
    CHECK(lines(t.out.str()) == 3);
    CHECK(t.said("their migration\\x1b"));
    CHECK(t.said("site mx1.shared.example:25 and 1 more  4.4.1 connection timed out"));
    CHECK(t.said("1 500"));
    CHECK(t.run({"dest", "show", "b.example"}) == 0);
    CHECK(t.said("12 recipients"));
    CHECK(t.said("4 times since"));
    CHECK(t.run({"dest", "list", "--json"}) == 0);
    const Json first = Json::parse(t.out.str().substr(0, t.out.str().find('\n')));
    CHECK(first["state"] == "held");
    CHECK(first["recipients"] == 12);

    CHECK(t.run({"dest", "hold", "B.example", "--for", "2h", "--reason", "why not"}) == 0);
    CHECK(t.said("b.example is held until"));
    REQUIRE(t.backend.destination_changes.size() == 1);
    CHECK(t.backend.destination_changes[0].name == "b.example");
    CHECK((t.backend.destination_changes[0].until == tests::kNow + std::chrono::hours(2)));
    CHECK(t.backend.destination_changes[0].reason == "why not");
    CHECK(t.run({"dest", "retry", "b.example", "--site"}) == 0);
    CHECK(t.said("the site of b.example is tried now"));
    CHECK(t.backend.destination_changes[1].with_site);
    CHECK(t.run({"dest", "hold", "b.example", "--for", "soon"}) == 64);
    CHECK(t.run({"dest", "hold", "b.example", "--for", "500d"}) != 0);
    CHECK(t.run({"dest", "hold", "b.example"}) == 64);

    CHECK(t.run({"dest", "resume", "b.example"}) == 0);
    CHECK(t.out.str() == "b.example is no longer held\n");
    CHECK(t.run({"dest", "resume", "b.example", "--site"}) == 1);
    CHECK(t.out.str() == "the site of b.example was neither held nor slowed\n");
    CHECK(t.run({"dest", "hold", "b.example", "--until", local_time(tests::kNow + std::chrono::hours(3))}) == 0);
    CHECK((t.backend.destination_changes.back().until == tests::kNow + std::chrono::hours(3)));
    CHECK(t.run({"dest", "hold", "b.example", "--until", local_time(tests::kNow)}) == 64);
    CHECK(t.complained("is over"));
    CHECK(t.run({"dest", "hold", "b.example", "--until", "08:00", "--for", "1h"}) == 64);

    CHECK(t.run({"dest", "limit", "b.example", "--rate", "20/1m", "--for", "1h"}) == 0);
    CHECK(t.said("b.example gets 20/1m until"));
    CHECK((t.backend.destination_changes.back().spacing == std::chrono::seconds(3)));
    CHECK(t.run({"dest", "limit", "b.example", "--rate", "5000/1s", "--for", "1h"}) == 64);
    CHECK(t.run({"dest", "limit", "b.example", "--rate", "fast", "--for", "1h"}) == 64);
    site.state.failures = 0;
    site.state.spacing = std::chrono::seconds(3);
    site.state.slow_until = tests::kNow + std::chrono::minutes(20);
    site.state.slow_reason = "421 too many [rule greedy]";
    t.backend.destination_rows = {site};
    CHECK(t.run({"dest", "show", site.state.name}) == 0);
    CHECK(t.said(", then twice as much: 421 too many [rule greedy]\n"));
    CHECK(t.run({"dest", "list"}) == 0);
    CHECK(t.said("slowed"));
    CHECK(t.said("to 20 a minute: 421 too many [rule greedy]"));
  }
}
