#include "delivery/dispatcher.h"

#include <algorithm>
#include <filesystem>

#include <doctest/doctest.h>

#include "tests/delivery/relay_world.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;
using tests::Host;
using tests::RelayWorld;

/// b.test with two equal exchangers and one behind them.
void three_exchangers(RelayWorld& world) {
  world.resolver.add_mx("b.test", {{10, "mx1.b.test"}, {10, "mx2.b.test"}, {20, "mx3.b.test"}});
  world.resolver.add_host("mx1.b.test", {"192.0.2.1"});
  world.resolver.add_host("mx2.b.test", {"192.0.2.2"});
  world.resolver.add_host("mx3.b.test", {"192.0.2.3"});
}

/// a.test takes the notifications.
Host& sender_host(RelayWorld& world) {
  world.resolver.add_mx("a.test", {{10, "mx.a.test"}});
  world.resolver.add_host("mx.a.test", {"192.0.2.100"});
  return world.host("192.0.2.100");
}

}  // namespace

TEST_SUITE("delivery/dispatcher") {
  TEST_CASE("a committed message is relayed at once, body and trace, and leaves the queue") {
    RelayWorld world;
    three_exchangers(world);
    Host& mx1 = world.host("192.0.2.1");
    Host& mx2 = world.host("192.0.2.2");
    world.submit("s@a.test", {"r@b.test"});
    REQUIRE(world.drained(5s));
    REQUIRE(mx1.taken.size() + mx2.taken.size() == 1);
    const Host::Taken& got = mx1.taken.empty() ? mx2.taken[0] : mx1.taken[0];
    CHECK(got.from == "<s@a.test>");
    CHECK(got.body == "Received: by relay.test\r\nSubject: x\r\n\r\ntext\r\n");
  }

  TEST_CASE("equal exchangers share the load, the lower one is used when they are down [RFC 5321 5.1]") {
    RelayWorld world;
    three_exchangers(world);
    Host& mx3 = world.host("192.0.2.3");
    world.submit("s@a.test", {"r@b.test"});
    REQUIRE(world.drained(5s));
    CHECK(mx3.taken.size() == 1);
    Host& mx1 = world.host("192.0.2.1");
    Host& mx2 = world.host("192.0.2.2");
    world.until([] { return false; }, 6min);  // they are asked again, and the kept connection is closed
    for (int i = 0; i < 60; ++i) {
      world.submit("s@a.test", {"r@b.test"});
      if (i % 3 == 0) world.until([] { return false; }, 10s);
    }
    REQUIRE(world.drained(30s));
    CHECK(mx1.taken.size() > 5);
    CHECK(mx2.taken.size() > 5);
    CHECK(mx3.taken.size() == 1);
  }

  TEST_CASE("a recipient refused for good comes back to the sender, the others arrive") {
    RelayWorld world;
    three_exchangers(world);
    Host& mx1 = world.host("192.0.2.1");
    Host& mx2 = world.host("192.0.2.2");
    for (Host* host : {&mx1, &mx2}) {
      host->on_rcpt = [](const std::string& line) {
        return line.find("bad@") != std::string::npos ? "550 5.1.1 no such user" : "250 ok";
      };
    }
    Host& home = sender_host(world);
    world.submit("s@a.test", {"good@b.test", "bad@b.test"});
    REQUIRE(world.drained(30s));
    CHECK(mx1.taken.size() + mx2.taken.size() == 1);
    REQUIRE(home.taken.size() == 1);
    CHECK(home.taken[0].from == "<>");
    CHECK(home.taken[0].to == std::vector<std::string>{"<s@a.test>"});
    CHECK(home.taken[0].body.find("Status: 5.1.1\r\n") != std::string::npos);
    CHECK(home.taken[0].body.find("good@b.test") == std::string::npos);
  }

  TEST_CASE("nobody is told when a message from the null reverse-path fails [RFC 5321 6.1]") {
    RelayWorld world;
    world.submit("", {"r@nowhere.test"});
    REQUIRE(world.drained(30s));
    CHECK(world.dispatcher->stats().bounced == 1);
  }

  TEST_CASE("no such domain and null MX fail at once with their codes [RFC 7505]") {
    RelayWorld world;
    Host& home = sender_host(world);
    world.resolver.add_mx("null.test", {{0, ""}});
    world.submit("s@a.test", {"r@nowhere.test"});
    world.submit("s@a.test", {"r@null.test"});
    REQUIRE(world.drained(30s));
    REQUIRE(home.taken.size() == 2);
    std::string both = home.taken[0].body + home.taken[1].body;
    CHECK(both.find("Status: 5.1.2\r\n") != std::string::npos);
    CHECK(both.find("Status: 5.1.10\r\n") != std::string::npos);
  }

  TEST_CASE("450 is tried again by the schedule, and only that recipient") {
    RelayWorld world;
    three_exchangers(world);
    Host& mx1 = world.host("192.0.2.1");
    Host& mx2 = world.host("192.0.2.2");
    int refusals = 0;
    for (Host* host : {&mx1, &mx2}) {
      host->on_rcpt = [&](const std::string& line) {
        const bool later = line.find("later@") != std::string::npos && ++refusals <= 2;
        return later ? "450 4.2.0 not yet" : "250 ok";
      };
    }
    world.submit("s@a.test", {"now@b.test", "later@b.test"});
    CHECK_FALSE(world.drained(20s));
    CHECK(mx1.taken.size() + mx2.taken.size() == 1);
    REQUIRE(world.rows().size() == 1);
    CHECK(world.rows()[0].recipients.size() == 2);
    REQUIRE(world.drained(3min));
    CHECK(mx1.taken.size() + mx2.taken.size() == 2);
    CHECK(refusals == 3);
  }

  TEST_CASE("a dead destination costs one row, one connection a retry, and its backlog leaves when it is back") {
    RelayWorld world;
    three_exchangers(world);
    for (int i = 0; i < 300; ++i) world.submit("s@a.test", {"r" + std::to_string(i) + "@b.test"});
    world.until([] { return false; }, 30s);
    const queue::SqliteQueue::Stats before = world.queue->stats();
    world.until([] { return false; }, 90s);                            // a retry
    CHECK(world.queue->stats().operations - before.operations < 400);  // a sweep each second, not an update a message
    CHECK(world.counts().messages == 300);
    CHECK(world.rows()[0].recipients[0].attempts == 0);
    Host& mx1 = world.host("192.0.2.1");
    Host& mx2 = world.host("192.0.2.2");
    REQUIRE(world.drained(10min));
    CHECK(mx1.taken.size() + mx2.taken.size() == 300);
    CHECK(mx1.most_open + mx2.most_open <= 20);
  }

  TEST_CASE("concurrency is bounded, and connections are used again") {
    RelayWorld world([](conf::Config& config) { config.delivery.concurrency = 3; });
    world.resolver.add_mx("b.test", {{10, "mx1.b.test"}});
    world.resolver.add_host("mx1.b.test", {"192.0.2.1"});
    Host& mx1 = world.host("192.0.2.1");
    for (int i = 0; i < 50; ++i) world.submit("s@a.test", {"r@b.test"});
    REQUIRE(world.drained(1min));
    CHECK(mx1.taken.size() == 50);
    CHECK(mx1.most_open <= 3);
    CHECK(mx1.connections <= 6);
  }

  TEST_CASE("what cannot be delivered in its lifetime is returned, with the last reason") {
    RelayWorld world;
    Host& home = sender_host(world);
    three_exchangers(world);  // nobody listens
    world.submit("s@a.test", {"r@b.test"});
    CHECK_FALSE(world.drained(58min));
    CHECK(home.taken.empty());
    REQUIRE(world.drained(5min));
    REQUIRE(home.taken.size() == 1);
    CHECK(home.taken[0].body.find("Status: 5.4.7\r\n") != std::string::npos);
    CHECK(home.taken[0].body.find("refused") != std::string::npos);
    CHECK(world.dispatcher->stats().expired == 1);
  }

  TEST_CASE("one delay notification, after queue.delay_warning") {
    RelayWorld world([](conf::Config& config) { config.queue.delay_warning = 10min; });
    Host& home = sender_host(world);
    three_exchangers(world);
    world.submit("s@a.test", {"r@b.test"});
    world.until([] { return false; }, 9min);
    CHECK(home.taken.empty());
    world.until([] { return false; }, 30min);
    REQUIRE(home.taken.size() == 1);
    CHECK(home.taken[0].body.find("Action: delayed\r\n") != std::string::npos);
    CHECK(home.taken[0].body.find("Status: 4.4.1\r\n") != std::string::npos);
    Host& mx1 = world.host("192.0.2.1");
    REQUIRE(world.drained(10min));
    CHECK(mx1.taken.size() == 1);
  }

  TEST_CASE("the queue survives a stop, and is delivered after it") {
    RelayWorld world;
    three_exchangers(world);
    for (int i = 0; i < 20; ++i) world.submit("s@a.test", {"r@b.test"});
    world.shut();
    Host& mx1 = world.host("192.0.2.1");
    world.open();
    CHECK(world.counts().messages == 20);
    REQUIRE(world.drained(10min));
    CHECK(mx1.taken.size() == 20);
  }

  TEST_CASE("a held message stays, a released one leaves") {
    RelayWorld world;
    three_exchangers(world);
    world.submit("s@a.test", {"r@b.test"});
    world.change(queue::Change::hold);
    Host& mx1 = world.host("192.0.2.1");
    world.until([] { return false; }, 30min);
    CHECK(mx1.taken.empty());
    world.change(queue::Change::release);
    world.change(queue::Change::retry);
    REQUIRE(world.drained(10s));
    CHECK(mx1.taken.size() == 1);
  }

  TEST_CASE("a reply lost after the final dot is in doubt: no other host, twice the step") {
    RelayWorld world;
    three_exchangers(world);
    Host& mx1 = world.host("192.0.2.1");
    Host& mx2 = world.host("192.0.2.2");
    Host& mx3 = world.host("192.0.2.3");
    int dots = 0;
    for (Host* host : {&mx1, &mx2, &mx3}) {
      host->on_dot = [&] { return ++dots == 1 ? std::string() : std::string("250 ok"); };
    }
    world.submit("s@a.test", {"r@b.test"});
    world.until([] { return false; }, 100s);
    CHECK(dots == 1);
    REQUIRE(world.drained(60s));
    CHECK(dots == 2);
  }

  TEST_CASE("domains behind a backlog are served at once") {
    RelayWorld world;
    three_exchangers(world);  // b.test hangs
    for (const char* address : {"192.0.2.1", "192.0.2.2", "192.0.2.3"})
      world.runtime.black_hole(*net::Address::parse(address, 25));
    for (int i = 0; i < 1500; ++i) world.submit("s@a.test", {"r@b.test"});
    world.resolver.add_mx("c.test", {{10, "mx.c.test"}});
    world.resolver.add_host("mx.c.test", {"192.0.2.50"});
    Host& other = world.host("192.0.2.50");
    world.submit("s@a.test", {"r@c.test"});
    CHECK(world.until([&] { return other.taken.size() == 1; }, 2s));
  }

  TEST_CASE("mail for a Maildir is written there; routes reject and discard") {
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() / ("waypost-maildir-" + std::to_string(getpid()));
    RelayWorld world([&](conf::Config& config) {
      conf::Domain domain;
      domain.name = "home.test";
      domain.deliver = conf::NextHop{conf::NextHop::Kind::maildir, {}, false, folder.string() + "/{domain}/{local}"};
      config.domains.push_back(domain);
      config.routes.push_back({"no.test", {conf::NextHop{conf::NextHop::Kind::reject, {}, false, "5.1.6 moved away"}}});
      config.routes.push_back({"hole.test", {conf::NextHop{conf::NextHop::Kind::discard, {}, false, ""}}});
    });
    world.submit("s@home.test", {"ann@home.test", "x@no.test", "y@hole.test"});
    REQUIRE(world.drained(10s));
    std::size_t ann = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "home.test/ann/new"))
      ann += entry.is_regular_file() ? 1 : 0;
    CHECK(ann == 1);
    std::size_t sender = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "home.test/s/new"))
      sender += entry.is_regular_file() ? 1 : 0;
    CHECK(sender == 1);  // 5.1.6 of x@no.test
    std::filesystem::remove_all(folder);
  }
}

}  // namespace waypost::delivery
