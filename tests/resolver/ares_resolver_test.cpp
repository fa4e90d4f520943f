#include "resolver/ares_resolver.h"

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

#include <doctest/doctest.h>
#include <unistd.h>

#include "base/metrics.h"
#include "net/scope.h"
#include "resolver/ares_settings.h"
#include "resolver/dns_answer.h"
#include "tests/support/hostile_dns.h"

namespace waypost::resolver {

using namespace waypost::tests;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

/// Long where an answer comes, so that a busy machine does not fail a test.
constexpr milliseconds kPatient{20'000};
constexpr milliseconds kShort{60};

conf::Config::Resolver config_of(std::vector<conf::HostPort> servers, milliseconds timeout, int tries = 2) {
  conf::Config::Resolver config;
  config.servers = std::move(servers);
  config.timeout = timeout;
  config.tries = tries;
  return config;
}

/// A port on which nobody listens.
conf::HostPort closed_port() {
  std::uint16_t port = 0;
  {
    HostileDns gone([](const Query&) { return std::vector<Octets>(); });
    port = gone.port();
  }
  return {"127.0.0.1", port};
}

Packet reply_to(const Query& query, unsigned rcode = 0) {
  Packet packet(query.name, query.type, rcode);
  packet.id(query.id);
  return packet;
}
Octets mx_reply(const Query& query) {
  Packet packet = reply_to(query);
  packet.answer(pointer(kQuestionAt), kTypeMx, 300, mx_data(10, wire_name("mx." + query.name)));
  return packet.octets();
}
/// As it goes out by UDP or TCP.
std::vector<Octets> say(const Query& query, const Octets& message) {
  return {query.tcp ? framed(message) : message};
}
std::vector<Octets> say_mx(const Query& query) {
  return say(query, mx_reply(query));
}
std::vector<Octets> say_nothing(const Query&) {
  return {};
}

/// A loop with a resolver, and what was answered to questions asked one after the other.
class Harness {
 public:
  explicit Harness(const conf::Config::Resolver& config, AresSettings settings = {})
      : runtime_(net::LoopRuntime::create()),
        scope_(*runtime_, [](std::string_view text) { FAIL(std::string(text)); }) {
    auto made = make_ares_resolver(*runtime_, config, std::move(settings));
    REQUIRE(made);
    resolver_ = std::move(*made);
  }

  /// Asks for the MX of each name; the next when the one before is answered.
  std::vector<Answer<Mx>> ask(std::vector<std::string> names) {
    std::vector<Answer<Mx>> answers;
    run(ask_in_turn(*resolver_, std::move(names), answers));
    return answers;
  }
  Answer<Mx> ask(std::string name) { return ask(std::vector<std::string>{std::move(name)}).at(0); }

  /// Asks all at once.
  std::vector<Answer<Mx>> ask_together(const std::vector<std::string>& names) {
    std::vector<Answer<Mx>> answers;
    run(ask_all(names, answers));
    return answers;
  }

  /// Runs to the end of the task, which ends the resolver and the loop. Once.
  void run(net::Task<> task) {
    scope_.spawn(then_stop(std::move(task)));
    runtime_->run();
    CHECK(scope_.running() == 0);
  }
  Resolver& resolver() { return *resolver_; }
  net::LoopRuntime& runtime() { return *runtime_; }
  net::Scope& scope() { return scope_; }

  static net::Task<> ask_in_turn(Resolver& resolver, std::vector<std::string> names, std::vector<Answer<Mx>>& into) {
    for (const std::string& name : names) {
      Answer<Mx> answer = co_await resolver.mx(name);
      into.push_back(answer);
    }
  }

 private:
  net::Task<> ask_all(std::vector<std::string> names, std::vector<Answer<Mx>>& into) {
    net::Scope questions(*runtime_, [](std::string_view text) { FAIL(std::string(text)); });
    for (const std::string& name : names) {
      std::vector<std::string> one(1, name);
      questions.spawn(ask_in_turn(*resolver_, std::move(one), into));
    }
    co_await questions.drained();
  }
  net::Task<> then_stop(net::Task<> task) {
    co_await task;
    resolver_->stop();
    runtime_->stop();
  }

  std::unique_ptr<net::LoopRuntime> runtime_;
  net::Scope scope_;
  std::unique_ptr<Resolver> resolver_;
};

net::Task<> ask_both(Resolver& resolver, std::string host, Answer<net::Address>& a, Answer<net::Address>& aaaa) {
  a = co_await resolver.a(host);
  aaaa = co_await resolver.aaaa(host);
}

class TemporaryFile {
 public:
  TemporaryFile() {
    char name[] = "/tmp/waypost-resolv-XXXXXX";
    int file = mkstemp(name);
    REQUIRE(file >= 0);
    close(file);
    path_ = name;
  }
  ~TemporaryFile() { std::remove(path_.c_str()); }
  void write(const std::string& text) const { std::ofstream(path_, std::ios::trunc) << text; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

TEST_SUITE("resolver/ares_resolver") {
  TEST_CASE("a question by UDP") {
    HostileDns server(say_mx);
    Harness h(config_of({server.address()}, kPatient));
    Answer<Mx> answer = h.ask("A.Example.");
    CHECK(answer.status == Status::found);
    CHECK(answer.records == std::vector<Mx>{{10, "mx.a.example"}});
    CHECK(answer.valid_until > h.runtime().now() + seconds(200));
    std::vector<Query> queries = server.queries();
    REQUIRE(queries.size() == 1);
    CHECK(queries[0].name == "a.example");
    CHECK_FALSE(queries[0].tcp);
    CHECK(queries[0].edns);
  }

  TEST_CASE("addresses of both families") {
    HostileDns server([](const Query& query) {
      Packet packet = reply_to(query);
      packet.answer(pointer(kQuestionAt), query.type, 60,
                    address_data(query.type == kTypeA ? "192.0.2.1" : "2001:db8::1"));
      return say(query, packet.octets());
    });
    Harness h(config_of({server.address()}, kPatient));
    Answer<net::Address> a;
    Answer<net::Address> aaaa;
    h.run(ask_both(h.resolver(), "h.example", a, aaaa));
    REQUIRE(a.status == Status::found);
    REQUIRE(aaaa.status == Status::found);
    CHECK(a.records[0].text() == "192.0.2.1:0");
    CHECK(aaaa.records[0].host() == "2001:db8::1");
  }

  TEST_CASE("a truncated answer is asked for again by TCP [RFC 7766 5]") {
    HostileDns server([](const Query& query) {
      if (query.tcp) return say_mx(query);
      return say(query, reply_to(query).flags(0x0200).octets());
    });
    Harness h(config_of({server.address()}, kPatient));
    CHECK(h.ask("a.example").records == std::vector<Mx>{{10, "mx.a.example"}});
    REQUIRE(server.queries().size() == 2);
    CHECK(server.queries()[1].tcp);
  }

  TEST_CASE("garbage, other ids and other questions are passed over [C7]") {
    HostileDns server([](const Query& query) {
      Query poisoned = query;
      poisoned.id = query.id ^ 1;
      Query other = query;
      other.name = "b.example";
      Octets evil = Packet(query.name, kTypeMx)
                        .id(poisoned.id)
                        .answer(query.name, kTypeMx, 60, mx_data(1, wire_name("evil.example")))
                        .octets();
      return std::vector<Octets>{{}, {0xff}, Octets(600, 0x41), evil, mx_reply(other), mx_reply(query)};
    });
    Harness h(config_of({server.address()}, kPatient));
    CHECK(h.ask("a.example").records == std::vector<Mx>{{10, "mx.a.example"}});
    CHECK(server.queries().size() == 1);
  }

  TEST_CASE("an answer that does not parse is server_failed, not a no [C7]") {
    HostileDns server([](const Query& query) {
      Octets message = reply_to(query).answer(query.name, kTypeMx, 60, {0}).octets();
      return say(query, message);
    });
    Harness h(config_of({server.address()}, kPatient));
    Answer<Mx> answer = h.ask("a.example");
    CHECK(answer.status == Status::server_failed);
    CHECK(answer.detail == "malformed answer from " + server.text());
  }

  TEST_CASE("SERVFAIL and its like of the only server are said, and not asked again") {
    struct {
      unsigned rcode;
      const char* want;
    } cases[] = {{2, "SERVFAIL from "}, {4, "NOTIMP from "}, {5, "REFUSED from "}};
    for (const auto& one : cases) {
      HostileDns server([&](const Query& query) { return say(query, reply_to(query, one.rcode).octets()); });
      Harness h(config_of({server.address()}, kPatient));
      Answer<Mx> answer = h.ask("a.example");
      CHECK(answer.status == Status::server_failed);
      CHECK(answer.detail == one.want + server.text());
      CHECK_FALSE(answer.no_server);
      CHECK(server.queries().size() == 1);
    }
  }

  TEST_CASE("after SERVFAIL the next server is asked") {
    HostileDns bad([](const Query& query) { return say(query, reply_to(query, 2).octets()); });
    HostileDns good(say_mx);
    Harness h(config_of({bad.address(), good.address()}, kPatient));
    CHECK(h.ask("a.example").status == Status::found);
    CHECK(bad.queries().size() == 1);
    CHECK(good.queries().size() == 1);
  }

  TEST_CASE("SERVFAIL of one and silence of the other is server_failed") {
    HostileDns bad([](const Query& query) { return say(query, reply_to(query, 2).octets()); });
    HostileDns silent(say_nothing);
    Harness h(config_of({bad.address(), silent.address()}, kShort));
    Answer<Mx> answer = h.ask("a.example");
    CHECK(answer.status == Status::server_failed);
    CHECK(answer.detail == "SERVFAIL from " + bad.text());
  }

  TEST_CASE("a server that does not know EDNS is asked without it [RFC 6891 7]") {
    HostileDns server([](const Query& query) {
      if (!query.edns) return say_mx(query);
      return say(query, reply_to(query, 1).octets());
    });
    Harness h(config_of({server.address()}, kPatient));
    CHECK(h.ask("a.example").status == Status::found);
  }

  TEST_CASE("NXDOMAIN and no data") {
    HostileDns server([](const Query& query) {
      Packet packet = reply_to(query, query.name == "none.example" ? 3 : 0);
      packet.authority("example", kTypeSoa, 900, soa_data(100));
      return say(query, packet.octets());
    });
    Harness h(config_of({server.address()}, kPatient));
    std::vector<Answer<Mx>> answers = h.ask(std::vector<std::string>{"none.example", "empty.example"});
    CHECK(answers[0].status == Status::no_domain);
    CHECK(answers[1].status == Status::no_data);
    CHECK(answers[1].valid_until > h.runtime().now() + seconds(50));
  }

  TEST_CASE("silence: as many tries as configured, then timed_out") {
    HostileDns server(say_nothing);
    Harness h(config_of({server.address()}, kShort, 3));
    const std::uint64_t before = metrics::events().dns_questions.at("unanswered", "").value();
    auto began = std::chrono::steady_clock::now();
    Answer<Mx> answer = h.ask("a.example");
    CHECK(answer.status == Status::timed_out);
    CHECK(answer.no_server);
    CHECK(answer.detail == "no answer from " + server.text());
    CHECK(std::chrono::steady_clock::now() - began >= 3 * kShort);
    CHECK(server.queries().size() == 3);
    CHECK(metrics::events().dns_questions.at("unanswered", "").value() == before + 1);
  }

  TEST_CASE("silence of one domain, while others are answered, is not taken for dead servers") {
    HostileDns server(
        [](const Query& query) { return query.name == "lame.example" ? say_nothing(query) : say_mx(query); });
    Harness h(config_of({server.address()}, milliseconds(500), 2));
    std::vector<std::string> names = {"lame.example"};
    for (int i = 0; i < 20; ++i) names.push_back("a" + std::to_string(i) + ".example");
    std::vector<Answer<Mx>> answers = h.ask_together(names);
    int lame = 0;
    for (const Answer<Mx>& answer : answers) {
      if (answer.status != Status::timed_out) continue;
      ++lame;
      CHECK_FALSE(answer.no_server);
    }
    CHECK(lame == 1);
  }

  TEST_CASE("no try begins that would end after the longest time") {
    HostileDns server(say_nothing);
    AresSettings settings;
    settings.longest = milliseconds(250);
    Harness h(config_of({server.address()}, milliseconds(100), 1000), settings);
    CHECK(h.ask("a.example").status == Status::timed_out);
    CHECK(server.queries().size() <= 2);
  }

  TEST_CASE("nobody listens: timed_out, without waiting for it") {
    conf::HostPort closed = closed_port();
    Harness h(config_of({closed}, kPatient));
    Answer<Mx> answer = h.ask("a.example");
    CHECK(answer.status == Status::timed_out);
    CHECK(answer.no_server);
    CHECK(answer.detail == "could not reach " + closed.text());
  }

  TEST_CASE("a dead first server costs the first question a timeout, and the next ones nothing") {
    HostileDns silent(say_nothing);
    HostileDns good(say_mx);
    Harness h(config_of({silent.address(), good.address()}, milliseconds(300)));
    std::vector<Answer<Mx>> answers = h.ask(std::vector<std::string>{"a.example", "b.example", "c.example"});
    for (const Answer<Mx>& answer : answers) CHECK(answer.status == Status::found);
    CHECK(silent.queries().size() == 1);
    CHECK(good.queries().size() == 3);
  }

  TEST_CASE("as many MX as 64 KiB hold, by TCP: 1,000 are kept [F27]") {
    HostileDns server([](const Query& query) {
      Packet packet = reply_to(query);
      if (!query.tcp) return say(query, packet.flags(0x0200).octets());
      for (unsigned i = 0; i < 3900; ++i)
        packet.answer(pointer(kQuestionAt), kTypeMx, 60, mx_data(i, pointer(kQuestionAt)));
      return say(query, packet.octets());
    });
    Harness h(config_of({server.address()}, kPatient));
    Answer<Mx> answer = h.ask("a.example");
    CHECK(answer.status == Status::found);
    CHECK(answer.records.size() == kMaxRecords);
  }

  TEST_CASE("10,000 MX announced, fewer sent: server_failed [F27]") {
    HostileDns server([](const Query& query) {
      Packet packet = reply_to(query);
      if (!query.tcp) return say(query, packet.flags(0x0200).octets());
      for (unsigned i = 0; i < 3900; ++i)
        packet.answer(pointer(kQuestionAt), kTypeMx, 60, mx_data(i, pointer(kQuestionAt)));
      Octets message = packet.octets();
      message[6] = 10'000 >> 8;
      message[7] = 10'000 & 0xff;
      return say(query, message);
    });
    Harness h(config_of({server.address()}, kPatient));
    CHECK(h.ask("a.example").status == Status::server_failed);
  }

  TEST_CASE("TCP that breaks off, lies about its length, or stalls is trouble that passes [F27]") {
    struct {
      const char* name;
      std::vector<Octets> (*tcp)(const Query&);
    } cases[] = {
        {"hangs up", [](const Query&) { return std::vector<Octets>{{}}; }},
        {"hangs up inside the length",
         [](const Query&) {
           return std::vector<Octets>{{0}, {}};
         }},
        {"hangs up inside the message",
         [](const Query& query) {
           Octets half = framed(mx_reply(query));
           half.resize(half.size() / 2);
           return std::vector<Octets>{half, {}};
         }},
        {"of length 0",
         [](const Query&) {
           return std::vector<Octets>{{0, 0}};
         }},
        {"of length 65535, and no more",
         [](const Query&) {
           return std::vector<Octets>{{0xff, 0xff, 0, 0}};
         }},
        {"truncated again", [](const Query& query) { return say(query, reply_to(query).flags(0x0200).octets()); }},
        {"stalls", say_nothing},
    };
    for (const auto& one : cases) {
      CAPTURE(one.name);
      HostileDns server([&](const Query& query) {
        if (query.tcp) return one.tcp(query);
        return say(query, reply_to(query).flags(0x0200).octets());
      });
      Harness h(config_of({server.address()}, milliseconds(200), 2));
      Answer<Mx> answer = h.ask("a.example");
      bool trouble = answer.status == Status::timed_out || answer.status == Status::server_failed;
      CHECK(trouble);
      CHECK(answer.records.empty());
    }
  }

  TEST_CASE("many answers in one TCP stream") {
    HostileDns server([](const Query& query) {
      if (!query.tcp) return say(query, reply_to(query).flags(0x0200).octets());
      std::vector<Octets> octet_by_octet;
      for (std::uint8_t octet : framed(mx_reply(query))) octet_by_octet.push_back({octet});
      return octet_by_octet;
    });
    Harness h(config_of({server.address()}, kPatient));
    std::vector<std::string> names;
    for (int i = 0; i < 30; ++i) names.push_back("a" + std::to_string(i) + ".example");
    std::vector<Answer<Mx>> answers = h.ask_together(names);
    REQUIRE(answers.size() == 30);
    std::set<std::string> exchangers;
    for (const Answer<Mx>& answer : answers) exchangers.insert(answer.records.at(0).exchanger);
    CHECK(exchangers.size() == 30);
  }

  TEST_CASE("CNAMEs in a circle [F27]") {
    HostileDns server([](const Query& query) {
      Packet packet = reply_to(query);
      packet.answer(pointer(kQuestionAt), kTypeCname, 60, pointer(kQuestionAt));
      return say(query, packet.octets());
    });
    Harness h(config_of({server.address()}, kPatient));
    CHECK(h.ask("a.example").status == Status::server_failed);
  }

  TEST_CASE("many questions at once, few out at a time, each answered with its own") {
    HostileDns server(say_mx);
    AresSettings settings;
    settings.at_once = 7;
    Harness h(config_of({server.address()}, kPatient), settings);
    std::vector<std::string> names;
    for (int i = 0; i < 300; ++i) names.push_back("a" + std::to_string(i) + ".example");
    std::vector<Answer<Mx>> answers = h.ask_together(names);
    REQUIRE(answers.size() == 300);
    std::set<std::string> exchangers;
    for (const Answer<Mx>& answer : answers) {
      REQUIRE(answer.status == Status::found);
      exchangers.insert(answer.records[0].exchanger);
    }
    CHECK(exchangers.size() == 300);
    CHECK(server.queries().size() == 300);
  }

  TEST_CASE("names that the DNS cannot hold are not asked") {
    HostileDns server(say_mx);
    Harness h(config_of({server.address()}, kPatient));
    std::vector<std::string> names = {
        "", ".", "a..example", std::string(64, 'x') + ".example", "a\\b", "b\xc3\xbc.example"};
    for (const Answer<Mx>& answer : h.ask(names)) CHECK(answer.status == Status::no_domain);
    CHECK(server.queries().empty());
  }

  TEST_CASE("stop: what is under way ends as timed_out at once, what comes later too") {
    HostileDns server(say_nothing);
    AresSettings settings;
    settings.at_once = 3;
    Harness h(config_of({server.address()}, kPatient), settings);
    std::vector<Answer<Mx>> answers;
    for (int i = 0; i < 5; ++i)
      h.scope().spawn(Harness::ask_in_turn(h.resolver(), {"a.example", "b.example"}, answers));
    CHECK(answers.empty());
    h.resolver().stop();
    CHECK(answers.empty());  // never inside stop()
    h.run(h.scope().running() > 0 ? Harness::ask_in_turn(h.resolver(), {"c.example"}, answers)
                                  : Harness::ask_in_turn(h.resolver(), {}, answers));
    CHECK(answers.size() == 11);
    for (const Answer<Mx>& answer : answers) {
      CHECK(answer.status == Status::timed_out);
      CHECK(answer.no_server);
    }
  }

  TEST_CASE("a changed resolv.conf is used for later questions") {
    HostileDns server(say_mx);
    TemporaryFile file;
    file.write("nameserver 127.0.0.2\n");  // nobody listens there on this port
    AresSettings settings;
    settings.resolv_conf = file.path();
    settings.system_port = server.port();
    settings.look_again = milliseconds(0);
    Harness h(config_of({}, kPatient, 1), settings);
    std::vector<Answer<Mx>> answers;
    struct Steps {
      static net::Task<> run(Resolver& resolver, const TemporaryFile& conf, std::vector<Answer<Mx>>& into) {
        std::vector<std::string> names(1, "a.example");
        co_await Harness::ask_in_turn(resolver, names, into);
        conf.write("nameserver 127.0.0.1\noptions edns0\n");
        co_await Harness::ask_in_turn(resolver, names, into);
        std::remove(conf.path().c_str());
        co_await Harness::ask_in_turn(resolver, names, into);
        std::filesystem::create_directory(conf.path());  // is there, and cannot be read
        co_await Harness::ask_in_turn(resolver, names, into);
        std::filesystem::remove(conf.path());
      }
    };
    h.run(Steps::run(h.resolver(), file, answers));
    REQUIRE(answers.size() == 4);
    CHECK(answers[0].status == Status::timed_out);
    CHECK(answers[1].status == Status::found);
    CHECK(answers[2].status == Status::found);  // the file is gone: its last servers serve on
    CHECK(answers[3].status == Status::found);
  }

  TEST_CASE("questions that are out when resolv.conf changes end with their server") {
    HostileDns server(
        [](const Query& query) { return query.name == "slow.example" ? say_nothing(query) : say_mx(query); });
    TemporaryFile file;
    file.write("nameserver 127.0.0.1\n");
    AresSettings settings;
    settings.resolv_conf = file.path();
    settings.system_port = server.port();
    settings.look_again = milliseconds(0);
    Harness h(config_of({}, milliseconds(500), 1), settings);
    std::vector<Answer<Mx>> answers;
    h.scope().spawn(Harness::ask_in_turn(h.resolver(), {"slow.example"}, answers));
    struct Steps {
      static net::Task<> run(Harness& harness, const TemporaryFile& conf, std::vector<Answer<Mx>>& into) {
        net::Duration little(100);
        co_await harness.runtime().sleep_for(little, std::stop_token());
        conf.write("nameserver 127.0.0.1\nnameserver 127.0.0.3\n");
        std::vector<std::string> names(1, "a.example");
        co_await Harness::ask_in_turn(harness.resolver(), names, into);
        net::Duration more(700);
        co_await harness.runtime().sleep_for(more, std::stop_token());
      }
    };
    h.run(Steps::run(h, file, answers));
    REQUIRE(answers.size() == 2);
    CHECK(answers[0].status == Status::found);
    CHECK(answers[1].status == Status::timed_out);
  }

  TEST_CASE("a server that is no address is an error") {
    auto runtime = net::LoopRuntime::create();
    auto made = make_ares_resolver(*runtime, config_of({{"dns.example", 53}}, kPatient));
    REQUIRE_FALSE(made);
    CHECK(made.error().code == Errc::invalid);
    CHECK(made.error().what.find("dns.example") != std::string::npos);
  }

  TEST_CASE("IPv6 servers and the system's are taken") {
    auto runtime = net::LoopRuntime::create();
    auto made = make_ares_resolver(*runtime, config_of({{"::1", 5353}, {"2001:db8::1", 0}}, kPatient));
    CHECK(made);
    auto system = make_ares_resolver(*runtime, config_of({}, kPatient));
    CHECK(system);
  }
}

}  // namespace waypost::resolver
