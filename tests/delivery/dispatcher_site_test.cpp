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
using tests::RelayWorld;
using Kind = queue::DestinationState::Kind;

/// Of sites, and of destinations.
std::pair<std::size_t, std::size_t> written(const RelayWorld& world) {
  const auto sites = static_cast<std::size_t>(
      std::count_if(world.tapped->states.begin(), world.tapped->states.end(),
                    [](const queue::DestinationState& state) { return state.kind == Kind::site; }));
  return {sites, world.tapped->states.size() - sites};
}

void smarthost(conf::Config& config, const std::string& host) {
  conf::NextHop hop;
  hop.host.host = host;
  config.routes = {{"*", {hop}}};
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

}  // namespace

TEST_SUITE("delivery/dispatcher_site") {
  TEST_CASE("a dead site costs one row and one connection a retry, however many destinations it has") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    Host& host = many_domains(world, 300);
    host.banner = "421 4.3.2 closed for today";
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 300; ++i) world.submit("", {"r@" + domain(i)});
    });
    world.pass(1min);
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
    Host& host = many_domains(world, 300);
    host.banner = "421 4.3.2 closed for today";
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 300; ++i) world.submit("", {"r@" + domain(i)});
    });
    world.pass(1min);
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
    hold(world, Change::release, domain(0));
    REQUIRE(world.drained(2s));
    CHECK(host.taken.size() == 2);
    hold(world, Change::hold, domain(1));
    world.submit("", {"r@" + domain(1)});
    world.pass(29min);
    CHECK(host.taken.size() == 2);
    REQUIRE(world.drained(2min));

    // One of a site is known to wait with it once it has failed.
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
    hold(world, Change::release, domain(0), true);
    REQUIRE(world.drained(2s));
    CHECK(host.taken.size() == 5);
  }
}
}  // namespace waypost::delivery
