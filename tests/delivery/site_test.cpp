#include "delivery/site.h"

#include <random>
#include <set>

#include <doctest/doctest.h>

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

net::Address address(const std::string& host) {
  return *net::Address::parse(host, 25);
}

Plan plan() {
  Plan out;
  out.key = "k";
  out.hops = {{{{10, "a1", {address("192.0.2.1")}, ""},
                {10, "a2", {address("192.0.2.2")}, ""},
                {20, "b", {address("192.0.2.3"), address("192.0.2.4")}, ""}},
               Protocol::smtp},
              {{{0, "second", {address("192.0.2.9")}, ""}}, Protocol::lmtp}};
  return out;
}

std::vector<TlsTerms> terms() {
  return std::vector<TlsTerms>(2);
}

std::vector<std::string> names(const std::vector<Peer>& peers) {
  std::vector<std::string> out;
  for (const Peer& peer : peers) out.push_back(peer.name);
  return out;
}

}  // namespace

TEST_SUITE("delivery/site") {
  TEST_CASE("equal preferences are shuffled, others keep their order, next hops follow [RFC 5321 5.1]") {
    const Site site(plan(), 20);
    std::set<std::string> first;
    for (std::uint64_t chance = 0; chance < 64; ++chance) {
      const std::vector<std::string> order = names(site.candidates(net::TimePoint{}, chance * 7919, terms()));
      REQUIRE(order.size() == 5);
      first.insert(order[0]);
      CHECK((order[0] == "a1" || order[0] == "a2"));
      CHECK((order[1] == "a1" || order[1] == "a2"));
      CHECK(order[2] == "b");
      CHECK(order[3] == "b");
      CHECK(order[4] == "second");
    }
    CHECK(first.size() == 2);
  }

  TEST_CASE("by weight each comes first as often as the others leave it; one of weight 0 after them") {
    Plan plan;
    plan.weighted = true;
    const int weights[] = {3, 0, 1};
    for (int i = 0; i < 3; ++i) {
      const std::string at = "192.0.2." + std::to_string(i + 1);
      plan.hops.push_back({{{0, std::to_string(weights[i]), {address(at)}, ""}}, Protocol::smtp, weights[i]});
    }
    const Site site(plan, 20);
    int first = 0;
    std::minstd_rand random(7);
    for (int i = 0; i < 4000; ++i) {
      const std::vector<std::string> order =
          names(site.candidates(net::TimePoint{}, random(), std::vector<TlsTerms>(3)));
      REQUIRE(order.size() == 3);
      CHECK(order[2] == "0");
      if (order[0] == "3") ++first;
    }
    CHECK(first > 2900);
    CHECK(first < 3100);
  }

  TEST_CASE("an address that failed comes last, for a while") {
    Site site(plan(), 20);
    const net::TimePoint now{1h};
    site.avoid(address("192.0.2.1"), now + 60s);
    site.avoid(address("192.0.2.3"), now + 60s);
    CHECK(names(site.candidates(now, 5, terms())) ==
          std::vector<std::string>{"a2", "b", "second", names(site.candidates(now, 5, terms()))[3],
                                   names(site.candidates(now, 5, terms()))[4]});
    CHECK(names(site.candidates(now + 61s, 5, terms()))[2] == "b");
  }

  TEST_CASE("the most preferred are all of the lowest preference, of the first next hop") {
    const Site site(plan(), 8);
    CHECK(site.is_most_preferred(address("192.0.2.1")));
    CHECK(site.is_most_preferred(address("192.0.2.2")));
    CHECK_FALSE(site.is_most_preferred(address("192.0.2.3")));
    CHECK_FALSE(site.is_most_preferred(address("192.0.2.9")));
  }

  TEST_CASE("concurrency grows with success, halves when a host fails, is one after all failed") {
    Site site(plan(), 8);
    CHECK(site.limit() == 5);
    for (int i = 0; i < 10; ++i) site.succeeded();
    CHECK(site.limit() == 8);
    site.host_failed();
    CHECK(site.limit() == 4);
    site.all_failed();
    CHECK(site.limit() == 1);
    site.host_failed();
    CHECK(site.limit() == 1);
    site.succeeded();
    CHECK(site.limit() == 2);
    CHECK(Site(plan(), 2).limit() == 2);
  }

  TEST_CASE("destinations take turns, each once in the line") {
    Site site(plan(), 8);
    site.add_turn("x");
    site.add_turn("y");
    site.add_turn("x");
    CHECK(site.next_turn() == "x");
    CHECK(site.next_turn() == "y");
    CHECK_FALSE(site.next_turn());
    site.add_turn("x");
    CHECK(site.has_turns());
    CHECK(site.next_turn() == "x");
    CHECK_FALSE(site.has_turns());
  }
}

}  // namespace waypost::delivery
