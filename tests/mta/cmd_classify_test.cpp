// tests/mta/cmd_classify_test.cpp: waypost classify, with the real handlers behind and no daemon.
#include "mta/cmd_classify.h"

#include <fstream>
#include <string>

#include <doctest/doctest.h>

#include "tests/mta/terminal.h"
#include "tests/support/temporary_folder.h"

using namespace waypost;
using namespace waypost::mta;

TEST_SUITE("mta/cmd_classify") {
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
    CHECK(t.out.str() == "{\"schema\":1,\"rule\":null}\n");
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
}
