#include "delivery/dispatcher.h"

#include <filesystem>

#include <doctest/doctest.h>

#include "tests/delivery/relay_world.h"

namespace waypost::delivery {

using namespace std::chrono_literals;
using tests::domain;
using tests::Host;
using tests::many_domains;
using tests::own_host;
using tests::queue_without_delivery;
using tests::RelayWorld;
using tests::sender_host;
using tests::three_exchangers;

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

  TEST_CASE("NOTIFY=SUCCESS: told by us where the next host does not promise it, in the same transaction [RFC 3461]") {
    for (const bool promises : {false, true}) {
      CAPTURE(promises);
      RelayWorld world;
      Host& host = own_host(world, "b.test", "192.0.2.1");
      host.dsn = promises;
      Host& home = sender_host(world);
      world.submit("s@a.test", {"r@b.test", "q@b.test"}, "Subject: x\r\n\r\nx\r\n",
                   smtp::Notify{smtp::Notify::kSuccess});
      REQUIRE(world.drained(30s));
      CHECK(host.taken.size() == 1);
      if (promises) {
        CHECK(home.taken.empty());
        continue;
      }
      REQUIRE(home.taken.size() == 1);
      CHECK(home.taken[0].from == "<>");
      CHECK(home.taken[0].body.find("Action: relayed\r\nStatus: 2.0.0\r\n") != std::string::npos);
      CHECK(home.taken[0].body.find("Final-Recipient: rfc822; q@b.test\r\n") != std::string::npos);
    }
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

  TEST_CASE("a destination's failure: a host's greeting is its words, no rule is told") {
    RelayWorld world([](conf::Config& config) { config.queue.delay_warning = 10min; });
    Host& home = sender_host(world);
    world.resolver.add_mx("b.test", {{10, "mx1.b.test"}});
    world.resolver.add_host("mx1.b.test", {"192.0.2.1"});
    world.host("192.0.2.1").banner = "421 4.3.2 too many connections";
    world.submit("s@a.test", {"r@b.test"});
    world.until([&] { return !home.taken.empty(); }, 30min);
    REQUIRE(home.taken.size() == 1);
    CHECK(home.taken[0].body.find("Diagnostic-Code: smtp; 421 4.3.2 too many connections\r\n") != std::string::npos);
    CHECK(home.taken[0].body.find("[rule") == std::string::npos);
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

  TEST_CASE("mail for an LMTP server by its socket: a status for each recipient, the rest is tried again [RFC 2033]") {
    RelayWorld world([](conf::Config& config) {
      conf::Domain domain;
      domain.name = "b.test";
      domain.deliver = conf::NextHop{};
      domain.deliver->kind = conf::NextHop::Kind::lmtp_socket;
      domain.deliver->value = "/run/lmtp";
      config.domains.push_back(domain);
    });
    Host& host = world.host("/run/lmtp");
    host.lmtp = true;
    bool full = true;
    host.on_dot_for = [&full](const std::string& to) {
      return full && to == "<full@b.test>" ? "452 4.2.2 over quota" : "250 2.0.0 saved";
    };
    world.submit("s@a.test", {"r1@b.test", "full@b.test", "r2@b.test"});
    REQUIRE(world.until([&] { return world.dispatcher->stats().delivered == 2; }, 3s));
    CHECK(world.dispatcher->stats().deferred == 1);
    CHECK(world.rows().at(0).recipients.size() == 3);
    full = false;
    REQUIRE(world.drained(5min));
    CHECK(host.taken.size() == 2);
    CHECK(host.taken[1].to == std::vector<std::string>{"<full@b.test>"});
    CHECK(world.dispatcher->stats().delivered == 3);
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

  TEST_CASE("what found no room in the window is read when there is room, not when a timer says so") {
    RelayWorld world([](conf::Config&) {}, queue::Schedule::Limits{40, 10});
    Host& host = many_domains(world, 100);
    for (int i = 0; i < 100; ++i) {
      for (int n = 0; n < 3; ++n) world.submit("s@a.test", {"r@" + domain(i)});
    }
    REQUIRE(world.drained(5s));
    world.shut();
    host.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    world.open();
    for (int i = 0; i < 100; ++i) {
      for (int n = 0; n < 3; ++n) world.submit("s@a.test", {"r@" + domain(i)});
    }
    world.shut();
    host.on_rcpt = [](const std::string&) { return "250 ok"; };
    world.runtime.advance(3min);
    world.open();
    CHECK(world.drained(5s));
    CHECK(world.tapped->pages < 100);
  }

  TEST_CASE("a full window is not read for what falls due meanwhile (no spin)") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {5s}; }, queue::Schedule::Limits{20, 10});
    Host& host = many_domains(world, 3);
    host.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    world.submit("s@a.test", {"r@" + domain(0)});
    for (const char* name : {"hole1.test", "hole2.test", "hole3.test"}) {
      world.resolver.add_mx(name, {{10, "mx." + std::string(name)}});
      const std::string address = "192.0.2.20" + std::string(name).substr(4, 1);
      world.resolver.add_host("mx." + std::string(name), {address});
      world.runtime.black_hole(*net::Address::parse(address, 25));
      for (int n = 0; n < 12; ++n) world.submit("s@a.test", {"r@" + std::string(name)});
    }
    const int before = world.tapped->pages;
    world.pass(20s);
    CHECK(world.tapped->pages - before < 60);
  }

  TEST_CASE("a destination whose mail is gone, but not its back-off, is served when that ends") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {10min}; });
    Host& other = many_domains(world, 1);
    other.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    world.adjust([](conf::Config& config) { config.queue.expire = 2h; });
    world.submit("", {"r@" + domain(0)});
    world.pass(200s);
    world.adjust([](conf::Config& config) { config.queue.expire = 5min; });
    three_exchangers(world);
    world.submit("", {"r@b.test"});  // expires at 500 s, in back-off until 740 s and more
    other.on_rcpt = [](const std::string&) { return "250 ok"; };
    world.pass(480s);  // the other one is read from the store and delivered
    REQUIRE(world.empty());
    world.host("192.0.2.1");
    world.adjust([](conf::Config& config) { config.queue.expire = 2h; });
    world.submit("", {"r@b.test"});
    CHECK(world.drained(5min));
  }

  TEST_CASE("back-off that could not be recorded ends all the same") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {2min}; });
    Host& other = many_domains(world, 1);
    other.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    world.submit("", {"r@" + domain(0)});
    world.pass(50s);
    three_exchangers(world);
    world.tapped->fail_destinations = Errc::full;
    world.submit("", {"r@b.test"});
    other.on_rcpt = [](const std::string&) { return "250 ok"; };
    world.pass(90s);  // the other one is read from the store and delivered
    CHECK(world.counts().messages == 1);
    world.host("192.0.2.1");
    CHECK(world.drained(2min));
  }

  TEST_CASE("an outcome that a full disk holds up beyond the next attempt does not end the attempts") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {1min}; });
    Host& other = many_domains(world, 1);
    other.on_rcpt = [](const std::string&) { return "450 4.2.0 later"; };
    world.tapped->fail_outcomes = Errc::full;
    world.submit("", {"r@" + domain(0)});
    world.pass(3min);
    CHECK(world.tapped->settled.size() > 100);
    other.on_rcpt = [](const std::string&) { return "250 ok"; };
    world.tapped->fail_outcomes.reset();
    CHECK(world.drained(2min));
  }

  TEST_CASE("what was delivered and cannot be recorded is not delivered again, nor does it expire") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {1min}; });
    Host& host = many_domains(world, 2);
    world.tapped->fail_outcomes = Errc::damaged;
    world.submit("s@a.test", {"r@" + domain(0)});
    world.pass(1min);
    REQUIRE(world.tapped->settled.size() == 1);
    world.tapped->fail_outcomes.reset();
    // Others go on, and each reading of the store meets it.
    for (int i = 0; i < 20; ++i) {
      world.dispatcher->changed();
      world.submit("s@a.test", {"r@" + domain(i % 2)});
      world.pass(10min);
    }
    CHECK(world.tapped->settled.size() == 21);
    world.pass(10 * 24h);
    CHECK(world.tapped->settled.size() == 21);
    CHECK(host.taken.size() == 21);
    CHECK(world.dispatcher->stats().destinations == 0);
  }

  TEST_CASE("what is known of a destination is forgotten when it has no mail") {
    RelayWorld world;
    many_domains(world, 200);
    for (int i = 0; i < 200; ++i) world.submit("s@a.test", {"r@" + domain(i)});
    REQUIRE(world.drained(5s));
    world.pass(3min);
    CHECK(world.dispatcher->stats().destinations == 0);
    CHECK(world.dispatcher->stats().sites == 0);
    CHECK(world.dispatcher->stats().connections == 0);
  }

  TEST_CASE("sites share the connections: a backlog gives way to a site that has none") {
    RelayWorld world([](conf::Config& config) { config.delivery.connections = 2; });
    std::size_t busy_taken = 0;
    for (const int n : {1, 2, 3}) {
      Host& host = own_host(world, "busy" + std::to_string(n) + ".test", "192.0.2.1" + std::to_string(n));
      host.on_dot = [&] {
        ++busy_taken;
        return "250 ok";
      };
    }
    std::vector<std::size_t> before_small;  // messages of the busy ones that went before
    for (const int n : {1, 2, 3, 4}) {
      Host& host = own_host(world, "small" + std::to_string(n) + ".test", "192.0.2.2" + std::to_string(n));
      host.on_dot = [&] {
        before_small.push_back(busy_taken);
        return "250 ok";
      };
    }
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 100; ++i) {
        for (const int n : {1, 2, 3}) world.submit("", {"r@busy" + std::to_string(n) + ".test"});
      }
      for (const int n : {1, 2, 3, 4}) world.submit("", {"r@small" + std::to_string(n) + ".test"});
    });
    REQUIRE(world.drained(1min));
    REQUIRE(before_small.size() == 4);
    CHECK(before_small.back() <= 100);
    CHECK(busy_taken == 300);
    for (const int n : {1, 2, 3}) CHECK(world.host("192.0.2.1" + std::to_string(n)).connections <= 20);
  }

  TEST_CASE("where connections are short, the one that is idle for longest makes room") {
    RelayWorld world([](conf::Config& config) { config.delivery.connections = 2; });
    Host& one = own_host(world, "one.test", "192.0.2.1");
    Host& two = own_host(world, "two.test", "192.0.2.2");
    Host& three = own_host(world, "three.test", "192.0.2.3");
    for (const char* domain : {"one.test", "two.test", "one.test", "three.test", "one.test", "two.test", "one.test"}) {
      world.submit("", {std::string("r@") + domain});
      REQUIRE(world.drained(500ms));
      world.pass(100ms);
    }
    CHECK(one.taken.size() == 4);
    CHECK(one.connections == 1);
    CHECK(two.connections == 2);
    CHECK(three.connections == 1);
  }

  TEST_CASE("a worker's end with a turn that has no mail any more leaves nothing behind") {
    RelayWorld world([](conf::Config& config) { config.delivery.connections = 1; });
    Host& host = own_host(world, "b.test", "192.0.2.1");
    host.on_quit = [&] {
      // While the only worker says QUIT, a turn comes and its mail goes.
      world.dispatcher->arrived(world.spare);
      world.dispatcher->changed();
    };
    world.spare = {world.due_of(world.submit("", {"r@b.test"}), "b.test")};
    REQUIRE(world.drained(3s));
    world.pass(10s);
    CHECK(host.connections >= 1);
    CHECK(world.dispatcher->stats().sites == 0);
  }

  TEST_CASE("a host that greets as ourselves is a loop: returned at once [RFC 5321 6.3]") {
    RelayWorld world;
    Host& home = sender_host(world);
    Host& host = own_host(world, "b.test", "192.0.2.1");
    host.banner = "220 relay.test ESMTP";
    world.submit("s@a.test", {"r@b.test"});
    REQUIRE(world.drained(5s));
    REQUIRE(home.taken.size() == 1);
    CHECK(home.taken[0].body.find("Status: 5.4.6\r\n") != std::string::npos);
  }

  TEST_CASE("ourselves behind a host that is down is no loop, and no host after ourselves is tried [RFC 5321 5.1]") {
    RelayWorld world;
    three_exchangers(world);  // mx1 and mx2 are down
    world.host("192.0.2.3").banner = "220 relay.test ESMTP";
    world.resolver.add_mx("b.test", {{30, "mx4.b.test"}});
    world.resolver.add_host("mx4.b.test", {"192.0.2.4"});
    Host& after = world.host("192.0.2.4");
    world.submit("", {"r@b.test"});
    world.pass(20min);
    CHECK(world.counts().messages == 1);
    CHECK(after.connections == 0);
    world.host("192.0.2.1");
    REQUIRE(world.drained(5min));
  }

  TEST_CASE("a next hop that greets as ourselves is the configuration's trouble: deferred") {
    RelayWorld world([](conf::Config& config) {
      conf::NextHop hop;
      hop.kind = conf::NextHop::Kind::smtp;
      hop.host.host = "192.0.2.1";
      config.routes.push_back({"b.test", {hop}});
    });
    Host& host = world.host("192.0.2.1");
    host.banner = "220 relay.test ESMTP";
    world.submit("", {"r@b.test"});
    world.pass(10s);
    REQUIRE(world.counts().messages == 1);
    CHECK(world.rows()[0].recipients[0].status == "4.4.6");
  }

  TEST_CASE("a host that takes few recipients a transaction gets the rest at once [RFC 5321 4.5.3.1.10]") {
    RelayWorld world;
    Host& host = own_host(world, "b.test", "192.0.2.1");
    int in_transaction = 0;
    host.on_rcpt = [&](const std::string&) { return ++in_transaction > 3 ? "452 4.5.3 too many" : "250 ok"; };
    host.on_dot = [&] {
      in_transaction = 0;
      return "250 ok";
    };
    std::vector<std::string> to;
    for (int i = 0; i < 10; ++i) to.push_back("r" + std::to_string(i) + "@b.test");
    world.submit("", to);
    REQUIRE(world.drained(3s));
    CHECK(host.taken.size() == 4);
    CHECK(host.connections == 1);
  }

  TEST_CASE("what a host took is settled before a silent host is tried for the others") {
    RelayWorld world;
    world.resolver.add_mx("b.test", {{10, "mx1.b.test"}, {20, "mx2.b.test"}});
    world.resolver.add_host("mx1.b.test", {"192.0.2.1"});
    world.resolver.add_host("mx2.b.test", {"192.0.2.2"});
    Host& mx1 = world.host("192.0.2.1");
    mx1.on_rcpt = [](const std::string& line) {
      return line.find("full@") != std::string::npos ? "452 4.2.2 full" : "250 ok";
    };
    world.host("192.0.2.2").banner = "220-not yet";
    const queue::Id id = world.submit("s@a.test", {"r@b.test", "full@b.test"});
    REQUIRE(world.until([&] { return world.host("192.0.2.2").connections == 1; }, 5s));
    world.until([] { return false; }, 2s);
    REQUIRE(world.tapped->settled.size() == 1);
    CHECK(world.tapped->settled[0].message == id);
    REQUIRE(world.tapped->settled[0].recipients.size() == 1);
    CHECK(world.tapped->settled[0].recipients[0].event == queue::Event::attempt_relayed);
    CHECK(mx1.taken.size() == 1);
    mx1.on_rcpt = [](const std::string&) { return "250 ok"; };
    REQUIRE(world.drained(30min));
    REQUIRE(mx1.taken.size() == 2);
    CHECK(mx1.taken[1].to == std::vector<std::string>{"<full@b.test>"});
  }

  TEST_CASE("a message that makes the host hang up does not keep the others from it") {
    RelayWorld world;
    Host& host = own_host(world, "b.test", "192.0.2.1");
    host.on_rcpt = [](const std::string& line) { return line.find("poison") != std::string::npos ? "" : "250 ok"; };
    world.submit("", {"poison@b.test"});
    world.submit("", {"r1@b.test"});
    world.submit("", {"r2@b.test"});
    world.pass(10min);
    CHECK(host.taken.size() == 2);
    CHECK(world.counts().messages == 1);
  }

  TEST_CASE("exchangers without an address fail after a day of that, whatever was before (5.4.4)") {
    RelayWorld world([](conf::Config& config) {
      config.queue.retry = {30min};
      config.queue.expire = std::chrono::hours(100);
    });
    world.step = 1s;
    three_exchangers(world);  // nobody listens
    world.submit("", {"r@b.test"});
    world.pass(std::chrono::hours(26));
    world.resolver.forget("mx1.b.test");
    world.resolver.forget("mx2.b.test");
    world.resolver.forget("mx3.b.test");
    world.pass(std::chrono::hours(3));
    CHECK(world.counts().messages == 1);
    world.pass(std::chrono::hours(24));
    CHECK(world.empty());
    CHECK(world.dispatcher->stats().bounced == 1);
  }

  TEST_CASE("a restart does not forget how long a destination has been failing") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {1min, 30min}; });
    Host& host = own_host(world, "b.test", "192.0.2.1");
    host.banner = "421 4.3.2 busy";
    world.submit("", {"r@b.test"});
    world.pass(3min);
    REQUIRE(host.connections == 2);
    world.shut();
    world.open();
    world.pass(1s);
    world.submit("", {"r@b.test"});
    world.pass(10min);
    CHECK(host.connections == 2);
    host.banner = "220 b.test";
    CHECK(world.drained(35min));
  }

  TEST_CASE("one message asks whether a failing destination is back, and the rest follows at once") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {1min, 30min}; }, queue::Schedule::Limits{40, 20});
    Host& host = own_host(world, "b.test", "192.0.2.1");
    host.banner = "421 4.3.2 busy";
    for (int i = 0; i < 60; ++i) world.submit("", {"r@b.test"});
    world.pass(10s);
    CHECK(world.dispatcher->stats().held == 0);
    host.banner = "220 b.test";
    std::size_t held = 0;
    host.on_dot = [&] {
      if (host.taken.empty()) held = world.dispatcher->stats().held;
      return "250 ok";
    };
    REQUIRE(world.drained(2min));
    CHECK(held == 1);
  }

  TEST_CASE("domains that share dead hosts: one connection asks for all") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {30min}; });
    many_domains(world, 200);
    world.runtime.black_hole(*net::Address::parse("192.0.2.77", 25));
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 200; ++i) world.submit("", {"r@" + domain(i)});
    });
    world.pass(70s);
    CHECK(world.dispatcher->stats().held == 0);
    CHECK(world.rows()[0].recipients[0].status == "4.4.1");
  }

  TEST_CASE("old mail of a destination that is back is not kept out by new mail") {
    RelayWorld world([](conf::Config& config) { config.queue.retry = {1min, 30min}; }, queue::Schedule::Limits{40, 20});
    Host& host = own_host(world, "b.test", "192.0.2.1");
    host.banner = "421 4.3.2 busy";
    for (int i = 0; i < 60; ++i) world.submit("s" + std::to_string(i) + "@a.test", {"r@b.test"});
    world.pass(10s);
    host.banner = "220 b.test";
    world.pass(40s);
    for (int i = 0; i < 30; ++i) {
      world.submit("new@a.test", {"r@b.test"});
      world.pass(1s);
    }
    REQUIRE(world.drained(1min));
    CHECK(host.taken.size() == 90);
  }

  TEST_CASE("after a reload no worker of the old route takes mail that waited") {
    RelayWorld world([](conf::Config& config) {
      conf::NextHop hop;
      hop.kind = conf::NextHop::Kind::smtp;
      hop.host.host = "192.0.2.1";
      config.routes.push_back({"*", {hop}});
      config.delivery.concurrency = 1;
    });
    Host& old_host = world.host("192.0.2.1");
    Host& new_host = world.host("192.0.2.2");
    world.shut();
    queue_without_delivery(world, [&] {
      for (int i = 0; i < 20; ++i) world.submit("", {"r@b.test"});
    });
    bool reloaded = false;
    old_host.on_dot = [&] {
      if (!std::exchange(reloaded, true))
        world.reload([](conf::Config& config) { config.routes[0].next_hops[0].host.host = "192.0.2.2"; });
      return "250 ok";
    };
    REQUIRE(world.drained(1min));
    CHECK(old_host.taken.size() == 1);
    CHECK(new_host.taken.size() == 19);
  }

  TEST_CASE("mail for an address literal that is our own is a loop: returned") {
    RelayWorld world;
    world.own.push_back(*net::Address::parse("192.0.2.9", 25));
    Host& home = sender_host(world);
    world.submit("s@a.test", {"r@[192.0.2.9]"});
    REQUIRE(world.drained(5s));
    REQUIRE(home.taken.size() == 1);
    CHECK(home.taken[0].body.find("Status: 5.4.6\r\n") != std::string::npos);
  }

  TEST_CASE("a stop while a message is fetched says nothing against its destination") {
    RelayWorld world;
    Host& host = own_host(world, "b.test", "192.0.2.1");
    world.shut();
    queue_without_delivery(world, [&] { world.submit("", {"r@b.test"}); });
    world.dispatcher->stop();
    world.shut();
    world.open();
    for (int turn = 0; turn < 20 && world.dispatcher->stats().connections == 0; ++turn) {
      world.runtime.run_until_idle();
      world.queue->run_pending();
    }
    world.shut();  // its body is still being read
    CHECK(host.taken.empty());
    world.open();
    CHECK(world.drained(5s));
  }

  TEST_CASE("in doubt: the same host is asked first") {
    RelayWorld world;
    three_exchangers(world);
    std::vector<std::string> dots;
    for (const char* address : {"192.0.2.1", "192.0.2.2"}) {
      world.host(address).on_dot = [&dots, address] {
        dots.push_back(address);
        return dots.size() % 2 == 1 ? std::string() : std::string("250 ok");
      };
    }
    for (int i = 0; i < 8; ++i) {
      world.submit("", {"r@b.test"});
      REQUIRE(world.drained(5min));
      REQUIRE(dots.size() == 2);
      CHECK(dots[0] == dots[1]);
      dots.clear();
    }
  }
}

}  // namespace waypost::delivery
