#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <unistd.h>

#include "tests/mta/terminal.h"
#include "tests/support/temporary_folder.h"

namespace waypost::mta {
namespace {

/// A relay that takes all, unless a test says otherwise.
struct Importing {
  Terminal t;
  tests::TemporaryFolder folder;
  std::string from = folder.path() + "/export";
  std::vector<smtp::Envelope> envelopes;
  std::vector<std::string> contents;
  std::function<Submitted(const Submission&)> take = [](const Submission& submission) {
    Submitted all;
    all.taken = submission.envelope.recipients;
    return all;
  };

  Importing() {
    t.console.submit = [this](const Submission& submission) {
      CHECK(submission.counted);
      envelopes.push_back(submission.envelope);
      std::string content(*submission.envelope.size, '\0');
      CHECK(::pread(submission.content, content.data(), content.size(), 0) == static_cast<ssize_t>(content.size()));
      contents.push_back(std::move(content));
      return take(submission);
    };
  }
  void export_all() { REQUIRE(t.run({"queue", "export", "--all", "--to", from}) == 0); }
  int import(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"queue", "import", "--from", from};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return t.run(arguments);
  }
  bool has(const std::string& name) const { return std::filesystem::exists(from + "/" + name); }
};

}  // namespace

TEST_SUITE("mta/cmd_queue_import") {
  TEST_CASE("what an export wrote comes back with its envelope, octet for octet, and once") {
    Importing i;
    queue::MessageRow& first = i.t.backend.messages[0];
    first.info.envid = "QQ+2B1";
    first.info.ret = smtp::Ret::headers;
    first.info.body = smtp::BodyType::eight_bit_mime;
    first.info.smtputf8 = first.info.require_tls = true;
    first.recipients[0].notify.bits = smtp::Notify::kSuccess | smtp::Notify::kDelay;
    first.recipients[0].orcpt = "rfc822;x@b.example";
    first.recipients[1].notify.bits = smtp::Notify::kNever;
    i.export_all();
    CHECK(i.import({"--dry-run"}) == 0);
    CHECK(i.t.said("would import 2 messages for 3 recipients"));
    CHECK(i.envelopes.empty());
    CHECK(i.import() == 0);
    CHECK(i.t.said("imported 2 messages for 3 recipients"));
    REQUIRE(i.envelopes.size() == 2);
    CHECK((i.contents[0] == "Received: from x\r\n" + i.t.backend.body));
    CHECK(mail_command(i.envelopes[0]) == "MAIL FROM:<a@example.org> SIZE=" + std::to_string(i.contents[0].size()) +
                                              " BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=QQ+2B1");
    CHECK(rcpt_command(i.envelopes[0].recipients[0]) ==
          "RCPT TO:<b@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@b.example");
    CHECK(rcpt_command(i.envelopes[0].recipients[1]) == "RCPT TO:<c@c.example> NOTIFY=NEVER");
    CHECK(i.envelopes[1].reverse_path.is_null());
    CHECK(i.has(kFirst + ".json.imported"));
    CHECK(i.has(kFirst + ".eml.imported"));
    CHECK(i.import() == 1);
    CHECK(i.t.complained("was imported before"));
    CHECK(i.envelopes.size() == 2);
  }

  TEST_CASE("trouble with one is said, the others go on, and the next run takes what is left") {
    Importing i;
    i.export_all();
    i.take = [](const Submission& submission) {
      Submitted said;
      for (const smtp::EnvelopeRecipient& each : submission.envelope.recipients) {
        if (each.forward_path.mailbox.domain == "b.example")
          said.refused.push_back({each.forward_path.text(), smtp::reply::relay_denied()});
        else
          said.taken.push_back(each);
      }
      return said;
    };
    CHECK(i.import() == 2);
    CHECK(i.t.complained(kFirst + ": <b@b.example> refused: "));
    CHECK(i.t.said("imported 2 messages for 2 recipients"));
    CHECK(i.has(kFirst + ".json"));
    CHECK(i.has(kFirst + ".eml"));
    CHECK(i.has(kSecond + ".json.imported"));
    i.take = Importing().take;
    CHECK(i.import() == 0);
    REQUIRE(i.envelopes.size() == 3);
    REQUIRE(i.envelopes[2].recipients.size() == 1);
    CHECK(i.envelopes[2].recipients[0].forward_path.text() == "b@b.example");
    CHECK(i.has(kFirst + ".json.imported"));
  }

  TEST_CASE("no reply to the end of the content: nothing is sent twice without a person's word") {
    Importing i;
    i.export_all();
    i.take = [](const Submission& submission) {
      Submitted said;
      said.left = submission.envelope.recipients;
      said.in_doubt = true;
      return said;
    };
    CHECK(i.import() == 2);
    CHECK(i.t.complained("is not known"));
    CHECK(i.has(kFirst + ".json.importing"));
    i.take = Importing().take;
    CHECK(i.import() == 2);
    CHECK(i.envelopes.size() == 2);
    std::filesystem::rename(i.from + "/" + kFirst + ".json.importing", i.from + "/" + kFirst + ".json");
    CHECK(i.import() == 2);
    CHECK(i.envelopes.size() == 3);
    CHECK(i.has(kFirst + ".json.imported"));
    CHECK(i.has(kSecond + ".json.importing"));
  }

  TEST_CASE("held recipients stay unless they are to be released") {
    Importing i;
    i.t.backend.messages[0].recipients[1].state = queue::State::held;
    i.export_all();
    CHECK(i.import() == 2);
    CHECK(i.t.complained("1 recipient is held"));
    CHECK(i.envelopes[0].recipients.size() == 1);
    CHECK(i.has(kFirst + ".json"));
    CHECK(i.import({"--release"}) == 0);
    REQUIRE(i.envelopes.size() == 3);
    CHECK(i.envelopes[2].recipients[0].forward_path.text() == "c@c.example");
    CHECK(i.has(kFirst + ".eml.imported"));
  }

  TEST_CASE("a daemon that puts off is not asked ten thousand times, and loses nothing") {
    Importing i;
    for (std::uint64_t id = 3000; id < 3020; ++id) i.t.backend.add(queue::Id{id}, "a@example.org", {"b@b.example"});
    i.export_all();
    i.take = [](const Submission& submission) {
      Submitted said;
      said.left = submission.envelope.recipients;
      said.why_left = "452 no room";
      return said;
    };
    CHECK(i.import() == 2);
    CHECK(i.envelopes.size() == 10);
    CHECK(i.t.complained("put off: 452 no room"));
    i.take = Importing().take;
    CHECK(i.import() == 0);
    CHECK(i.t.said("imported 22 messages"));
  }

  TEST_CASE("files that are no export's") {
    Importing i;
    CHECK(i.import() == 66);
    i.export_all();
    const auto damage = [&i](const std::string& name, const std::string& text) {
      std::ofstream(i.from + "/" + name) << text;
    };
    for (const char* bad :
         {"", "[]", "{", R"({"from":"a b@c\r\nRSET"})", R"({"from":"a@b.example","envid":"x y"})",
          R"({"from":"a@b.example","recipients":[{"address":"x","state":"deferred"}]})",
          R"({"from":"a@b.example","recipients":[]})", R"({"from":1,"recipients":[1,{"state":{}}]})"}) {
      CAPTURE(bad);
      damage(kFirst + ".json", bad);
      std::filesystem::remove(i.from + "/" + kSecond + ".json");
      CHECK(i.import() == 2);
      CHECK(i.t.complained(kFirst + ": "));
      CHECK(i.envelopes.empty());
    }
    damage("one.mbox", "From a@b.example\n\n");
    i.from += "/one.mbox";
    CHECK(i.import() == 64);
    CHECK(i.t.complained("an mbox has no envelopes"));
  }

  TEST_CASE("who may not use the control socket imports nothing") {
    Importing i;
    i.export_all();
    i.t.away = Error(Errc::denied, "why");
    CHECK(i.import() == 77);
    CHECK(i.envelopes.empty());
    CHECK(i.has(kFirst + ".json"));
  }
}

}  // namespace waypost::mta
