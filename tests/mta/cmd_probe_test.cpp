#include "mta/cmd_probe.h"

#include <algorithm>
#include <chrono>
#include <string>

#include <doctest/doctest.h>

#include "base/dialogue.h"
#include "tests/mta/terminal.h"

namespace waypost::mta {

namespace {

delivery::ProbedHost host_of(const char* name, const char* address) {
  delivery::ProbedHost host;
  host.preference = 10;
  host.peer.name = name;
  host.peer.address = *net::Address::parse(address, 25);
  host.took = std::chrono::milliseconds(45);
  return host;
}

}  // namespace

TEST_SUITE("cmd_probe") {
  TEST_CASE("probe: each host, ready or why not") {
    Terminal t;
    delivery::Probe& probe = t.backend.probe_result;
    probe.found.plan.key = "10 mx1.b.example:25";
    probe.hosts = {host_of("mx1.b.example", "192.0.2.7"), host_of("mx2.b.example", "192.0.2.8")};
    probe.hosts[0].ready = true;
    probe.hosts[0].offered.size = true;
    probe.hosts[0].tls.policy.source = "delivery.tls";
    probe.hosts[0].tls.policy.level = conf::TlsLevel::opportunistic;
    probe.hosts[0].tls.why = "not offered";
    dialogue::Line said;
    said.voice = dialogue::Voice::peer;
    said.text = "220 mx1.b.example \x1b[31m";
    probe.hosts[0].dialogue = {said};
    probe.hosts[1].failure.status = "4.4.1";
    probe.hosts[1].failure.reason = "connection refused";
    CHECK(t.run({"probe", "B.example"}) == 0);
    CHECK(t.backend.probed == "b.example");
    CHECK(t.out.str() ==
          "10 mx1.b.example[192.0.2.7]:25  ready for mail in 45 ms\n"
          "  TLS                           none: not offered; opportunistic by delivery.tls\n"
          "  offers                        SIZE\n"
          "10 mx2.b.example[192.0.2.8]:25  4.4.1 connection refused (after 45 ms)\n");
    CHECK(t.run({"probe", "b.example", "--dialogue"}) == 0);
    CHECK(t.said("< 220 mx1.b.example \\x1b[31m\n"));
    CHECK(t.run({"probe", "b.example", "--to", "smtp:[192.0.2.9]:587"}) == 0);
    CHECK(t.backend.probed == "b.example/smtp:[192.0.2.9]:587");
    CHECK(t.run({"probe", "b.example", "--to", "nonsense"}) == 64);
    CHECK(t.run({"probe", "b.example", "--json"}) == 0);
    CHECK(Json::parse(t.out.str())["hosts"][1]["status"] == "4.4.1");
    probe.hosts.erase(probe.hosts.begin());
    CHECK(t.run({"probe", "b.example"}) == 1);
    probe = {};
    probe.found.trouble.status = "4.4.3";
    probe.found.trouble.reason = "no answer from the DNS";
    CHECK(t.run({"probe", "b.example"}) == 1);
    CHECK(t.out.str() == "b.example: 4.4.3 no answer from the DNS\n");
  }

  TEST_CASE("watch: what is said from now on, of whom is asked for") {
    Terminal t;
    int asked = 0;
    const auto talk = [&] {
      if (asked++ > 0) {
        t.away = Error{Errc::refused, "over"};
        return;
      }
      dialogue::Line line;
      line.connection = 7;
      line.inbound = true;
      line.peer = "unknown[192.0.2.1]";
      line.address = "192.0.2.1";
      line.voice = dialogue::Voice::peer;
      line.text = "EHLO c.example";
      dialogue::note(line);
      line.address = "198.51.100.1";
      line.text = "EHLO other.example";
      dialogue::note(line);
    };
    WatchOptions options;
    options.peer = "192.0.2.0/24";
    options.in = true;
    CHECK(watch(options, t.console, talk) == 69);
    CHECK(t.said(" #7 in unknown[192.0.2.1] < EHLO c.example\n"));
    CHECK(!t.said("other.example"));
    options.peer = "nonsense";
    t.away.reset();
    CHECK(watch(options, t.console, talk) == 64);
  }

  TEST_CASE("watch: ends when its time is over, and does not wait while there are more lines") {
    Terminal t;
    net::WallTime now = tests::kNow;
    t.console.now = [&now] { return now; };
    int slept = 0;
    const auto talk = [&] {
      if (++slept > 1) return;
      dialogue::Line line;
      for (std::size_t i = 0; i < ControlApi::kMaxWatched + 1; ++i) dialogue::note(line);
      now += std::chrono::minutes(6);
    };
    WatchOptions options;
    options.time = "5m";
    options.json = true;
    CHECK(watch(options, t.console, talk) == 0);
    const std::string out = t.out.str();
    CHECK(static_cast<std::size_t>(std::count(out.begin(), out.end(), '\n')) == ControlApi::kMaxWatched);
    CHECK(slept == 1);
  }
}

}  // namespace waypost::mta
