// What an administrator ends: attempts in doubt, and mail that is to be returned.
#include <algorithm>

#include <doctest/doctest.h>

#include "conf/values.h"
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

ByHand by_hand(RelayWorld& world, HandOrder order, const std::string& filter = "") {
  struct Do {
    static net::Task<> it(Dispatcher& dispatcher, HandOrder order, std::optional<ByHand>& out) {
      ByHand done = co_await dispatcher.by_hand(std::move(order));
      out.emplace(std::move(done));
    }
  };
  const Result<queue::Filter> parsed = queue::parse_filter(filter);
  REQUIRE(parsed);
  order.filter = *parsed;
  std::optional<ByHand> out;
  net::Scope scope(world.runtime, [](std::string_view) {});
  scope.spawn(Do::it(*world.dispatcher, std::move(order), out));
  world.until([&] { return scope.running() == 0; }, 5s);
  REQUIRE(out);
  CHECK_FALSE(out->cut_short);
  CHECK(out->failed == 0);
  return *out;
}

ByHand bounce(RelayWorld& world, const std::string& filter) {
  HandOrder order;
  order.reason = "their wish";
  return by_hand(world, std::move(order), filter);
}

HandOrder reroute(const std::string& next_hop) {
  HandOrder order;
  order.kind = HandOrder::Kind::reroute;
  order.next_hop = next_hop;
  return order;
}

void hold_all(RelayWorld& world) {
  struct Do {
    static net::Task<> it(queue::Store& store, queue::ChangeRequest request, bool& done) {
      const Result<queue::Changed> changed = co_await store.change(std::move(request));
      done = changed && changed->recipients > 0;
    }
  };
  queue::ChangeRequest request;
  request.who = "ann";
  request.now = world.runtime.wall_now();
  bool done = false;
  net::Scope scope(world.runtime, [](std::string_view) {});
  scope.spawn(Do::it(*world.store, std::move(request), done));
  world.until([&] { return scope.running() == 0; }, 5s);
  REQUIRE(done);
}

}  // namespace

TEST_SUITE("delivery/dispatcher_by_hand") {
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

  TEST_CASE("bounced by hand: the sender is told of whom the filter means; the others go on") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    Host& host = own_host(world, "b.test", "192.0.2.1");
    Host& sender = own_host(world, "a.test", "192.0.2.100");
    host.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    for (int i = 0; i < 120; ++i) world.submit("s@a.test", {"r@b.test", "q@b.test"});
    world.pass(10s);
    const ByHand bounced = bounce(world, "to:r@b.test");
    CHECK(bounced.messages == 120);
    CHECK(bounced.recipients == 120);
    CHECK(bounced.busy == 0);
    host.on_rcpt = [](const std::string&) { return "250 ok"; };
    REQUIRE(world.drained(30min));
    REQUIRE(sender.taken.size() == 120);
    const std::string& report = sender.taken[0].body;
    CHECK(report.find("an administrator of this relay returned it: their wish") != std::string::npos);
    CHECK(report.find("Status: 5.0.0") != std::string::npos);
    CHECK(report.find("Final-Recipient: rfc822;q@b.test") == std::string::npos);
    REQUIRE(host.taken.size() == 120);
    CHECK(host.taken[0].to == std::vector<std::string>{"<q@b.test>"});
  }

  TEST_CASE("by hand, and stopped: what was begun is done, the rest stays") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    own_host(world, "b.test", "192.0.2.1").on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    own_host(world, "a.test", "192.0.2.100");
    for (int i = 0; i < 120; ++i) world.submit("s@a.test", {"r@b.test"});
    world.pass(10s);
    HandOrder order;
    order.progress = std::make_shared<queue::Progress>();
    order.progress->stop();
    const ByHand some = by_hand(world, order);
    CHECK(some.stopped);
    CHECK(some.messages == 50);
    CHECK(order.progress->seen().done == 50);
    const ByHand rest = bounce(world, "to:r@b.test");
    CHECK_FALSE(rest.stopped);
    CHECK(rest.messages == 70);
  }

  TEST_CASE("bounced by hand: not the notifications that this makes") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    Host& host = own_host(world, "b.test", "192.0.2.1");
    Host& sender = own_host(world, "a.test", "192.0.2.100");
    host.on_rcpt = sender.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    for (int i = 0; i < 400; ++i) world.submit("s@a.test", {"r@b.test"});
    world.pass(10s);
    CHECK(bounce(world, "").messages == 400);
    sender.on_rcpt = [](const std::string&) { return "250 ok"; };
    REQUIRE(world.drained(30min));
    CHECK(sender.taken.size() == 400);
  }

  TEST_CASE("bounced by hand: what is held, too; not what is attempted just now") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    Host& host = own_host(world, "b.test", "192.0.2.1");
    Host& sender = own_host(world, "a.test", "192.0.2.100");
    host.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    world.submit("s@a.test", {"r@b.test"});
    world.pass(1s);
    hold_all(world);
    CHECK(bounce(world, "").messages == 1);
    REQUIRE(world.until([&] { return sender.taken.size() == 1; }, 1min));
    CHECK(world.empty());
    world.pass(1min);  // its connection is not kept any more
    host.banner = "220-wait";
    world.submit("s@a.test", {"r@b.test"});
    REQUIRE(world.until([&] { return host.open > 0; }, 1min));
    for (const ByHand& done : {bounce(world, ""), by_hand(world, reroute("smtp:[192.0.2.9]"))}) {
      CHECK(done.messages == 0);
      CHECK(done.busy == 1);
    }
    CHECK_FALSE(world.empty());
  }

  TEST_CASE("mail that was rerouted goes to its next hop, whatever routes say, also after a reload") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    Host& host = own_host(world, "b.test", "192.0.2.1");
    host.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    Host& other = world.host("192.0.2.9");
    world.submit("s@a.test", {"r@b.test"});
    world.pass(1s);
    other.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    CHECK(by_hand(world, reroute("smtp:[192.0.2.9]")).recipients == 1);
    REQUIRE(world.until([&] { return other.connections > 0; }, 1min));
    other.on_rcpt = [](const std::string&) { return "250 ok"; };
    const int before = host.connections;
    world.reload([](conf::Config& config) {
      conf::Route route;
      route.match = "*";
      route.name = "office";
      route.next_hops.push_back(*conf::parse_next_hop("smtp:[192.0.2.1]"));
      config.routes.push_back(route);
    });
    REQUIRE(world.drained(30min));
    CHECK(other.taken.size() == 1);
    CHECK(host.connections == before);
  }
}
}  // namespace waypost::delivery
