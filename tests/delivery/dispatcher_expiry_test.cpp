#include <doctest/doctest.h>

#include "delivery/dispatcher.h"
#include "tests/delivery/relay_world.h"

namespace waypost::delivery {

using namespace std::chrono_literals;
using tests::Host;
using tests::own_host;
using tests::RelayWorld;
using tests::sender_host;
using tests::three_exchangers;

TEST_SUITE("delivery/dispatcher_expiry") {
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

  TEST_CASE("a report of a delay has what the host said as its words, not as ours [RFC 3464 2.3.6]") {
    RelayWorld world([](conf::Config& config) { config.queue.delay_warning = 10min; });
    Host& home = sender_host(world);
    world.resolver.add_mx("b.test", {{10, "mx1.b.test"}});
    world.resolver.add_host("mx1.b.test", {"192.0.2.1"});
    Host& mx1 = world.host("192.0.2.1");
    mx1.on_rcpt = [](const std::string&) { return "450 4.2.1 busy"; };
    world.submit("s@a.test", {"r@b.test"});
    world.until([&] { return !home.taken.empty(); }, 30min);
    REQUIRE(home.taken.size() == 1);
    CHECK(home.taken[0].body.find("Action: delayed\r\nStatus: 4.2.1\r\nRemote-MTA: dns; mx1.b.test\r\n"
                                  "Diagnostic-Code: smtp; 450 4.2.1 busy\r\n") != std::string::npos);
    REQUIRE(world.drained(61min));
    REQUIRE(home.taken.size() == 2);
    CHECK(home.taken[1].body.find("Action: failed\r\nStatus: 5.4.7\r\nRemote-MTA: dns; mx1.b.test\r\n"
                                  "Diagnostic-Code: smtp; 450 4.2.1 busy\r\n") != std::string::npos);
    CHECK(home.taken[1].body.find("Delivery time expired. The mail server mx1.b.test[192.0.2.1]:25") !=
          std::string::npos);
  }

  TEST_CASE("a sender who was told of a delay is told once that it is over, recipient by recipient") {
    RelayWorld world([](conf::Config& config) {
      config.queue.delay_warning = 10min;
      config.queue.delay_over = true;
    });
    Host& home = sender_host(world);
    for (const std::string name : {"b", "c"}) {
      world.resolver.add_mx(name + ".test", {{10, "mx." + name + ".test"}});
      world.resolver.add_host("mx." + name + ".test", {name == "b" ? "192.0.2.1" : "192.0.2.9"});
    }
    Host& c = world.host("192.0.2.9");
    world.submit("s@a.test", {"r@b.test", "soon@c.test"});
    world.until([&] { return !home.taken.empty(); }, 30min);
    REQUIRE(home.taken.size() == 1);
    CHECK(c.taken.size() == 1);
    CHECK(home.taken[0].body.find("soon@c.test") == std::string::npos);
    world.shut();
    world.open();
    Host& b = world.host("192.0.2.1");
    REQUIRE(world.drained(10min));
    CHECK(b.taken.size() == 1);
    REQUIRE(home.taken.size() == 2);
    const std::string& told = home.taken[1].body;
    CHECK(told.find("Subject: Delayed mail was passed on\r\n") != std::string::npos);
    CHECK(told.find("Final-Recipient: rfc822; r@b.test\r\nAction: relayed\r\n") != std::string::npos);
    CHECK(told.find("soon@c.test") == std::string::npos);
    // In the transaction that ended the recipient.
    CHECK(world.rows().empty());
  }

  TEST_CASE("nobody is told that a delay is over who asked for something else, or where the key is off") {
    for (const std::uint8_t notify : {std::uint8_t{0}, smtp::Notify::kDelay}) {
      RelayWorld world([&](conf::Config& config) {
        config.queue.delay_warning = 10min;
        config.queue.delay_over = notify != 0;
      });
      Host& home = sender_host(world);
      three_exchangers(world);
      world.submit("s@a.test", {"r@b.test"}, "Subject: x\r\n\r\ntext\r\n", smtp::Notify{notify});
      world.until([&] { return !home.taken.empty(); }, 30min);
      Host& mx1 = world.host("192.0.2.1");
      REQUIRE(world.drained(10min));
      CHECK(mx1.taken.size() == 1);
      CHECK(home.taken.size() == 1);
    }
  }

  TEST_CASE("the report names each host of the last attempt: of a failure, and of a message that expired") {
    RelayWorld world;
    Host& home = sender_host(world);
    three_exchangers(world);
    Host& mx3 = world.host("192.0.2.3");
    mx3.on_rcpt = [](const std::string&) { return "550 5.1.1 no such user"; };
    world.submit("s@a.test", {"r@b.test"});
    REQUIRE(world.drained(10s));
    REQUIRE(home.taken.size() == 1);
    auto has = [&](std::size_t report, const std::string& text) {
      return home.taken.at(report).body.find(text) != std::string::npos;
    };
    CHECK(has(0, "    - mx1.b.test [192.0.2.1] could not be reached: connection refused\r\n"));
    CHECK(has(0, "    - mx2.b.test [192.0.2.2] could not be reached: connection refused\r\n"));
    CHECK(has(0, "    - mx3.b.test [192.0.2.3] answered: 550 5.1.1 no such user\r\n"));
    CHECK(has(0, "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"));
    // Of the recipient: all that could be asked put it off.
    mx3.on_rcpt = [](const std::string&) { return "450 4.2.1 busy"; };
    world.submit("s@a.test", {"r@b.test"});
    REQUIRE(world.drained(62min));
    REQUIRE(home.taken.size() == 2);
    CHECK(has(1, "    Delivery time expired. These mail servers were asked:\r\n"));
    CHECK(has(1, "    - mx2.b.test [192.0.2.2] could not be reached: connection refused\r\n"));
    CHECK(has(1, "    - mx3.b.test [192.0.2.3] answered: 450 4.2.1 busy\r\n"));
    CHECK(has(1, "Diagnostic-Code: smtp; 450 4.2.1 busy\r\n"));
    // Of the destination: none could be asked. The daemon is another one by then.
    mx3.close();
    world.submit("s@a.test", {"r@b.test"});
    world.pass(30min);
    world.shut();
    world.open();
    REQUIRE(world.drained(100min));
    REQUIRE(home.taken.size() == 3);
    CHECK(has(2, "    - mx1.b.test [192.0.2.1] could not be reached: connection refused\r\n"));
    CHECK(has(2, "    - mx3.b.test [192.0.2.3] could not be reached: connection refused\r\n"));
    CHECK(has(2, "Diagnostic-Code: X-Waypost; delivery time expired: connection refused\r\n"));
  }

  TEST_CASE("a clock that leaps ahead by years expires nothing before somebody could mend it (F22)") {
    RelayWorld world;
    three_exchangers(world);  // nobody listens
    world.submit("", {"r@b.test"});
    world.pass(5s);
    world.runtime.jump_wall(std::chrono::hours(24 * 3650));
    world.pass(30min);
    CHECK(world.counts().messages == 1);
    world.runtime.jump_wall(-std::chrono::hours(24 * 3650));
    world.host("192.0.2.1");
    CHECK(world.drained(2min));
  }

  TEST_CASE("a clock that leaps ahead while nothing runs expires nothing either, nor at a second start (F22)") {
    RelayWorld world;
    three_exchangers(world);  // nobody listens
    world.submit("", {"r@b.test"});
    world.pass(10min);
    world.shut();
    world.runtime.jump_wall(std::chrono::hours(24 * 3650));
    world.open();
    world.pass(30min);
    CHECK(world.counts().messages == 1);
    world.shut();
    world.open();
    world.pass(55min);
    CHECK(world.counts().messages == 1);
    world.pass(10min);  // nobody mended it
    CHECK(world.empty());
    CHECK(world.dispatcher->stats().expired == 1);
  }

  TEST_CASE("after a long absence mail that has expired is tried once more") {
    RelayWorld world;
    three_exchangers(world);
    world.submit("", {"r@b.test"});
    world.pass(10min);
    for (const auto& absence : {std::chrono::minutes(55), std::chrono::minutes(6 * 24 * 60)}) {
      world.shut();
      world.runtime.jump_wall(absence);
      world.open();
      world.pass(3min);
      CHECK(world.counts().messages == 1);
    }
    world.host("192.0.2.1");
    CHECK(world.drained(5min));
    CHECK(world.dispatcher->stats().expired == 0);
  }

  TEST_CASE("after a start mail that came since expires in time, what had expired is tried once more") {
    RelayWorld world;
    three_exchangers(world);  // nobody listens
    conf::Config config = *world.config;
    config.queue.expire = std::chrono::minutes(20);
    world.config = std::make_shared<const conf::Config>(config);
    world.submit("", {"before@b.test"});
    world.pass(1min);
    world.shut();
    world.runtime.jump_wall(30min);
    world.open();
    world.pass(3min);
    CHECK(world.counts().messages == 1);
    config.queue.expire = std::chrono::minutes(1);
    world.config = std::make_shared<const conf::Config>(config);
    world.submit("", {"since@b.test"});
    world.pass(90s);
    CHECK(world.counts().messages == 1);  // not the new one
    world.pass(3min);
    CHECK(world.empty());
  }

  TEST_CASE("a clock that was set back while nothing ran postpones nothing (F23)") {
    RelayWorld world;
    Host& host = own_host(world, "b.test", "192.0.2.1");
    host.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    world.submit("", {"r@b.test"});
    world.pass(10min);
    host.on_rcpt = [](const std::string&) { return "250 ok"; };
    world.shut();
    world.runtime.jump_wall(-std::chrono::hours(24));
    world.open();
    CHECK(world.drained(10s));
  }

  TEST_CASE("a clock that is set back postpones nothing (F23)") {
    RelayWorld world;
    Host& host = own_host(world, "b.test", "192.0.2.1");
    host.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    world.submit("", {"r@b.test"});
    world.pass(5s);
    host.on_rcpt = [](const std::string&) { return "250 ok"; };
    world.runtime.jump_wall(-std::chrono::hours(24));
    CHECK(world.drained(2min));
  }
}

}  // namespace waypost::delivery
