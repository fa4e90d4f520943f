// tests/mta/cmd_test.cpp: what the tool's verbs have in common, and those that have no file of their own, with the real
// handlers behind and no daemon.
#include <algorithm>
#include <limits>
#include <string>

#include <doctest/doctest.h>

#include "mta/alerts.h"
#include "mta/output.h"
#include "tests/mta/terminal.h"
#include "tests/support/temporary_folder.h"

using namespace waypost;
using namespace waypost::mta;

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
    facts = {};
    facts.lately.dns_unanswered = 2;
    facts.lately.dns_silence = std::chrono::hours(3);
    CHECK(alerts(facts, Disk{}).empty());
    facts.lately.dns_unanswered = 41;
    CHECK(alerts(facts, Disk{}).at(0).starts_with("no name server has answered for 3h, 41 questions: "));
    facts.lately.dns_silence = std::chrono::seconds(59);
    CHECK(alerts(facts, Disk{}).empty());
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
    CHECK(json["queue"]["oldest_for"] == "b.example");
    CHECK(json["held"].empty());
    t.backend.commit_p99 = std::numeric_limits<double>::infinity();
    CHECK(t.run({"status"}) == 0);
    CHECK(t.said("p50 under 0.5 ms   p99 over 5 s   batch"));
  }
  TEST_CASE("status names what is held") {
    Terminal t;
    for (int i = 0; i < 5; ++i) {
      queue::DestinationRow row;
      row.state.name = "d" + std::to_string(i) + ".example";
      row.state.held_until = tests::kNow + std::chrono::hours(i);  // the first is not held any more
      row.state.held_reason = i == 1 ? "421 \x1bstorm" : "";
      t.backend.destination_rows.push_back(row);
    }
    CHECK(t.run({"status"}) == 0);
    CHECK(
        t.said("! held: d1.example for 1h: 421 \\x1bstorm, d2.example for 2h, d3.example for 3h, and 1 more "
               "(waypost dest list)\n"));
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
}
