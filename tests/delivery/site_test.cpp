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
    site.failed(address("192.0.2.1"), now);
    site.failed(address("192.0.2.3"), now);
    CHECK(names(site.candidates(now, 5, terms())) ==
          std::vector<std::string>{"a2", "b", "second", names(site.candidates(now, 5, terms()))[3],
                                   names(site.candidates(now, 5, terms()))[4]});
    CHECK(names(site.candidates(now + 61s, 5, terms()))[2] == "b");
  }

  TEST_CASE("an address comes last for longer each time that it fails, until it has worked") {
    struct {
      char what;  // fails, is Overtaken, Works
      net::Duration at;
      net::Duration until;
    } const table[] = {
        {'f', 0s, 60s},      {'f', 0s, 60s},      {'f', 30s, 90s},      // as others that were begun before
        {'f', 90s, 210s},    {'f', 211s, 451s},   {'f', 460s, 940s},    // 2, 4, 8 minutes
        {'f', 940s, 1540s},  {'f', 2139s, 2739s}, {'w', 2200s, 2200s},  // 10, and no more
        {'f', 2200s, 2260s}, {'o', 2210s, 2810s}, {'f', 2300s, 2900s},  // ten minutes at once
        {'f', 2900s, 3500s}, {'f', 4100s, 4160s}, {'f', 4160s, 4280s},  // what was long ago is forgotten
        {'w', 4161s, 4161s}, {'w', 4162s, 4162s}, {'o', 5000s, 5600s},  //
    };
    Site site(plan(), 20);
    for (const auto& row : table) {
      CAPTURE(row.at.count());
      const net::TimePoint now = net::TimePoint{1h} + row.at;
      const net::Address it = address("192.0.2.1");
      if (row.what == 'f') site.failed(it, now);
      if (row.what == 'o') site.overtaken(it, now);
      if (row.what == 'w') site.worked(it);
      const auto is_last = [&](net::TimePoint then) { return site.candidates(then, 5, terms()).back().address == it; };
      const net::TimePoint until = net::TimePoint{1h} + row.until;
      if (row.until > row.at) CHECK(is_last(until - 1ms));
      CHECK_FALSE(is_last(until));
      const net::TimePoint forgotten = until + (row.what == 'w' ? 0min : 10min);
      CHECK(site.remembers(forgotten - 1ms) == (row.what != 'w'));
      CHECK_FALSE(site.remembers(forgotten));
    }
  }

  TEST_CASE("a rival: of the other family, of the same exchanger or of one as good, by SMTP") {
    const std::string local = "/run/lmtp";
    Plan plan;
    plan.hops = {
        {{{10, "a", {address("2001:db8::1"), address("192.0.2.1"), address("192.0.2.2")}, ""},
          {10, "b", {address("2001:db8::3")}, ""},
          {10, "c", {address("2001:db8::4"), address("192.0.2.4")}, ""},
          {20, "d", {address("2001:db8::5")}, ""},
          {30, "e", {address("192.0.2.6"), address("2001:db8::6")}, ""}},
         Protocol::smtp},
        {{{10, "second", {address("192.0.2.9")}, ""}}, Protocol::smtp},
        {{{0, "l", {address("2001:db8::7"), address("192.0.2.7")}, ""}}, Protocol::lmtp},
        {{{0, "s", {net::Address::local(local), address("2001:db8::8")}, ""}}, Protocol::smtp},
    };
    const Site site(plan, 20);
    struct {
      const char* of;
      std::set<std::string> closed;  // that may not
      std::string want;
    } const table[] = {
        {"2001:db8::1", {}, "192.0.2.1"},
        {"192.0.2.2", {}, "2001:db8::1"},
        {"2001:db8::1", {"192.0.2.1"}, "192.0.2.2"},
        {"2001:db8::1", {"192.0.2.1", "192.0.2.2"}, "192.0.2.4"},
        {"2001:db8::1", {"192.0.2.1", "192.0.2.2", "192.0.2.4"}, ""},
        {"2001:db8::4", {}, "192.0.2.4"},
        {"2001:db8::5", {}, ""},
        {"192.0.2.6", {}, "2001:db8::6"},
        {"192.0.2.9", {}, ""},
        {"2001:db8::7", {}, ""},
        {"2001:db8::8", {}, ""},
        {"/run/lmtp", {}, ""},
    };
    for (const auto& row : table) {
      CAPTURE(row.of);
      const std::vector<Peer> all = site.candidates(net::TimePoint{}, 5, std::vector<TlsTerms>(4));
      const auto peer =
          std::find_if(all.begin(), all.end(), [&](const Peer& each) { return each.address.host() == row.of; });
      REQUIRE(peer != all.end());
      const Peer* rival = site.rival(*peer, all, net::TimePoint{},
                                     [&](const Peer& each) { return !row.closed.contains(each.address.host()); });
      CHECK((rival == nullptr ? "" : rival->address.host()) == row.want);
    }
    // Of equals the one that chance has put first.
    std::set<std::string> found;
    for (std::uint64_t chance = 0; chance < 64; ++chance) {
      const std::vector<Peer> all = site.candidates(net::TimePoint{}, chance * 7919, std::vector<TlsTerms>(4));
      const auto peer = std::find_if(all.begin(), all.end(), [](const Peer& each) { return each.name == "b"; });
      const Peer* rival = site.rival(*peer, all, net::TimePoint{}, [](const Peer&) { return true; });
      REQUIRE(rival != nullptr);
      found.insert(rival->name);
    }
    CHECK(found == std::set<std::string>{"a", "c"});
  }

  TEST_CASE("who comes last is no rival of who does not") {
    Plan plan;
    plan.hops = {
        {{{10, "a", {address("2001:db8::1"), address("192.0.2.1"), address("192.0.2.2")}, ""}}, Protocol::smtp}};
    Site site(plan, 20);
    const auto rival_of_first = [&](net::TimePoint now) {
      const std::vector<Peer> all = site.candidates(now, 5, std::vector<TlsTerms>(1));
      const Peer* rival = site.rival(all.front(), all, now, [](const Peer&) { return true; });
      return all.front().address.host() + "/" + (rival == nullptr ? "" : rival->address.host());
    };
    const net::TimePoint now{1h};
    site.failed(address("192.0.2.1"), now);
    CHECK(rival_of_first(now) == "2001:db8::1/192.0.2.2");
    site.failed(address("192.0.2.2"), now);
    CHECK(rival_of_first(now) == "2001:db8::1/");
    site.overtaken(address("2001:db8::1"), now);
    CHECK(rival_of_first(now) == "2001:db8::1/192.0.2.1");
    CHECK(rival_of_first(now + 60s) == "192.0.2.1/");
    CHECK(rival_of_first(now + 10min) == "2001:db8::1/192.0.2.1");
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
