// What rules about replies make of deliveries.
#include <algorithm>

#include <doctest/doctest.h>

#include "delivery/dispatcher.h"
#include "tests/delivery/relay_world.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;
using tests::domain;
using tests::Host;
using tests::many_domains;
using tests::own_host;
using tests::queue_without_delivery;
using tests::RelayWorld;

constexpr const char* kRules = R"(
[[rule]]
name = "grey"
code = "450"
text = 'greylisted.* (?P<seconds>\d+) seconds'
action = "retry"
why = "They know us after a while."
[[rule]]
name = "greedy"
code = "4"
text = 'too many messages'
action = "slow"
for = "10m"
why = "They take less."
[[rule]]
name = "closed"
text = 'come back tomorrow'
action = "wait"
for = "3h"
why = "They are closed."
[[rule]]
name = "no-ipv6"
family = "ipv6"
code = "5"
text = 'no PTR'
action = "other_address"
why = "IPv4 may do."
[[rule]]
name = "gone"
code = "4"
text = 'closed its account'
action = "fail"
why = "It is no more."
[[rule]]
name = "listed"
code = "5"
text = 'your address is listed'
action = "defer"
why = "It is about us."
)";

void with_rules(conf::Config& config) {
  config.delivery.reply_rules = {{"/rules.toml", kRules}};
}

std::string only_event(RelayWorld& world, queue::Id id, queue::HistoryEvent::Kind kind) {
  queue::HistoryQuery query;
  query.id = id;
  const Result<std::vector<queue::HistoryEvent>> events = world.history().find(query);
  REQUIRE(events);
  std::string text;
  for (const queue::HistoryEvent& event : *events)
    if (event.kind == kind) text += event.status + " " + event.text + "\n";
  return text;
}

using Kind = queue::HistoryEvent::Kind;

}  // namespace

TEST_SUITE("delivery/dispatcher_rules") {
  TEST_CASE("greylisting: the first retry is when the host says, the next ones by the schedule") {
    RelayWorld world([](conf::Config& config) {
      with_rules(config);
      config.queue.retry = {20min};
    });
    Host& host = own_host(world, "b.test", "192.0.2.1");
    int asked = 0;
    host.on_rcpt = [&](const std::string&) {
      return ++asked < 3 ? "450 4.7.1 greylisted, try again in 90 seconds" : "250 ok";
    };
    const queue::Id id = world.submit("s@a.test", {"r@b.test"});
    world.pass(89s);
    CHECK(asked == 1);
    world.pass(25s);
    CHECK(asked == 2);
    CHECK(
        only_event(world, id, Kind::deferred).find("4.7.1 450 4.7.1 greylisted, try again in 90 seconds [rule grey]") !=
        std::string::npos);
    world.pass(10min);
    CHECK(asked == 2);
    REQUIRE(world.drained(15min));
  }

  TEST_CASE("fail and defer: the class is what the rule says") {
    RelayWorld world(with_rules);
    Host& host = own_host(world, "b.test", "192.0.2.1");
    Host& sender = own_host(world, "a.test", "192.0.2.100");
    int listed = 0;
    host.on_rcpt = [&](const std::string& said) -> std::string {
      if (said.find("gone") != std::string::npos) return "450 4.2.0 has closed its account";
      return ++listed == 1 ? "554 5.7.1 your address is listed" : "250 ok";
    };
    const queue::Id id = world.submit("s@a.test", {"gone@b.test", "r@b.test"});
    world.pass(1s);
    CHECK(only_event(world, id, Kind::bounced) == "5.2.0 450 4.2.0 has closed its account [rule gone]\n");
    CHECK(only_event(world, id, Kind::deferred) == "4.7.1 554 5.7.1 your address is listed [rule listed]\n");
    CHECK(sender.taken.size() == 1);
    REQUIRE(world.drained(10min));
    CHECK(host.taken.size() == 1);
  }

  TEST_CASE("wait: the site is left alone, all of its domains, also after a restart; the recipient waits too") {
    RelayWorld world([](conf::Config& config) {
      with_rules(config);
      config.queue.expire = 24h;
    });
    Host& host = many_domains(world, 3);
    bool closed = true;
    host.on_rcpt = [&](const std::string&) { return closed ? "451 4.3.2 come back tomorrow" : "250 ok"; };
    for (int i = 0; i < 3; ++i) world.submit("s" + std::to_string(i) + "@a.test", {"r@" + domain(i)});
    world.pass(10s);
    const int before = host.connections;
    world.pass(1h);
    world.shut();
    world.open();
    world.submit("s@a.test", {"q@" + domain(1)});
    world.pass(110min);
    CHECK(host.connections == before);
    closed = false;
    REQUIRE(world.drained(2h));
    CHECK(host.taken.size() == 4);
  }

  TEST_CASE("wait: what was under way when it was said, and what the next host takes, do not undo it") {
    RelayWorld world([](conf::Config& config) {
      with_rules(config);
      config.queue.expire = 24h;
    });
    Host& host = many_domains(world, 4);
    int asked = 0;
    host.on_rcpt = [&](const std::string&) { return ++asked == 20 ? "451 4.3.2 come back tomorrow" : "250 ok"; };
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 400; ++i) world.submit("s@a.test", {"r@" + domain(i % 4)});
    });
    world.pass(1min);
    CHECK(asked < 60);  // those that were under way
    const int before = asked;
    world.pass(2h);
    CHECK(asked == before);
    REQUIRE(world.drained(3h));
  }

  TEST_CASE("after a release mail leaves at once, whatever its pace had been") {
    RelayWorld world;
    Host& host = own_host(world, "b.test", "192.0.2.1");
    struct Do {
      static net::Task<> change(queue::Store& store, queue::DestinationChange change) {
        const Result<> done = co_await store.change_destination(std::move(change));
        CHECK(done);
      }
    };
    const auto order = [&world](queue::DestinationChange::Kind kind) {
      queue::DestinationChange change;
      change.kind = kind;
      change.name = "b.test";
      change.now = world.runtime.wall_now();
      change.until = change.now + 24h;
      change.spacing = 24h;
      net::Scope scope(world.runtime, [](std::string_view) {});
      scope.spawn(Do::change(*world.store, change));
      world.until([&] { return scope.running() == 0; }, 5s);
    };
    order(queue::DestinationChange::Kind::limit);
    for (int i = 0; i < 4; ++i) world.submit("s@a.test", {"r@b.test"});
    world.pass(5min);
    CHECK(host.taken.size() == 1);
    order(queue::DestinationChange::Kind::resume);
    REQUIRE(world.drained(2s));
  }

  TEST_CASE("a banner may say so too") {
    RelayWorld world([](conf::Config& config) {
      with_rules(config);
      config.queue.expire = 24h;
    });
    Host& host = many_domains(world, 1);
    host.banner = "421 4.3.2 come back tomorrow";
    world.submit("s@a.test", {"r@" + domain(0)});
    world.pass(2h + 55min);
    CHECK(host.connections == 1);
    CHECK(world.rows().at(0).recipients[0].reply.ends_with("come back tomorrow [rule closed]"));
    host.banner = "220 mx.many.test";
    REQUIRE(world.drained(1h));
  }

  TEST_CASE("slow: half as much as before, then more by and by; it is known after a restart") {
    RelayWorld world([](conf::Config& config) {
      with_rules(config);
      config.queue.expire = 24h;
    });
    Host& host = many_domains(world, 4);
    int over = 0;
    host.on_rcpt = [&](const std::string&) { return ++over == 200 ? "451 4.7.0 too many messages" : "250 ok"; };
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 3000; ++i) world.submit("s@a.test", {"r@" + domain(i % 4)});
    });
    REQUIRE(world.until([&] { return over >= 200; }, 1min));
    world.pass(30s);  // those that were under way together
    std::size_t before = host.taken.size();
    world.pass(1min);
    const std::size_t a_minute = host.taken.size() - before;
    CHECK(a_minute >= 80);  // of 200 in the first minute
    CHECK(a_minute <= 120);
    world.shut();
    world.open();
    world.pass(10s);
    before = host.taken.size();
    world.pass(1min);
    CHECK(host.taken.size() - before <= a_minute + a_minute / 10);
    world.pass(9min);
    before = host.taken.size();
    world.pass(1min);
    CHECK(host.taken.size() - before > a_minute * 3 / 2);
    REQUIRE(world.drained(1h));
  }

  TEST_CASE("other_address: refused by IPv6 alone, IPv4 is asked at once, and first from then on") {
    RelayWorld world(with_rules);
    world.resolver.add_mx("b.test", {{10, "mx.b.test"}});
    world.resolver.add_host("mx.b.test", {"2001:db8::1", "192.0.2.1"});
    Host& six = world.host("2001:db8::1");
    Host& four = world.host("192.0.2.1");
    six.on_rcpt = [](const std::string&) { return "550 5.7.1 no PTR"; };
    for (int i = 0; i < 5; ++i) {
      world.submit("s@a.test", {"r@b.test"});
      REQUIRE(world.drained(2s));
      world.pass(10s);
    }
    CHECK(four.taken.size() == 5);
    CHECK(six.connections <= 1);
  }

  TEST_CASE("other_address: what the other family defers does not bounce by the first one") {
    RelayWorld world(with_rules);
    world.resolver.add_mx("b.test", {{10, "mx1.b.test"}, {20, "mx2.b.test"}});
    world.resolver.add_host("mx1.b.test", {"2001:db8::1", "192.0.2.1"});
    world.resolver.add_host("mx2.b.test", {"2001:db8::2", "192.0.2.2"});
    bool busy = true;
    for (const char* six : {"2001:db8::1", "2001:db8::2"})
      world.host(six).on_rcpt = [](const std::string&) { return "550 5.7.1 no PTR"; };
    for (const char* four : {"192.0.2.1", "192.0.2.2"})
      world.host(four).on_rcpt = [&busy](const std::string&) { return busy ? "451 4.3.0 not now" : "250 ok"; };
    for (int i = 0; i < 10; ++i) world.submit("", {"r@b.test"});
    world.pass(10min);
    CHECK(world.counts().messages == 10);
    busy = false;
    REQUIRE(world.drained(10min));
    CHECK(world.host("192.0.2.1").taken.size() + world.host("192.0.2.2").taken.size() == 10);
  }
}
}  // namespace waypost::delivery
