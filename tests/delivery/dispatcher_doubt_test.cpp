// An attempt in doubt that an administrator settles.
#include <algorithm>

#include <doctest/doctest.h>

#include "delivery/dispatcher.h"
#include "tests/delivery/relay_world.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;
using tests::Host;
using tests::own_host;
using tests::RelayWorld;

Result<std::size_t> settle(RelayWorld& world, queue::Id id, const std::string& address, bool delivered) {
  struct Do {
    static net::Task<> it(Dispatcher& dispatcher, queue::Id id, std::string address, bool delivered,
                          std::optional<Result<std::size_t>>& out) {
      Result<std::size_t> done = co_await dispatcher.settle_doubt(id, std::move(address), delivered, "their log");
      out.emplace(std::move(done));
    }
  };
  std::optional<Result<std::size_t>> out;
  net::Scope scope(world.runtime, [](std::string_view) {});
  scope.spawn(Do::it(*world.dispatcher, id, address, delivered, out));
  world.until([&] { return scope.running() == 0; }, 5s);
  return *out;
}

/// A host that loses its connections after the final dot.
Host& forgetful(RelayWorld& world) {
  Host& host = own_host(world, "b.test", "192.0.2.1");
  host.on_dot = [] { return ""; };
  return host;
}

}  // namespace

TEST_SUITE("delivery/dispatcher_doubt") {
  TEST_CASE("delivered by hand: it leaves the queue, and is not tried again, also after a restart") {
    RelayWorld world;
    Host& host = forgetful(world);
    const queue::Id id = world.submit("s@a.test", {"r@b.test"});
    world.pass(1s);
    REQUIRE(world.rows().at(0).recipients[0].reply.starts_with("in doubt: "));
    world.shut();
    world.open();
    world.pass(1s);
    const int before = host.connections;
    const Result<std::size_t> settled = settle(world, id, "", true);
    REQUIRE(settled);
    CHECK(*settled == 1);
    CHECK(world.empty());
    world.pass(1h);
    CHECK(host.connections == before);
    queue::HistoryQuery query;
    query.id = id;
    const Result<std::vector<queue::HistoryEvent>> events = world.history().find(query);
    REQUIRE(events);
    CHECK(std::any_of(events->begin(), events->end(), [](const queue::HistoryEvent& event) {
      return event.kind == queue::HistoryEvent::Kind::relayed &&
             event.text == "an administrator found that the host has it: their log";
    }));
  }

  TEST_CASE("failed by hand: the sender is told, in the same transaction; another recipient goes on") {
    RelayWorld world;
    forgetful(world);
    Host& sender = own_host(world, "a.test", "192.0.2.100");
    const queue::Id id = world.submit("s@a.test", {"r@b.test", "q@b.test"});
    world.pass(1s);
    const Result<std::size_t> settled = settle(world, id, "R@b.test", false);
    REQUIRE(settled);
    CHECK(*settled == 1);
    world.pass(1s);
    REQUIRE(sender.taken.size() == 1);
    CHECK(sender.taken[0].body.find("an administrator found that the host has it not") != std::string::npos);
    world.host("192.0.2.1").on_dot = [] { return "250 ok"; };
    REQUIRE(world.drained(10min));
    REQUIRE(world.host("192.0.2.1").taken.size() == 1);
    CHECK(world.host("192.0.2.1").taken[0].to == std::vector<std::string>{"<q@b.test>"});
  }

  TEST_CASE("what is not in doubt is not settled, nor what is attempted just now, nor what is not there") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    Host& host = own_host(world, "b.test", "192.0.2.1");
    host.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    const queue::Id id = world.submit("s@a.test", {"r@b.test"});
    world.pass(1s);
    Result<std::size_t> settled = settle(world, id, "", true);
    REQUIRE(settled);
    CHECK(*settled == 0);
    settled = settle(world, queue::Id{77}, "", true);
    REQUIRE_FALSE(settled);
    CHECK(settled.error().code == Errc::not_found);
    host.on_rcpt = [](const std::string&) { return "250 ok"; };
    host.on_dot = [] { return ""; };
    REQUIRE(world.until([&] { return world.rows().at(0).recipients[0].reply.starts_with("in doubt: "); }, 15min));
    host.banner = "220-wait";  // the next attempt waits for the rest of it
    REQUIRE(world.until([&] { return host.open > 0; }, 30min));
    settled = settle(world, id, "", true);
    REQUIRE_FALSE(settled);
    CHECK(settled.error().code == Errc::busy);
  }
}
}  // namespace waypost::delivery
