// tests/mta/cmd_queue_test.cpp: waypost queue, undo and audit, with the real handlers behind and no daemon.
#include "mta/cmd_queue.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#include <doctest/doctest.h>

#include "mta/cmd_audit.h"
#include "mta/output.h"
#include "tests/mta/terminal.h"
#include "tests/support/temporary_folder.h"

using namespace waypost;
using namespace waypost::mta;

TEST_SUITE("mta/cmd_queue") {
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
    CHECK(t.run({"queue", "list", "--sort", "size", "--limit", "1", "--json"}) == 0);
    CHECK(lines(t.out.str()) == 1);
    CHECK(t.run({"queue", "list", "--sort", "age", "--after", kFirst, "--json"}) == 0);
    CHECK(!t.said(kFirst));
    CHECK(t.run({"queue", "list", "--sort", "size", "--after", kFirst}) == 64);
    CHECK(t.run({"queue", "list", "--sort", "date"}) == 64);
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
    CHECK(t.run({"queue", "shape"}) == 0);
    CHECK(t.said("DOMAIN     TOTAL  <5m  <10m  <20m  <40m  <80m  <160m  <320m  <640m  <1280m  older\n"));
    CHECK(t.said("b.example  1      0    0     0     0     0     0      1      0      0       0\n"));
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
}
