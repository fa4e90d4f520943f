// What destinations share with the others of their site, and what they do not.
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
using tests::recipients_of;
using tests::RelayWorld;
using Kind = queue::DestinationState::Kind;

/// Of sites, and of destinations.
std::pair<std::size_t, std::size_t> written(const RelayWorld& world) {
  const auto sites = static_cast<std::size_t>(
      std::count_if(world.tapped->states.begin(), world.tapped->states.end(),
                    [](const queue::DestinationState& state) { return state.kind == Kind::site; }));
  return {sites, world.tapped->joins};
}

void smarthost(conf::Config& config, const std::string& host) {
  config.routes = {{"*", {tests::hop_to(host)}}};
}

void hold(RelayWorld& world, queue::DestinationChange::Kind kind, const std::string& name, bool with_site = false) {
  struct Do {
    static net::Task<> change(queue::Store& store, queue::DestinationChange change) {
      const Result<> done = co_await store.change_destination(std::move(change));
      CHECK(done);
    }
  };
  queue::DestinationChange change;
  change.kind = kind;
  change.name = name;
  change.with_site = with_site;
  change.now = world.runtime.wall_now();
  change.until = change.now + 30min;
  net::Scope scope(world.runtime, [](std::string_view) {});
  scope.spawn(Do::change(*world.store, std::move(change)));
  world.until([&] { return scope.running() == 0; }, 5s);
}

/// A message for each of so many domains, whose one host has been down for a minute.
Host& dead_site(RelayWorld& world, int domains) {
  Host& host = many_domains(world, domains);
  host.banner = "421 4.3.2 closed for today";
  world.shut();
  queue_without_delivery(world, [&] {
    for (int i = 0; i < domains; ++i) world.submit("", {"r@" + domain(i)});
  });
  world.pass(1min);
  return host;
}

}  // namespace

TEST_SUITE("delivery/dispatcher_site") {
  TEST_CASE("a dead site costs one row and one connection a retry, however many destinations it has") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    Host& host = dead_site(world, 300);
    const int first = host.connections;
    CHECK(first <= 5);  // those that were under way together
    CHECK(written(world) == std::pair<std::size_t, std::size_t>{1, 300});
    CHECK(world.dispatcher->stats().held == 0);
    for (const queue::MessageRow& row : world.rows())
      REQUIRE(row.recipients[0].reply.find("closed") != std::string::npos);
    world.pass(34min);  // three retries, with their jitter
    const auto [sites, destinations] = written(world);
    CHECK(sites >= 3);
    CHECK(sites <= 5);
    CHECK(destinations == 300);
    CHECK(host.connections == first + static_cast<int>(sites) - 1);
    host.banner = "220 mx.many.test";
    REQUIRE(world.drained(12min));
    CHECK(host.taken.size() == 300);
  }

  TEST_CASE("the first success of a site wakes its backlog as a ramp") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    Host& host = dead_site(world, 300);
    host.banner = "220 mx.many.test";
    host.most_open = 0;
    std::vector<int> open;  // when each message had been taken
    host.on_dot = [&] {
      open.push_back(host.most_open);
      return "250 ok";
    };
    REQUIRE(world.drained(15min));
    REQUIRE(open.size() == 300);
    CHECK(open[0] == 1);
    for (std::size_t taken = 1; taken < 19; ++taken) CHECK(open[taken] <= static_cast<int>(taken) + 1);
    CHECK(open.back() == 20);
  }

  TEST_CASE(
      "of a dead site's domains those that have moved are found within the hour or so, though nobody can ask for "
      "them") {
    RelayWorld world([](conf::Config& config) {
      config.queue.retry = {20h};
      config.queue.expire = 48h;
    });
    many_domains(world, 30).banner = "421 4.3.2 closed for ever";
    for (int i = 0; i < 30; ++i) world.submit("", {"r@" + domain(i)});
    world.pass(10s);
    Host& host = own_host(world, domain(29), "192.0.2.1");
    REQUIRE(world.until([&] { return host.taken.size() == 1; }, 90min));
    CHECK(world.counts().messages == 29);
  }

  TEST_CASE("a site that is back wakes all of its mail where that it is back cannot be recorded") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    Host& host = dead_site(world, 20);
    host.banner = "220 mx.many.test";
    world.tapped->fail_destinations = Errc::full;
    CHECK(world.drained(15min));
    CHECK(host.taken.size() == 20);
  }

  TEST_CASE("a rate that was a mistake is over with the reload that mends it") {
    RelayWorld world([](conf::Config& config) {
      config.delivery.limits = {{{"d0.test"}, {}, {}, {}, conf::Rate{1, 86400s}},
                                {{}, {"mx.many.test"}, {}, {}, conf::Rate{1, 86400s}}};
    });
    Host& host = many_domains(world, 2);
    for (int i = 0; i < 6; ++i) world.submit("", {"r@" + domain(i % 2)});
    world.pass(10min);
    CHECK(host.taken.size() == 1);
    world.reload([](conf::Config& config) {
      config.delivery.limits = {{{"d0.test"}, {}, {}, {}, conf::Rate{10, 1s}}};
    });
    REQUIRE(world.drained(5s));
  }

  TEST_CASE("after a restart a domain that is new waits with its dead site") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {30min}; });
    Host& host = many_domains(world, 2);
    host.banner = "421 4.3.2 closed for today";
    world.submit("", {"r@" + domain(0)});
    world.pass(1s);
    const int before = host.connections;
    world.shut();
    world.open();
    world.submit("", {"r@" + domain(1)});
    world.pass(1min);
    CHECK(host.connections == before);
    host.banner = "220 mx.many.test";
    REQUIRE(world.drained(40min));
    CHECK(host.taken.size() == 2);
  }

  TEST_CASE("a domain that has other exchangers by now does not wait with those that it had") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {5min}; });
    many_domains(world, 3).banner = "421 4.3.2 closed for today";
    for (int i = 0; i < 3; ++i) world.submit("", {"r@" + domain(i)});
    world.pass(1s);
    Host& host = own_host(world, domain(0), "192.0.2.1");
    REQUIRE(world.until([&] { return !host.taken.empty(); }, 12min));
    world.pass(10min);
    CHECK(world.counts().messages == 2);
    world.host("192.0.2.77").banner = "220 mx.many.test";
    REQUIRE(world.drained(12min));
  }

  TEST_CASE("mail that waits for a dead next hop leaves at once by a new route: after a reload, after a restart") {
    for (const bool restart : {false, true}) {
      CAPTURE(restart);
      RelayWorld world([](conf::Config& config) {
        config.queue.retry = {50min};
        smarthost(config, "192.0.2.1");
      });
      world.host("192.0.2.1").banner = "421 4.3.2 closed for today";
      Host& other = world.host("192.0.2.2");
      for (int i = 0; i < 3; ++i) world.submit("", {"r@" + domain(i)});
      world.pass(10s);
      CHECK(world.counts().messages == 3);
      const auto change = [](conf::Config& config) { smarthost(config, "192.0.2.2"); };
      if (restart) {
        world.shut();
        world.adjust(change);
        world.open();
      } else {
        world.reload(change);
      }
      REQUIRE(world.drained(10s));
      CHECK(other.taken.size() == 3);
    }
  }

  TEST_CASE("one poisonous message does not keep the other destinations of the site from it") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {30min}; });
    Host& host = many_domains(world, 2);
    host.on_rcpt = [](const std::string& said) {
      return said.find("poison") != std::string::npos ? std::string() : std::string("250 ok");
    };
    world.submit("", {"poison@" + domain(0)});
    world.pass(1s);
    world.submit("", {"r@" + domain(1)});
    REQUIRE(world.until([&] { return host.taken.size() == 1; }, 5s));
  }

  TEST_CASE("held: mail waits, with its site too; released it leaves at once; a hold ends by itself") {
    using Change = queue::DestinationChange::Kind;
    RelayWorld world;
    Host& host = many_domains(world, 2);
    hold(world, Change::hold, domain(0));
    world.submit("", {"r@" + domain(0)});
    world.submit("", {"r@" + domain(1)});
    world.pass(2min);
    CHECK(host.taken.size() == 1);
    hold(world, Change::resume, domain(0));
    REQUIRE(world.drained(2s));
    CHECK(host.taken.size() == 2);
    hold(world, Change::hold, domain(1));
    world.submit("", {"r@" + domain(1)});
    world.pass(29min);
    CHECK(host.taken.size() == 2);
    REQUIRE(world.drained(2min));

    // One of a site is known to wait with it once it has failed.
    world.pass(10s);  // until no connection is kept
    host.banner = "421 4.3.2 closed for today";
    world.submit("", {"r@" + domain(0)});
    world.pass(1s);
    host.banner = "220 mx.many.test";
    hold(world, Change::hold, domain(0), true);
    world.submit("", {"r@" + domain(1)});
    world.pass(20min);
    CHECK(host.taken.size() == 3);
    world.shut();
    world.open();
    world.pass(5min);
    CHECK(host.taken.size() == 3);
    hold(world, Change::resume, domain(0), true);
    REQUIRE(world.drained(2s));
    CHECK(host.taken.size() == 5);
  }

  TEST_CASE("behind a backlog of one sender, a message of another leaves at once: for the same domain, for another") {
    RelayWorld world([](conf::Config& config) { config.delivery.concurrency = 2; }, queue::Schedule::Limits{400, 100});
    Host& host = own_host(world, "b.test", "192.0.2.1");
    Host& other = own_host(world, "c.test", "192.0.2.2");
    std::vector<std::string> from;
    host.on_rcpt = [](const std::string&) { return "250 ok"; };
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 3000; ++i) world.submit("list@bulk.test", {"r@b.test"});
    });
    REQUIRE(world.until([&] { return host.taken.size() >= 50; }, 1min));
    const std::size_t before = host.taken.size();
    world.submit("ann@a.test", {"r@b.test"});
    world.submit("ann@a.test", {"r@c.test"});
    const auto has_arrived = [](const Host& at) {
      return std::any_of(at.taken.begin(), at.taken.end(),
                         [](const Host::Taken& each) { return each.from.find("ann") != std::string::npos; });
    };
    REQUIRE(world.until([&] { return has_arrived(host) && has_arrived(other); }, 10s));
    CHECK(host.taken.size() - before < 1500);
    const auto ann = std::find_if(host.taken.begin(), host.taken.end(),
                                  [](const Host::Taken& each) { return each.from.find("ann") != std::string::npos; });
    CHECK(static_cast<std::size_t>(ann - host.taken.begin()) < before + 20);
  }

  TEST_CASE("a backlog's turn comes too while other senders go on: nobody starves") {
    RelayWorld world(
        [](conf::Config& config) {
          config.delivery.limits = {{{}, {"mx.b.test"}, 1, {}, conf::Rate{10, 1s}}};
        },
        queue::Schedule::Limits{400, 40});
    Host& host = own_host(world, "b.test", "192.0.2.1");
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 300; ++i) world.submit("list@bulk.test", {"r@b.test"});
    });
    // More than the rate lets through, of many senders.
    for (int i = 0; i < 400; ++i) {
      world.submit("s@s" + std::to_string(i) + ".test", {"r@b.test"});
      world.pass(100ms);
    }
    const auto bulk = std::count_if(host.taken.begin(), host.taken.end(), [](const Host::Taken& each) {
      return each.from.find("list") != std::string::npos;
    });
    CHECK(bulk > 20);
    CHECK(static_cast<std::size_t>(bulk) < host.taken.size());
    REQUIRE(world.drained(5min));
  }

  TEST_CASE("rates of a site and of a domain hold within a twentieth; concurrency of a domain too") {
    struct Case {
      conf::OutLimit limit;
      double a_second;
    };
    const std::vector<Case> cases = {{{{}, {"*.many.test"}, {}, {}, conf::Rate{20, 1s}}, 20},
                                     {{{}, {"192.0.2.77"}, {}, {}, conf::Rate{120, 60s}}, 2},
                                     {{{"d0.test"}, {}, {}, {}, conf::Rate{5, 1s}}, 5}};
    for (const Case& each : cases) {
      CAPTURE(each.a_second);
      const bool of_site = each.limit.domains.empty();
      RelayWorld world([&](conf::Config& config) { config.delivery.limits = {each.limit}; });
      world.step = 1ms;
      Host& host = many_domains(world, 4);
      world.shut();
      queue_without_delivery(world, [&] {
        for (int i = 0; i < 800; ++i)
          world.submit("s" + std::to_string(i % 3) + "@a.test", {"r@" + domain(of_site ? i % 4 : 0)});
      });
      world.pass(1s);
      const std::size_t before = host.taken.size();
      world.pass(30s);
      const double rate = static_cast<double>(host.taken.size() - before) / 30;
      CHECK(rate > each.a_second * 0.95);
      CHECK(rate < each.a_second * 1.05);
    }
  }

  TEST_CASE("connections of a site, messages of a domain at the same time") {
    RelayWorld world([](conf::Config& config) {
      config.delivery.limits = {{{"d0.test"}, {}, {}, 1, {}}, {{}, {"mx.many.test"}, 3, {}, {}}};
    });
    Host& host = many_domains(world, 3);
    int of_first = 0, most_of_first = 0;
    host.on_rcpt = [&](const std::string& said) {
      if (said.find("d0.test") != std::string::npos) most_of_first = std::max(most_of_first, ++of_first);
      return "250 ok";
    };
    host.on_dot = [&] {
      of_first = 0;
      return "250 ok";
    };
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 300; ++i) world.submit("", {"r@" + domain(i % 3)});
    });
    REQUIRE(world.drained(1min));
    CHECK(host.taken.size() == 300);
    CHECK(host.most_open == 3);
    CHECK(most_of_first == 1);
  }

  TEST_CASE("a host gets one copy of a message for all of its domains, each recipient its own end [RFC 5321 4.5.4.1]") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    Host& host = many_domains(world, 5);
    bool deferred = true;
    host.on_rcpt = [&](const std::string& said) -> std::string {
      if (said.find("d1.test") != std::string::npos) return "550 5.1.1 nobody";
      if (said.find("d2.test") != std::string::npos && deferred) return "450 4.2.1 later";
      return "250 ok";
    };
    world.submit("", {"x@" + domain(0), "x@" + domain(1), "x@" + domain(2), "x@" + domain(3), "y@" + domain(0)});
    REQUIRE(world.until([&] { return world.counts().recipients == 1; }, 1min));
    REQUIRE(host.taken.size() == 1);
    CHECK(host.taken[0].to == std::vector<std::string>{"<x@d0.test>", "<y@d0.test>", "<x@d3.test>"});
    CHECK(world.rows().at(0).recipients.at(2).reply.find("later") != std::string::npos);
    CHECK(world.dispatcher->stats().bounced == 1);
    deferred = false;
    REQUIRE(world.drained(15min));
    REQUIRE(host.taken.size() == 2);
    CHECK(host.taken[1].to == std::vector<std::string>{"<x@d2.test>"});
    CHECK(world.dispatcher->stats().held == 0);
  }

  TEST_CASE("destinations of a copy that came to nothing wait with their site, and go together again") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    Host& host = many_domains(world, 5);
    host.banner = "421 4.3.2 closed for today";
    std::vector<std::string> to;
    for (int i = 0; i < 5; ++i) to.push_back("r@" + domain(i));
    world.submit("", to);
    world.pass(1min);
    CHECK(host.connections == 1);
    CHECK(written(world) == std::pair<std::size_t, std::size_t>{1, 5});
    CHECK(world.dispatcher->stats().held == 0);
    host.banner = "220 mx.many.test";
    REQUIRE(world.drained(15min));
    CHECK(recipients_of(host) == 5);
    CHECK(host.taken.size() <= 2);  // the one that asked, and the others
  }

  TEST_CASE("what its limits hold up, or what wants something else of a host, does not go along") {
    RelayWorld world([](conf::Config& config) {
      config.delivery.limits = {{{"d1.test"}, {}, {}, {}, conf::Rate{1, 3600s}}};
      conf::Route encrypted;
      encrypted.match = "d2.test";
      encrypted.tls.level = conf::TlsLevel::encrypt;
      config.routes = {encrypted};
    });
    Host& host = many_domains(world, 4);
    const std::vector<std::string> to = {"r@" + domain(0), "r@" + domain(1), "r@" + domain(2), "r@" + domain(3)};
    world.submit("", to);
    world.pass(1s);
    REQUIRE(host.taken.size() == 1);
    CHECK(host.taken[0].to.size() == 3);
    world.submit("", to);
    world.pass(1s);
    REQUIRE(host.taken.size() == 2);
    CHECK(host.taken[1].to == std::vector<std::string>{"<r@d0.test>", "<r@d3.test>"});
    CHECK(world.counts().recipients == 3);  // d2 twice, d1 once
  }
}
}  // namespace waypost::delivery
