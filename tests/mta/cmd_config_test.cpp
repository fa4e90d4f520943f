// `waypost config ...`.
#include "mta/cmd_config.h"

#include <fstream>

#include <doctest/doctest.h>

#include "conf/load.h"
#include "tests/mta/terminal.h"
#include "tests/support/temporary_folder.h"

namespace waypost::mta {

TEST_SUITE("mta/cmd_config") {
  TEST_CASE("config check looks at rules about replies") {
    tests::TemporaryFolder folder;
    std::ofstream(folder.path() + "/rules.toml") << "[[rule]]\nnam = \"x\"\n";
    std::ofstream(folder.path() + "/waypost.toml")
        << "hostname = \"relay.example.net\"\n[[listener]]\naddress = \"127.0.0.1:25\"\n"
           "[delivery]\nreply_rules = [\"" +
               folder.path() + "/rules.toml\"]\n";
    Terminal t;
    CHECK(t.run({"config", "check", folder.path() + "/waypost.toml"}) == 78);
    CHECK(t.said("error: " + folder.path() + "/rules.toml:2:1: rule[1].nam: unknown key (did you mean \"name\"?)"));
  }

  TEST_CASE("values are whole, and as TOML has them") {
    Terminal t;
    tests::TemporaryFolder folder;
    t.file = folder.path() + "/waypost.toml";
    const std::string text = std::string(300, 'x') + " \\\\ \\\"quoted\\\" " + std::string(50, 'y');
    std::ofstream(t.file) << "hostname = \"relay.example\"\n[[listener]]\naddress = \"127.0.0.1:25\"\n"
                             "[[route]]\nmatch = \"*\"\nnext_hop = \"reject:" +
                                 text + "\"\n";
    CHECK(t.run({"config", "show", "route.next_hop"}) == 0);
    CHECK(t.out.str() == "route[1].next_hop = \"reject:" + text + "\"\n");
    CHECK(t.run({"config", "get", "route.next_hop"}) == 0);
    CHECK(t.out.str() == "reject:" + std::string(300, 'x') + " \\ \"quoted\" " + std::string(50, 'y') + "\n");

    ConfigEpochs epochs;
    const std::string long_value(100'000, 'z');
    CHECK(epochs.adopt("f", {{"a", long_value, ""}}, tests::kNow) == 1);
    CHECK(epochs.adopt("f", {{"a", long_value, ""}}, tests::kNow) == 1);
    CHECK(epochs.adopt("f", {{"a", long_value + "z", ""}}, tests::kNow) == 2);
    CHECK(epochs.text().size() < 1000);
    for (int i = 0; i < 300; ++i) epochs.adopt("f", {{"a", std::to_string(i), ""}}, tests::kNow);
    CHECK(epochs.all().size() == ConfigEpochs::kMost);
    CHECK(epochs.all().back().number == 302);
    CHECK(epochs.find(1) == nullptr);
  }

  TEST_CASE("config check asks no daemon") {
    Terminal t;
    t.away = Error(Errc::refused, "nobody");
    CHECK(t.run({"config", "check", "conf/waypost.toml"}) == 0);
    CHECK(t.said("conf/waypost.toml: no errors"));
    CHECK(t.run({"config", "check"}) == 78);
    CHECK(t.said("error: none.toml: cannot be read"));
    CHECK(t.run({"config", "check", "none.toml", "--json"}) == 78);
    CHECK(Json::parse(t.out.str())["severity"] == "error");
  }

  TEST_CASE("config show, get, explain: what the file sets, and where") {
    Terminal t;
    tests::TemporaryFolder folder;
    t.file = folder.path() + "/waypost.toml";
    std::ofstream(t.file) << "hostname = \"relay.example\"\n[[listener]]\naddress = \"127.0.0.1:25\"\n"
                             "[[listener]]\naddress = \"127.0.0.1:587\"\nrole = \"submission\"\n"
                             "[queue]\nretry = [\"1m\", \"5m\"]\n";
    CHECK(t.run({"config", "show"}) == 0);
    CHECK(t.out.str() ==
          "hostname = \"relay.example\"\nlistener[1].address = \"127.0.0.1:25\"\n"
          "listener[2].address = \"127.0.0.1:587\"\nlistener[2].role = \"submission\"\n"
          "queue.retry = [\"1m\", \"5m\"]\n");
    CHECK(t.run({"config", "show", "listener.role", "--origin"}) == 0);
    CHECK(t.out.str() ==
          "listener[1].role = \"mx\"  # default\nlistener[2].role = \"submission\"  # " + t.file + ":6:8\n");
    CHECK(t.run({"config", "show", "--all"}) == 0);
    CHECK(t.said("\nthreads = 0\n"));
    CHECK(t.said("\nqueue.expire = \"5d\"\n"));
    CHECK(t.said("\nlistener[1].tls = (not set)\n"));
    CHECK(t.said("\ndelivery.tls = \"opportunistic\"\n"));
    CHECK(t.said("\ndelivery.reply_rules = [\"shipped\"]\n"));
    CHECK(t.run({"config", "show", "queue.expir"}) == 64);
    CHECK(t.complained("did you mean queue.expire?"));
    CHECK(t.run({"config", "get", "listener.address"}) == 0);
    CHECK(t.out.str() == "127.0.0.1:25\n127.0.0.1:587\n");
    CHECK(t.run({"config", "get", "listener[2].role"}) == 0);
    CHECK(t.out.str() == "submission\n");
    CHECK(t.run({"config", "get", "route.match"}) == 1);
    CHECK(t.run({"config", "show", "route.match"}) == 1);
    CHECK(t.run({"config", "show", "client"}) == 1);
    CHECK(t.run({"config", "get", "colour"}) == 64);
    CHECK(t.run({"config", "explain", "queue.expire"}) == 0);
    CHECK(t.said("queue.expire: default \"5d\"\nnot set in "));
    CHECK(t.run({"config", "explain", "queue.retry"}) == 0);
    CHECK(t.said("set: queue.retry = [\"1m\", \"5m\"]  # " + t.file + ":8:9\n"));
  }

  TEST_CASE("config diff: what a reload would change; and between configurations that were in force") {
    Terminal t;
    tests::TemporaryFolder folder;
    t.file = folder.path() + "/waypost.toml";
    std::ofstream(t.file) << "hostname = \"relay.example\"\n[[listener]]\naddress = \"127.0.0.1:25\"\n";
    CHECK(t.backend.configurations.adopt("f", conf::load(t.file).settings, tests::kNow) == 1);
    CHECK(t.run({"config", "diff"}) == 0);
    std::ofstream(t.file, std::ios::app) << "[queue]\nexpire = \"1d\"\n[admin]\n";
    CHECK(t.run({"config", "diff"}) == 1);
    CHECK(t.out.str() == "- queue.expire = \"5d\"\n+ queue.expire = \"1d\"\n");
    CHECK(t.backend.configurations.adopt("f", conf::load(t.file).settings, tests::kNow) == 2);
    CHECK(t.backend.configurations.adopt("f", conf::load(t.file).settings, tests::kNow) == 2);
    CHECK(t.run({"config", "diff"}) == 0);
    CHECK(t.run({"config", "diff", "2", "1"}) == 1);
    CHECK(t.out.str() == "- queue.expire = \"1d\"\n+ queue.expire = \"5d\"\n");
    CHECK(t.run({"config", "diff", "1"}) == 1);
    CHECK(t.run({"config", "diff", "7"}) == 66);
    CHECK(t.complained("configuration 7 is not known"));
    CHECK(t.run({"config", "epochs"}) == 0);
    CHECK(t.out.str().find("EPOCH  SINCE") == 0);
    const mta::ConfigEpochs again = mta::ConfigEpochs::parse(t.backend.configurations.text());
    CHECK(again.text() == t.backend.configurations.text());
    CHECK(mta::ConfigEpochs::parse("no json").all().empty());
  }
}
}  // namespace waypost::mta
