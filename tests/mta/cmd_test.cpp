// tests/mta/cmd_test.cpp: the tool's verbs, with the real handlers behind them and no daemon.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include <doctest/doctest.h>

#include "mta/alerts.h"
#include "mta/cmd_attempt.h"
#include "mta/cmd_audit.h"
#include "mta/cmd_classify.h"
#include "mta/cmd_config.h"
#include "mta/cmd_dest.h"
#include "mta/cmd_explain.h"
#include "mta/cmd_health.h"
#include "mta/cmd_queue.h"
#include "mta/cmd_rates.h"
#include "mta/cmd_status.h"
#include "mta/cmd_store.h"
#include "mta/cmd_trace.h"
#include "mta/cmd_why.h"
#include "mta/completion.h"
#include "mta/output.h"
#include "tests/mta/fake_backend.h"
#include "tests/mta/terminal.h"
#include "tests/queue/queue_fixture.h"
#include "tests/support/temporary_folder.h"

using namespace waypost;
using namespace waypost::mta;

namespace {

const std::string kFirst = queue::Id{1000}.text();
const std::string kSecond = queue::Id{2000}.text();

std::size_t lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_SUITE("mta/cmd") {
  TEST_CASE("arguments become a filter, and a value of several words its quotes again") {
    struct Case {
      std::vector<std::string> arguments;
      std::string want;
    };
    for (const Case& c :
         {Case{{}, ""}, Case{{"from:a", "to:b"}, "from:a to:b"}, Case{{"from:a to:b"}, "from:a to:b"},
          Case{{"error:timed out"}, "error:\"timed out\""}, Case{{"error:\"timed out\""}, "error:\"timed out\""},
          Case{{"error~^45[01] x"}, "error~\"^45[01] x\""}, Case{{"!from:a"}, "-from:a"},
          Case{{kFirst, kSecond}, kFirst + " " + kSecond}}) {
      CHECK(filter_text(c.arguments) == c.want);
    }
    CHECK(protect_negated_terms({"-from:a", "--json", "-h", "-", "-:", "--a:b", "x", "-1:2"}) ==
          std::vector<std::string>{"!from:a", "--json", "-h", "-", "-:", "--a:b", "x", "-1:2"});
  }

  TEST_CASE("usage errors are 64") {
    Terminal t;
    for (const std::vector<std::string>& bad :
         std::vector<std::vector<std::string>>{{},
                                               {"nonsense"},
                                               {"queue"},
                                               {"queue", "nonsense"},
                                               {"queue", "list", "--colour"},
                                               {"queue", "show"},
                                               {"queue", "show", "x"},
                                               {"queue", "show", kFirst, "--raw", "--body"},
                                               {"queue", "list", "colour:red"},
                                               {"queue", "hold"},
                                               {"queue", "hold", "--all", kFirst},
                                               {"queue", "hold", "age:2h"},
                                               {"trace"},
                                               {"trace", "--since", "yesterday"},
                                               {"config"},
                                               {"store"},
                                               {"store", "backup"},
                                               {"store", "restore"},
                                               {"store", "salvage"},
                                               {"store", "salvage", "x", "--in-place"},
                                               {"store", "check", "--force"},
                                               {"queue", "list", "--limit", "x"},
                                               {"status", "x"}}) {
      CAPTURE(bad.size());
      CAPTURE((bad.empty() ? "" : bad.back()));
      CHECK(t.run(bad) == 64);
    }
    CHECK(t.backend.changed.empty());
  }

  TEST_CASE("who cannot be asked, and what the daemon cannot do, have their exit codes") {
    struct Case {
      Errc code;
      int away, inside;
    };
    for (const Case& c : {Case{Errc::refused, 69, 70}, Case{Errc::closed, 69, 70}, Case{Errc::denied, 77, 77},
                          Case{Errc::busy, 75, 75}, Case{Errc::timed_out, 75, 75}, Case{Errc::full, 70, 75},
                          Case{Errc::io, 70, 70}, Case{Errc::unsupported, 78, 69}}) {
      for (const std::vector<std::string>& verb :
           std::vector<std::vector<std::string>>{{"status"},
                                                 {"queue", "list"},
                                                 {"queue", "count"},
                                                 {"queue", "show", kFirst},
                                                 {"queue", "hold", kFirst},
                                                 {"queue", "show", kFirst, "--raw"},
                                                 {"trace", kFirst},
                                                 {"reload"}}) {
        Terminal t;
        t.away = Error(c.code, "why");
        CHECK(t.run(verb) == c.away);
        CHECK(t.complained("waypost: why"));
        t.away.reset();
        t.backend.failure = Error(c.code, "why not");
        CHECK(t.run(verb) == c.inside);
        CHECK(t.complained("waypost: why not"));
      }
    }
  }

  TEST_CASE("queue list: a line per message; with --json a JSON line") {
    Terminal t;
    CHECK(t.run({"queue", "list"}) == 0);
    CHECK(lines(t.out.str()) == 3);
    CHECK(t.said("<a@example.org>"));
    CHECK(t.said("b@b.example +1"));
    CHECK(t.said("4.4.1 mx.example[192.0.2.7]:25 connection timed out"));
    CHECK(t.run({"queue", "list", "--json"}) == 0);
    CHECK(lines(t.out.str()) == 2);
    CHECK(Json::parse(t.out.str().substr(0, t.out.str().find('\n')))["id"] == kFirst);
    CHECK(t.run({"queue", "list", "--limit", "1", "--json"}) == 0);
    CHECK(lines(t.out.str()) == 1);
    CHECK(t.run({"queue", "list", "--after", kFirst, "--json"}) == 0);
    CHECK(t.said(kSecond));
    CHECK(!t.said(kFirst));
    CHECK(t.run({"queue", "list", "to:nobody@b.example"}) == 1);
    CHECK(t.out.str().empty());
    CHECK(t.run({"queue", "list", "-from:x"}) == 0);
    t.backend.messages.clear();
    CHECK(t.run({"queue", "list"}) == 0);
    CHECK(t.complained("the queue is empty"));
  }

  TEST_CASE("queue list goes through all pages") {
    Terminal t;
    for (std::uint64_t i = 3000; i < 3450; ++i) t.backend.add(queue::Id{i}, "a@example.org", {"b@b.example"});
    CHECK(t.run({"queue", "list", "--json"}) == 0);
    CHECK(lines(t.out.str()) == 452);
    CHECK(t.run({"queue", "list", "--limit", "250", "--json"}) == 0);
    CHECK(lines(t.out.str()) == 250);
  }

  TEST_CASE("queue count, for people and for scripts") {
    Terminal t;
    CHECK(t.run({"queue", "count", "--json"}) == 0);
    CHECK(Json::parse(t.out.str())["recipients"] == 3);
    CHECK(t.run({"queue", "count", "to:d@d.example"}) == 0);
    CHECK(t.said("messages    1\n"));
    t.backend.messages.clear();
    CHECK(t.run({"queue", "count"}) == 0);
    CHECK(t.said("oldest      -\n"));
  }

  TEST_CASE("queue show: envelope, recipients, why, and the header section; peer text escaped") {
    Terminal t;
    t.backend.messages[0].recipients[0].reply = "450 wait\x1b[2J";
    CHECK(t.run({"queue", "show", kFirst}) == 0);
    CHECK(t.said("from        <a@example.org>\n"));
    CHECK(t.said("size        2 143 octets\n"));
    CHECK(t.said("(3h ago)"));
    CHECK(t.said("from 192.0.2.1, helo client.example, by ESMTP, as mx\n"));
    CHECK(t.said("<c@c.example> deferred, 2 tries, next "));
    CHECK(t.said("450 wait\\x1b[2J\n"));
    CHECK(t.said("header\nReceived: from x\nSubject: x\n"));
    CHECK(!t.said("line"));
    CHECK(t.run({"queue", "show", kFirst, "--envelope"}) == 0);
    CHECK(!t.said("Subject"));
    CHECK(t.run({"queue", "show", kFirst, "--headers"}) == 0);
    CHECK(t.out.str() == "Received: from x\nSubject: x\n");
    CHECK(t.run({"queue", "show", kFirst, "--body"}) == 0);
    CHECK(t.out.str() == "line \\x1b[31m\n");
    CHECK(t.run({"queue", "show", kFirst, "--raw"}) == 0);
    CHECK(t.out.str() == "Received: from x\r\nSubject: x\r\n\r\nline \x1b[31m\r\n");
    CHECK(t.run({"queue", "show", kFirst, "--json"}) == 0);
    CHECK(Json::parse(t.out.str())["from"] == "a@example.org");
    CHECK(t.run({"queue", "show", "0000000000ZZ"}) == 1);
    CHECK(t.complained("0000000000ZZ is not in the queue"));
  }

  TEST_CASE("queue show: a held recipient, since when and why") {
    Terminal t;
    t.backend.messages[0].recipients[1].state = queue::State::held;
    queue::HistoryEvent event;
    event.message = queue::Id{1000};
    event.time = tests::kNow;
    event.kind = queue::HistoryEvent::Kind::held;
    event.recipient = "c@c.example";
    event.text = "looks odd";
    t.backend.history.push_back(event);
    CHECK(t.run({"queue", "show", kFirst, "--envelope"}) == 0);
    CHECK(t.said("<c@c.example> held, 2 tries\n"));
    CHECK(t.said("      held since "));
    CHECK(t.said(": looks odd\n"));
  }

  TEST_CASE("queue show: header section without a body, empty message, body over one piece") {
    Terminal t;
    t.backend.body = "Subject: alone";
    CHECK(t.run({"queue", "show", kFirst, "--headers"}) == 0);
    CHECK(t.out.str() == "Received: from x\nSubject: alone\n");
    CHECK(t.run({"queue", "show", kFirst, "--body"}) == 0);
    CHECK(t.out.str().empty());
    t.backend.body = "A: b\r\n\r\n";
    std::string want;
    for (int i = 0; i < 300000; ++i) {
      t.backend.body += "line of text\r\n";
      want += "line of text\n";
    }
    CHECK(t.run({"queue", "show", kFirst, "--body"}) == 0);
    CHECK((t.out.str() == want));
  }

  TEST_CASE("a change by ids acts at once") {
    Terminal t;
    CHECK(t.run({"queue", "hold", kFirst, kSecond, "--reason", "spam"}) == 0);
    CHECK(t.out.str() == "held 2 messages, 3 recipients. Undo within a day: waypost undo 77\n");
    CHECK(t.backend.changed.size() == 1);
    CHECK(t.backend.reason == "spam");
    CHECK(t.run({"queue", "delete", kFirst, "0000000000ZZ"}) == 2);
    CHECK(t.complained("0000000000ZZ is not in the queue"));
    CHECK(t.run({"queue", "delete", "0000000000ZZ"}) == 1);
    CHECK(t.run({"queue", "delete", kFirst, "--dry-run"}) == 0);
    CHECK(t.said("would delete 1 message, 2 recipients"));
    CHECK(t.backend.changed.size() == 3);
  }

  TEST_CASE("bounce, reroute, redirect") {
    Terminal t;
    CHECK(t.run({"queue", "bounce", "to:d@d.example"}) == 64);
    CHECK(t.said("would bounce 1 message"));
    CHECK(t.said("repeat with --yes to do it (not to be undone)"));
    CHECK(t.run({"queue", "bounce", "to:d@d.example", "--reason", "gone", "--yes"}) == 0);
    CHECK(t.out.str() == "bounced 1 message, 1 recipient\n");
    t.backend.busy = 2;
    CHECK(t.run({"queue", "bounce", "to:d@d.example", "--yes"}) == 2);
    CHECK(t.complained("2 messages are being attempted just now"));
    t.backend.busy = 0;
    CHECK(t.run({"queue", "reroute", "--all", "--yes"}) == 64);
    CHECK(t.run({"queue", "reroute", "--all", "--to", "smtp:[192.0.2.7]", "--yes"}) == 0);
    CHECK(t.out.str() == "rerouted 2 messages, 3 recipients. Back again: waypost queue reroute ... --to usual\n");
    CHECK(t.run({"queue", "redirect", kFirst, "--to", "x@d.example"}) == 0);
    CHECK(t.out.str() == "redirected 1 message, 2 recipients\n");
    CHECK(t.backend.orders.back().to.text() == "x@d.example");
  }

  TEST_CASE("a change by a filter says what it would do, and asks for --yes") {
    Terminal t;
    CHECK(t.run({"queue", "delete", "to:d@d.example"}) == 64);
    CHECK(t.said("messages to d@d.example\n"));
    CHECK(t.said("would delete 1 message, 1 recipient (2.1 KB), oldest 3h. Sample: " + kSecond + "\n"));
    CHECK(t.said("repeat with --yes"));
    CHECK(t.run({"queue", "delete", "--all", "--dry-run", "--yes"}) == 0);
    CHECK(t.said("all messages\nwould delete 2 messages"));
    CHECK(t.backend.changed.empty());
    CHECK(t.run({"queue", "delete", "to:d@d.example", "--yes"}) == 0);
    CHECK(t.out.str() == "deleted 1 message, 1 recipient. Undo within a day: waypost undo 77\n");
    CHECK(t.run({"queue", "delete", "to:d@d.example", "--for-good"}) == 64);
    CHECK(t.said("repeat with --yes to do it (for good; no bounces are sent)"));
    CHECK(t.run({"queue", "delete", "to:d@d.example", "--for-good", "--yes"}) == 0);
    CHECK(t.out.str() == "deleted 1 message, 1 recipient\n");
    CHECK(t.run({"queue", "retry", "--all", "--yes"}) == 0);
    CHECK(t.backend.changed.size() == 3);
    CHECK(t.run({"queue", "hold", "to:x@x.example", "--yes"}) == 1);
    CHECK(t.complained("nothing to hold"));
    CHECK(t.run({"queue", "hold", "to:x@x.example"}) == 1);
  }

  TEST_CASE("count by domain, and the shape of the queue") {
    Terminal t;
    CHECK(t.run({"queue", "count", "--by", "domain"}) == 0);
    CHECK(t.out.str() ==
          "RECIPIENTS  MESSAGES  SIZE    DOMAIN\n"
          "1           1         2.1 KB  b.example\n"
          "1           1         2.1 KB  c.example\n"
          "1           1         2.1 KB  d.example\n");
    CHECK(t.run({"queue", "count", "--by", "domain", "--limit", "1"}) == 0);
    CHECK(t.said("2           2         4.3 KB  (2 more)\n"));
    CHECK(t.run({"queue", "count", "--by", "domain", "--json", "to:d@d.example"}) == 0);
    CHECK(Json::parse(t.out.str())["key"] == "d.example");
    CHECK(t.run({"queue", "count", "--by", "domain", "to:x@x.example"}) == 1);
    CHECK(t.run({"queue", "count", "--by", "colour"}) == 64);
    CHECK(t.complained("domain, sender, error"));
    CHECK(t.run({"queue", "shape"}) == 0);
    CHECK(t.said("DOMAIN     TOTAL  <5m  <10m  <20m  <40m  <80m  <160m  <320m  <640m  <1280m  older\n"));
    CHECK(t.said("b.example  1      0    0     0     0     0     0      1      0      0       0\n"));
  }

  TEST_CASE("why: the reason that keeps a recipient, and what comes next") {
    Terminal t;
    CHECK(t.run({"why", kFirst}) == 0);
    CHECK(t.said("b@b.example waits until "));
    CHECK(t.said(" (in 10m) after 2 attempts; the last one: 4.4.1 connection timed out (mx.example[192.0.2.7]:25)\n"));
    t.backend.messages[0].recipients[0].reply = "450 4.4.1 later";
    CHECK(t.run({"why", kFirst}) == 0);
    CHECK(t.said("; the last one: 450 4.4.1 later, said mx.example[192.0.2.7]:25\n"));
    CHECK(t.said("It is given up at "));
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

  TEST_CASE("export: a folder of messages, or an mbox") {
    Terminal t;
    tests::TemporaryFolder folder;
    t.backend.body = "Subject: x\r\n\r\nFrom here\r\n>From there\r\nlast";
    CHECK(t.run({"queue", "export", "--to", folder.path() + "/all"}) == 64);
    CHECK(t.run({"queue", "export", "--all", "--to", folder.path() + "/all"}) == 0);
    CHECK(t.said("wrote 2 messages to "));
    const auto content = [](const std::string& path) {
      std::ifstream file(path);
      return std::string(std::istreambuf_iterator<char>(file), {});
    };
    CHECK((content(folder.path() + "/all/" + kFirst + ".eml") == "Received: from x\r\n" + t.backend.body));
    CHECK(Json::parse(content(folder.path() + "/all/" + kFirst + ".json"))["recipients"].size() == 2);
    CHECK(t.run({"queue", "export", "--all", "--to", folder.path() + "/all"}) == 74);  // nothing is overwritten

    const std::string mbox = folder.path() + "/one.mbox";
    CHECK(t.run({"queue", "export", kFirst, "--to", mbox}) == 0);
    CHECK((content(mbox) ==
           "From a@example.org Sun Nov 22 07:00:00 2026\nReceived: from x\nSubject: x\n\n>From here\n>>From "
           "there\nlast\n\n"));
    CHECK(t.run({"queue", "export", kFirst, "--to", mbox}) == 73);
    CHECK(t.run({"queue", "export", "to:x@x.example", "--to", folder.path() + "/none"}) == 1);
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

  TEST_CASE("completion: what may stand next") {
    CLI::App app("test", "waypost");
    Terminal t;
    add_queue(app, t.console);
    add_dest(app, t.console);
    add_completion(app, t.console);
    const LiveValues live = [](const std::string& kind) -> std::vector<std::string> {
      if (kind == "ID") return {kFirst, kSecond};
      return kind == "DOMAIN" ? std::vector<std::string>{"b.example"} : std::vector<std::string>{};
    };
    const auto of = [&](const std::vector<std::string>& words) { return candidates(app, words, live); };
    using Words = std::vector<std::string>;
    CHECK(of({""}) == Words{"completion", "dest", "queue"});
    CHECK(of({"qu"}) == Words{"queue"});
    CHECK(of({"queue", "sh"}) == Words{"shape", "show"});
    CHECK(of({"queue", "show", ""}) == Words{kFirst, kSecond});
    CHECK(of({"queue", "show", kFirst, ""}) == Words{});
    CHECK(of({"queue", "list", "--j"}) == Words{"--json"});
    CHECK(of({"queue", "show", "--ra"}) == Words{"--raw"});
    CHECK(of({"queue", "list", "ag"}) == Words{"age:"});
    CHECK(of({"queue", "list", "--limit", ""}) == Words{});
    CHECK(of({"queue", "list", "--limit", "5", "siz"}) == Words{"size:"});
    CHECK(of({"queue", "hold", "0"}) == Words{kFirst, kSecond});
    CHECK(of({"dest", "show", ""}) == Words{"b.example"});
    CHECK(of({"completion", ""}) == Words{"bash", "fish", "zsh"});
    CHECK(of({"nonsense", ""}) == Words{"completion", "dest", "queue"});
    CHECK(t.run({"complete", "--", "queue", "show", ""}) == 0);
    CHECK(t.out.str() == kFirst + "\n" + kSecond + "\n");
    t.away = Error(Errc::refused, "nobody");
    CHECK(t.run({"complete", "--", "queue", "show", ""}) == 0);
    CHECK(t.out.str().empty());
    for (const char* shell : {"bash", "zsh", "fish"}) {
      CHECK(t.run({"completion", shell}) == 0);
      CHECK(t.said("complete -- "));
    }
    CHECK(t.run({"completion", "csh"}) == 64);
  }

  TEST_CASE("health: 0 where all is well, else 1 and what is the matter") {
    Terminal t;
    CHECK(t.run({"health"}) == 0);
    CHECK(t.out.str() == "ok\n");
    t.backend.corrupt_drops = 2;
    CHECK(t.run({"health"}) == 1);
    CHECK(t.out.str() == "! 2 files of the drop folder could not be taken: look into corrupt/\n");
    CHECK(t.run({"status"}) == 0);
    CHECK(t.said("! 2 files of the drop folder"));
    t.away = Error(Errc::refused, "nobody");
    CHECK(t.run({"health"}) == 69);
  }

  TEST_CASE("what an administrator has to look at") {
    DaemonFacts facts;
    facts.config_file = "/etc/waypost/waypost.toml";
    facts.data_dir = "/var/spool/waypost";
    CHECK(alerts(facts, Disk{}).empty());
    CHECK(alerts(facts, Disk{10'000'000'000, 20'000'000'000}).empty());
    CHECK(
        alerts(facts, Disk{1'000'000'000, 20'000'000'000}).at(0).starts_with("no new mail is taken: 1.0 GB are free"));
    facts.reload_failed = true;
    facts.history_dropped = 3;
    const std::vector<std::string> all = alerts(facts, Disk{});
    REQUIRE(all.size() == 2);
    CHECK(all[0].ends_with("older than /etc/waypost/waypost.toml (waypost config check)"));
    CHECK(all[1] == "3 events of the history dropped: its disk is too slow");
  }

  TEST_CASE("undo and audit") {
    Terminal t;
    CHECK(t.run({"audit"}) == 1);
    CHECK(t.complained("nothing was changed yet"));
    CHECK(t.run({"undo", "77"}) == 0);
    CHECK(t.out.str() == "undone for 2 messages, 3 recipients (change 78)\n");
    CHECK(t.run({"undo", "76"}) == 1);
    CHECK(t.complained("there is no change 76"));
    CHECK(t.run({"undo"}) == 64);
    queue::ChangeRecord record;
    record.time = tests::kNow;
    record.what = "hold";
    record.who = "ann";
    record.meant = "from:*@\x1b.example";
    record.reason = "odd";
    record.messages = 2;
    record.recipients = 3;
    record.undone_by = 2;
    REQUIRE(t.backend.record(record));
    CHECK(t.run({"audit"}) == 0);
    CHECK(t.said("from:*@\\x1b.example"));
    CHECK(t.said("2 messages, 3 recipients  (odd) undone by 2\n"));
    CHECK(t.run({"audit", "--json"}) == 0);
    CHECK(Json::parse(t.out.str())["undone_by"] == 2);
  }

  TEST_CASE("trace: what became of a message, and what waits") {
    Terminal t;
    queue::HistoryEvent event;
    event.message = queue::Id{1000};
    event.time = tests::kNow - std::chrono::hours(3);
    event.from = "a@example.org";
    event.size = 2143;
    event.host = "192.0.2.1";
    t.backend.history.push_back(event);
    event.kind = queue::HistoryEvent::Kind::relayed;
    event.recipient = "b@b.example";
    event.host = "mx.b.example[192.0.2.7]:25";
    event.status = "2.0.0";
    event.text = "250 ok\x1b";
    event.tls = "none: not offered; opportunistic by delivery.tls";
    t.backend.history.push_back(event);
    CHECK(t.run({"trace", kFirst}) == 0);
    CHECK(t.said(kFirst + "  from <a@example.org>, 2.1 KB\n"));
    CHECK(
        t.said("relayed   b@b.example  mx.b.example[192.0.2.7]:25  2.0.0  250 ok\\x1b  "
               "tls none: not offered; opportunistic by delivery.tls\n"));
    CHECK(t.said("waits     c@c.example"));
    CHECK(t.run({"trace", kFirst, "--json"}) == 0);
    CHECK(lines(t.out.str()) == 4);
    CHECK(t.said("\"tls\":\"none: not offered; opportunistic by delivery.tls\""));
    CHECK(t.run({"trace", "--to", "nobody@b.example"}) == 1);
    CHECK(t.complained("nothing matches"));
    CHECK(t.run({"trace", "--since", "1d", "--limit", "1"}) == 0);
  }

  TEST_CASE("status: one screen") {
    Terminal t;
    CHECK(t.run({"status"}) == 0);
    CHECK(t.said("relay.example  up 1d1h   version "));
    CHECK(t.said("in     118 msg/s   accepted 1 204 881   rejected 88 120   auth failures 412/h   12 connections\n"));
    CHECK(t.said("out    0.2 rcpt/s   0 connections   0 sites   relayed 1 203 772"));
    CHECK(t.said("p50 under 0.5 ms   p99 under 2.5 s   batch"));
    CHECK(t.said("confined: user waypost, seccomp   not: landlock: this kernel has none\n"));
    CHECK(lines(t.out.str()) == 6);
    CHECK(t.run({"status", "--json"}) == 0);
    const Json json = Json::parse(t.out.str());
    CHECK(json["queue"]["messages"] == 2);
    CHECK(json["in"]["auth_failures"] == 9000);
    CHECK(json["in"]["rate"] == 118.24);
    CHECK(json["store"]["commit_p99_seconds"] == 2.5);
    CHECK(json["disk"]["reserve"].is_number_unsigned());
  }

  TEST_CASE("rates: a line for each client that has sent something") {
    Terminal t;
    CHECK(t.run({"rates"}) == 0);
    CHECK(lines(t.out.str()) == 1);
    t.backend.rate_rows = {{{"printers", ""}, Rates::Kind::messages, 1200, {5000, std::chrono::hours(24)}},
                           {{"staff", "ann\x1b"}, Rates::Kind::recipients, 3, {30, std::chrono::seconds(60)}}};
    CHECK(t.run({"rates"}) == 0);
    CHECK(lines(t.out.str()) == 3);
    CHECK(t.said("printers"));
    CHECK(t.said("5 000 messages"));
    CHECK(t.said("ann\\x1b"));
    CHECK(t.run({"rates", "--json"}) == 0);
    const Json rates = Json::parse(t.out.str())["rates"];
    CHECK(rates[0]["client"] == "");
    CHECK(rates[0]["used"] == 1200);
    CHECK(rates[1]["period"] == 60);
    CHECK(rates[1]["of"] == "recipients");
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

  TEST_CASE("reload: the findings, and 78 where the old configuration stays") {
    Terminal t;
    t.backend.report.file = "waypost.toml";
    CHECK(t.run({"reload"}) == 0);
    CHECK(t.out.str() == "reloaded waypost.toml\n");
    t.backend.report.restart = {"threads", "user"};
    t.backend.report.warnings.push_back(conf::Finding{"waypost.toml", 1, 1, "tls", "comes later", ""});
    CHECK(t.run({"reload"}) == 0);
    CHECK(t.complained("warning: waypost.toml:1:1: tls: comes later\n"));
    CHECK(t.complained("only after a restart: threads user\n"));
    t.backend.report.errors.push_back(conf::Finding{"waypost.toml", 3, 1, "x", "unknown key", ""});
    CHECK(t.run({"reload"}) == 78);
    CHECK(t.complained("error: waypost.toml:3:1: x: unknown key\n"));
    CHECK(t.out.str().empty());
  }

  TEST_CASE("classify: the rule, what is done and why, and the exit code, without a daemon") {
    Terminal t;
    t.away = Error(Errc::refused, "nobody there");
    const std::string deferred = "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred";
    CHECK(t.run({"classify", deferred}) == 0);
    CHECK(t.said("yahoo-ts: the site gets no mail for 1h\n"));
    CHECK(t.said("https://senders.yahooinc.com"));
    CHECK(t.complained("note: none.toml: cannot be read"));  // the shipped rules are left
    CHECK(t.run({"classify", "--host", "mta5.am0.yahoodns.net", deferred}) == 0);
    CHECK(t.run({"classify", "--host", "mx.b.example", deferred}) == 1);
    CHECK(t.out.str() == "no rule matches: the reply counts as its code says\n");
    CHECK(t.run({"classify", "450", "4.7.1", "Greylisted,", "come", "back", "in", "5", "minutes"}) == 0);
    CHECK(t.said("retry-after: the recipient waits for 5m, as the host asks"));
    CHECK(t.run({"classify", "450 4.7.1 Greylisted"}) == 0);
    CHECK(t.said("greylisted: the recipient waits as queue.retry says"));
    CHECK(t.run({"classify", "550 5.7.25 no name"}) == 1);
    CHECK(t.run({"classify", "--ipv6", "550 5.7.25 no name"}) == 0);
    CHECK(t.said("ipv6-name: another address is tried at once"));
    // As it went over the line, and as the log has it.
    for (const char* text : {"421-4.7.28 unusual rate of\r\n421 4.7.28 unsolicited mail originating from your IP\r\n",
                             "421 4.7.28 unusual rate of / unsolicited mail originating from your IP"}) {
      CHECK(t.run({"classify", text}) == 0);
      CHECK(t.said("google-ip-rate: the site gets less mail for 1h"));
    }
    for (const char* text : {"", "too many connections", "250 2.0.0 ok", "421-more to come", "450 a\n450 b", "99 a"}) {
      CHECK_MESSAGE(t.run({"classify", text}) == 64, text);
    }
    CHECK(t.run({"classify", "--stage", "connect", deferred}) == 64);
    CHECK(t.run({"classify"}) == 64);
  }

  TEST_CASE("classify --json") {
    Terminal t;
    CHECK(t.run({"classify", "--json", "450 4.7.1 greylisted for 60 s"}) == 0);
    const Json found = Json::parse(t.out.str());
    CHECK(found["rule"] == "retry-after");
    CHECK(found["action"] == "retry");
    CHECK(found["seconds"] == 60);
    CHECK(found["hinted"] == true);
    CHECK(found["why"].get<std::string>().starts_with("The host says when"));
    CHECK(t.run({"classify", "--json", "550 5.1.1 no such user"}) == 1);
    CHECK(t.out.str() == "{\"rule\":null}\n");
  }

  TEST_CASE("classify --rules: a file before it is used, and its mistakes") {
    tests::TemporaryFolder folder;
    const std::string file = folder.path() + "/rules.toml";
    const auto write = [&file](const std::string& more) {
      std::ofstream(file) << "[[rule]]\nname = \"mine\"\nstage = \"rcpt\"\ntext = 'dead'\ncode = \"4\"\n"
                             "action = \"fail\"\nwhy = \"\\u001b[31mGone.\"\n"
                          << more;
    };
    write("");
    Terminal t;
    CHECK(t.run({"classify", "--rules", file, "450 dead"}) == 0);
    CHECK(t.out.str() == "mine: the recipient fails\n\\x1b[31mGone.\n");
    CHECK(t.err.str().empty());
    CHECK(t.run({"classify", "--rules", file, "--stage", "rcpt", "450 dead"}) == 0);
    CHECK(t.run({"classify", "--rules", file, "--stage", "mail", "450 dead"}) == 1);
    CHECK(t.run({"classify", "--rules", file, "450 greylisted"}) == 1);  // that file alone
    CHECK(t.run({"classify", "--rules", "shipped", "450 greylisted"}) == 0);
    CHECK(t.run({"classify", "--rules", "shipped", "450 dead"}) == 1);
    write("for = \"1m\"\n");
    CHECK(t.run({"classify", "--rules", file, "450 dead"}) == 78);
    CHECK(t.complained("error: " + file + ":8:"));
    CHECK(t.complained("rule[1].for: has no meaning with \"fail\""));
    CHECK(t.run({"classify", "--rules", folder.path() + "/none", "450 dead"}) == 66);
    CHECK(t.run({"classify", "--rules", folder.path(), "450 dead"}) == 66);
  }

  TEST_CASE("every verb has a --help with an example") {
    Terminal t;
    CLI::App app("test", "waypost");
    add_status(app, t.console);
    add_queue(app, t.console);
    add_trace(app, t.console);
    add_classify(app, t.console);
    add_config(app, t.console);
    add_reload(app, t.console);
    const std::function<void(CLI::App*)> check = [&check](CLI::App* verb) {
      CAPTURE(verb->get_name());
      CHECK(verb->get_footer().find("Example: waypost ") == 0);
      for (CLI::App* below : verb->get_subcommands([](CLI::App* each) { return !each->get_name().empty(); }))
        check(below);
    };
    for (CLI::App* verb : app.get_subcommands([](CLI::App*) { return true; })) check(verb);
  }

  TEST_CASE("store check: one screen, and 1 if it found something") {
    Terminal t;
    t.backend.checked.messages = 1204;
    CHECK(t.run({"store", "check"}) == 0);
    CHECK(t.said("1 204 messages"));
    CHECK(t.said("clean"));
    t.backend.checked.left_over = 2;
    CHECK(t.run({"store", "check"}) == 0);
    CHECK(t.said("2 spool files of no message"));
    for (int i = 0; i < 100; ++i)
      t.backend.checked.add(queue::Finding::Kind::body, queue::Id{1000}, "body of \x1b[31m: damaged");
    CHECK(t.run({"store", "check"}) == 1);
    CHECK(t.said("100 findings"));
    CHECK(t.said("and 70 more"));
    CHECK(t.said("store salvage --in-place"));
    CHECK(!t.said("\x1b"));
    CHECK(lines(t.out.str()) < 40);
    CHECK(t.run({"store", "check", "--json"}) == 1);
    CHECK(lines(t.out.str()) == 1);
    CHECK(Json::parse(t.out.str())["findings"].size() == 100);
    CHECK(t.run({"store", "check", "/no/such/folder"}) == 66);
  }

  TEST_CASE("store backup: the daemon gets an absolute path, and what is in the way is 73") {
    Terminal t;
    CHECK(t.run({"store", "backup", "monday", "--json"}) == 0);
    CHECK(Json::parse(t.out.str())["folder"] == (std::filesystem::current_path() / "monday").string());
    CHECK(t.run({"store", "backup", "/srv/b"}) == 0);
    CHECK(t.said("2 messages, 3 recipients"));
    t.backend.failure = Error(Errc::exists, "/srv/b is there already");
    CHECK(t.run({"store", "backup", "/srv/b"}) == 73);
    t.backend.failure = Error(Errc::denied, "making the folder /srv/b.partial: Permission denied");
    CHECK(t.run({"store", "backup", "/srv/b"}) == 77);
  }

  TEST_CASE("store restore and salvage, on the files") {
    tests::QueueFixture f;
    for (int i = 0; i < 3; ++i) f.accept(f.message("s@a.example", {"r@b.example"}));
    tests::TemporaryFolder outside;
    const std::string backup = outside.path() + "/b";
    REQUIRE(f.run(f.queue->back_up(f.runtime, backup, std::stop_token(), nullptr)));
    Terminal t;
    t.data_dir = f.folder.path();
    CHECK(t.run({"store", "restore", backup}) == 73);
    CHECK(t.complained("in use by pid"));
    CHECK(t.complained("stop the daemon first"));
    CHECK(t.run({"store", "salvage", "--in-place"}) == 73);
    f.close();
    CHECK(t.run({"store", "check", backup}) == 0);
    CHECK(t.run({"store", "restore", backup}) == 73);
    CHECK(t.complained("holds 3 messages"));
    CHECK(t.run({"store", "restore", backup, "--force"}) == 0);
    CHECK(t.said("restored 3 messages"));
    CHECK(t.said("delivered again"));
    CHECK(t.said("queue.db.before-restore"));
    CHECK(t.run({"store", "restore", outside.path() + "/none"}) == 66);
    CHECK(t.run({"store", "salvage", outside.path() + "/new"}) == 0);
    CHECK(t.said("3 messages"));
    CHECK(t.run({"store", "salvage", outside.path() + "/new"}) == 73);

    // A damaged backup stays one.
    std::filesystem::resize_file(backup + "/queue.db", 8192);
    CHECK(t.run({"store", "restore", backup}) == 1);
    CHECK(t.complained("nothing was restored"));
    CHECK(t.run({"store", "restore", backup, "--force"}) == 74);  // too little of it is left
    t.data_dir = backup;
    CHECK(t.run({"store", "salvage", "--in-place"}) == 0);
    CHECK(t.said("queue.db.damaged"));
  }
}
