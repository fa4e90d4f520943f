// What could not be delivered and has nobody to be told but the postmaster.
#include "delivery/digest.h"

#include <doctest/doctest.h>

#include "tests/delivery/relay_world.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;
using tests::Host;
using tests::RelayWorld;

queue::Undelivered::Entry entry(int number) {
  queue::Undelivered::Entry out;
  out.message = queue::Id{static_cast<std::uint64_t>(number) << 32};
  out.at = net::WallTime(1'700'000'000s);
  out.address = "r" + std::to_string(number) + "@b.example";
  out.status = "5.1.1";
  out.reply = "550 5.1.1 no such user";
  out.host = "mx.b.example[192.0.2.7]:25";
  return out;
}

queue::Notification composed(const queue::Undelivered& undelivered, std::vector<std::string> to = {"pm@here.example"}) {
  std::vector<smtp::Path> paths;
  for (const std::string& address : to) paths.push_back(smtp::Path{*smtp::parse_mailbox(address, true)});
  return compose_digest({"relay.example.net", 24h}, paths, undelivered, queue::Id{9ULL << 40},
                        net::WallTime(1'700'086'400s));
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Reports that b.test refuses, and a postmaster.
struct DigestWorld : RelayWorld {
  explicit DigestWorld(std::function<void(conf::Config&)> change = [](conf::Config&) {})
      : RelayWorld([&](conf::Config& made) {
          made.queue.digest = 6h;
          change(made);
        }) {
    resolver.add_mx("b.test", {{10, "mx.b.test"}});
    resolver.add_host("mx.b.test", {"192.0.2.1"});
    host("192.0.2.1").on_rcpt = [](const std::string&) { return "550 5.1.1 no such user"; };
    resolver.add_mx("here.test", {{10, "mx.here.test"}});
    resolver.add_host("mx.here.test", {"192.0.2.100"});
    postmasters = {smtp::Path{*smtp::parse_mailbox("postmaster@here.test")}};
    step = 1s;
  }
  Host& home() { return host("192.0.2.100"); }
  queue::Undelivered untold() {
    std::optional<Result<queue::Undelivered>> out;
    net::Scope scope(runtime, [](std::string_view) {});
    scope.spawn(read(*store, out));
    until([&] { return scope.running() == 0; }, 5s);
    return **out;
  }

 private:
  static net::Task<> read(queue::Store& store, std::optional<Result<queue::Undelivered>>& out) {
    out = co_await store.undelivered();
  }
};

}  // namespace

TEST_SUITE("delivery/digest") {
  TEST_CASE("a digest is a message of nobody to the postmaster, with each report that could not be delivered") {
    queue::Undelivered undelivered;
    undelivered.entries = {entry(1), entry(2)};
    undelivered.entries[1].host = "";
    undelivered.entries[1].reply = "delivery time expired\r\n.\r\nFrom: x";
    const queue::Notification digest = composed(undelivered);
    CHECK(digest.message.envelope.reverse_path.is_null());
    REQUIRE(digest.message.envelope.recipients.size() == 1);
    CHECK(digest.message.envelope.recipients[0].forward_path.text() == "pm@here.example");
    CHECK(digest.message.origin.listener == queue::Origin::kDigest);
    CHECK(digest.message.expires == net::WallTime(1'700'086'400s) + 24h);
    CHECK(digest.message.envelope.body == smtp::BodyType::seven_bit);
    CHECK_FALSE(digest.message.envelope.smtputf8);
    CHECK(has(digest.body, "To: <pm@here.example>\r\nSubject: 2 reports could not be delivered\r\n"));
    CHECK(has(digest.body, "\r\nAuto-Submitted: auto-generated\r\n"));
    CHECK(has(digest.body, "\r\nTue, 14 Nov 2023 22:13:20 +0000  " + entry(1).message.text() +
                               "\r\n    <r1@b.example>\r\n    at mx.b.example[192.0.2.7]:25\r\n"
                               "    5.1.1 550 5.1.1 no such user\r\n"));
    CHECK(has(digest.body, "    <r2@b.example>\r\n    5.1.1 delivery time expired??.??From: x\r\n"));
    CHECK_FALSE(has(digest.body, "more"));
  }

  TEST_CASE("of very many a digest counts the rest; one has words of its own") {
    queue::Undelivered undelivered;
    undelivered.entries = {entry(1)};
    CHECK(has(composed(undelivered).body, "Subject: 1 report could not be delivered\r\n"));
    undelivered.more = 7;
    CHECK(has(composed(undelivered).body, "Subject: 8 reports could not be delivered\r\n"));
    CHECK(has(composed(undelivered).body, "\r\nand 7 more.\r\n"));
  }

  TEST_CASE("addresses in UTF-8 make it a message that needs SMTPUTF8, or 8 bits [RFC 6531 3.4]") {
    queue::Undelivered undelivered;
    undelivered.entries = {entry(1)};
    undelivered.entries[0].address = "j\xc3\xb6rg@b.example";
    const queue::Notification within = composed(undelivered);
    CHECK(has(within.body, "\r\nContent-Transfer-Encoding: 8bit\r\n"));
    CHECK(within.message.envelope.body == smtp::BodyType::eight_bit_mime);
    CHECK_FALSE(within.message.envelope.smtputf8);
    const queue::Notification to = composed({}, {"a@here.example", "j\xc3\xb6rg@here.example"});
    CHECK(has(to.body, "To: <a@here.example>, <j\xc3\xb6rg@here.example>\r\n"));
    CHECK(to.message.envelope.smtputf8);
    CHECK(to.message.envelope.recipients.size() == 2);
  }

  TEST_CASE("what nobody else is told of is told the postmaster in time, once, through a restart") {
    DigestWorld world;
    Host& home = world.home();
    const queue::Id first = world.submit("", {"gone@b.test"});
    world.pass(2h);
    const queue::Id second = world.submit("", {"away@b.test"});
    world.submit("s@here.test", {"bad@b.test"});  // its sender is told
    world.pass(210min);
    REQUIRE(home.taken.size() == 1);
    CHECK(home.taken[0].to == std::vector<std::string>{"<s@here.test>"});
    world.shut();
    world.open();
    world.pass(35min);
    REQUIRE(home.taken.size() == 2);
    const Host::Taken& digest = home.taken[1];
    CHECK(digest.from == "<>");
    CHECK(digest.to == std::vector<std::string>{"<postmaster@here.test>"});
    CHECK(has(digest.body, "Subject: 2 reports could not be delivered\r\n"));
    CHECK(has(digest.body, first.text() + "\r\n    <gone@b.test>\r\n    at mx.b.test[192.0.2.1]:25\r\n"));
    CHECK(has(digest.body, second.text() + "\r\n    <away@b.test>\r\n"));
    CHECK_FALSE(has(digest.body, "bad@b.test"));
    world.pass(13h);
    CHECK(home.taken.size() == 2);  // nothing to tell
    world.submit("", {"late@b.test"});
    world.pass(6h + 2min);
    REQUIRE(home.taken.size() == 3);
    CHECK(has(home.taken[2].body, "Subject: 1 report could not be delivered\r\n"));
  }

  TEST_CASE("a report that expires is told too") {
    DigestWorld world;
    world.host("192.0.2.1").on_rcpt = [](const std::string&) { return "450 4.2.1 busy"; };
    world.submit("", {"busy@b.test"});
    world.pass(6h);
    CHECK(world.home().taken.empty());  // it ended an hour after it came
    world.pass(70min);
    REQUIRE(world.home().taken.size() == 1);
    CHECK(has(world.home().taken[0].body, "5.4.7 delivery time expired: 450 4.2.1 busy\r\n"));
  }

  TEST_CASE("a digest that cannot be delivered causes no other") {
    DigestWorld world;
    world.home().on_rcpt = [](const std::string&) { return "550 5.1.1 no postmaster here"; };
    world.submit("", {"gone@b.test"});
    world.pass(30h);
    CHECK(world.home().connections == 1);
    CHECK(world.empty());
    CHECK(world.untold().entries.empty());
  }

  TEST_CASE("while no postmaster is known it waits; where digests are off nothing is kept") {
    DigestWorld world;
    std::vector<smtp::Path> later;
    std::swap(later, world.postmasters);
    world.submit("", {"gone@b.test"});
    world.pass(12h);
    CHECK(world.empty());
    CHECK(world.home().taken.empty());
    CHECK(world.untold().entries.size() == 1);
    world.reload([](conf::Config& config) { config.queue.digest = 0s; });
    world.postmasters = later;
    world.submit("", {"unseen@b.test"});
    world.pass(12h);
    CHECK(world.home().taken.empty());
    CHECK(world.untold().entries.size() == 1);
    world.reload([](conf::Config& config) { config.queue.digest = 6h; });
    world.pass(2min);
    REQUIRE(world.home().taken.size() == 1);
    CHECK(has(world.home().taken[0].body, "<gone@b.test>"));
  }
}

}  // namespace waypost::delivery
