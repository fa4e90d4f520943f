// tests/queue/grouping_test.cpp: mail counted by what it has in common.
#include "queue/grouping.h"

#include <doctest/doctest.h>

#include "tests/queue/queue_fixture.h"

using namespace waypost;
using namespace waypost::queue;
using std::chrono::minutes;
using tests::QueueFixture;

namespace {

std::vector<std::string> keys(const Groups& groups) {
  std::vector<std::string> out;
  for (const Group& group : groups.groups) out.push_back(group.key);
  return out;
}

Groups group(QueueFixture& f, GroupBy by, const std::string& filter = "", std::size_t limit = 100) {
  Result<Groups> found = f.run(f.store->group(*parse_filter(filter), by, limit, f.now()));
  REQUIRE(found);
  return *std::move(found);
}

}  // namespace

TEST_SUITE("queue/grouping") {
  TEST_CASE("replies that mean the same have one shape") {
    const std::pair<const char*, const char*> cases[] = {
        {"421 4.7.0 Try again later", "421 4.7.0 Try again later"},
        {"450 4.2.0 <x@b.example>: Greylisted, 283 seconds left (id 4F0AB12C)",
         "450 4.2.0 <...>: Greylisted, ... seconds left (id ...)"},
        {"4.4.1 connection to mx1.b.example[192.0.2.7]:25 timed out", "4.4.1 connection to ...[...]... timed out"},
        {"450 450 450", "450 450 ..."},
        {"", ""},
        {"no digits at all", "no digits at all"},
    };
    for (const auto& [reply, shape] : cases) CHECK(error_shape(reply) == shape);
  }

  TEST_CASE("names of what groups are made by") {
    for (const char* name : {"domain", "sender", "error", "mx", "state", "user", "source"}) CHECK(parse_group_by(name));
    CHECK_FALSE(parse_group_by("colour"));
    CHECK_FALSE(parse_group_by(""));
  }

  TEST_CASE("the largest first; the others as one") {
    const net::WallTime now{std::chrono::hours(1000)};
    Grouping grouping(GroupBy::domain, now);
    for (std::uint64_t i = 0; i < 10; ++i)
      for (std::uint64_t j = 0; j <= i; ++j)
        grouping.add("d" + std::to_string(i), Id{i * 100 + j}, 10, now - minutes(i));
    const Groups groups = grouping.largest(3);
    CHECK(keys(groups) == std::vector<std::string>{"d9", "d8", "d7"});
    CHECK(groups.left_out == 7);
    CHECK(groups.others.recipients == 28);
    CHECK(groups.others.octets == 280);
    CHECK(groups.others.oldest == now - minutes(6));
    CHECK(grouping.largest(100).left_out == 0);
  }

  TEST_CASE("no more keys than there is room for; what is beyond is counted all the same") {
    const net::WallTime now{std::chrono::hours(1000)};
    Grouping grouping(GroupBy::sender, now);
    for (std::uint64_t i = 0; i < Grouping::kMostKeys + 5; ++i) grouping.add(std::to_string(i), Id{i + 1}, 1, now);
    const Groups groups = grouping.largest(1);
    CHECK(groups.left_out == Grouping::kMostKeys);
    CHECK(groups.groups[0].recipients + groups.others.recipients == Grouping::kMostKeys + 5);
  }

  TEST_CASE("columns of a shape: by how long ago") {
    const net::WallTime now{std::chrono::hours(1000)};
    Grouping grouping(GroupBy::domain, now);
    for (const int ago : {0, 4, 5, 9, 10, 1279, 1280, 100'000}) grouping.add("d", Id{1}, 7, now - minutes(ago));
    const Groups groups = grouping.largest(1);
    CHECK(groups.groups[0].ages == std::array<std::uint64_t, 10>{2, 2, 1, 0, 0, 0, 0, 0, 1, 2});
    CHECK(groups.groups[0].octets == 7);
    CHECK(groups.groups[0].messages == 1);
  }

  TEST_CASE("of a queue: by each, with a filter, and of more than one slice") {
    QueueFixture f;
    const Id first = f.accept(f.message("s@a.example", {"0@b.example", "1@b.example", "2@c.example"}));
    for (int i = 0; i < 400; ++i) f.accept(f.message("", {"3@b.example"}));
    REQUIRE(f.settle(first, {0}, Event::attempt_deferred));
    f.change(Change::hold, "to:2@c.example");
    DestinationState down;
    down.name = "c.example";
    down.failures = 1;
    down.next_attempt = f.now() + std::chrono::hours(1);
    down.status = "4.4.1";
    down.reason = "timed out";
    down.host = "mx.c.example";
    REQUIRE(f.run(f.store->settle_destination(down)));

    const Groups domains = group(f, GroupBy::domain);
    CHECK(keys(domains) == std::vector<std::string>{"b.example", "c.example"});
    CHECK(domains.groups[0].recipients == 402);
    CHECK(domains.groups[0].messages == 401);
    CHECK(keys(group(f, GroupBy::sender)) == std::vector<std::string>{"<>", "<s@a.example>"});
    CHECK(keys(group(f, GroupBy::state)) == std::vector<std::string>{"active", "deferred", "held"});
    CHECK(keys(group(f, GroupBy::error, "to:@b.example")) == std::vector<std::string>{"", "452 4.2.2 Mailbox full"});
    CHECK(keys(group(f, GroupBy::mx, "tries:>0")) == std::vector<std::string>{"mx.b.example[192.0.2.7]:25"});
    // What is held waits for no destination.
    CHECK(keys(group(f, GroupBy::error, "to:@c.example")) == std::vector<std::string>{""});
    f.change(Change::release, "to:2@c.example");
    CHECK(keys(group(f, GroupBy::error, "to:@c.example")) == std::vector<std::string>{"4.4.1 timed out"});
    CHECK(keys(group(f, GroupBy::mx, "to:@c.example")) == std::vector<std::string>{"mx.c.example"});
    CHECK(keys(group(f, GroupBy::user)).size() == 1);
    CHECK(group(f, GroupBy::source).groups.size() == 1);
    CHECK(group(f, GroupBy::domain, "to:nobody@x.example").groups.empty());
    CHECK(group(f, GroupBy::domain, "", 1).left_out == 1);
  }
}
