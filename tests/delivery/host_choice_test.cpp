#include "delivery/host_choice.h"

#include <doctest/doctest.h>

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

constexpr net::TimePoint kNow{1h};

net::Address address(const std::string& text) {
  return *net::Address::parse(text, 25);
}

/// A host of each preference, by the addresses that are given.
Plan plan(const std::vector<std::vector<std::string>>& hosts) {
  Plan out;
  out.hops.emplace_back();
  int preference = 0;
  for (const std::vector<std::string>& addresses : hosts) {
    resolver::Exchanger host;
    host.preference = preference += 10;
    host.name = "mx" + std::to_string(preference);
    for (const std::string& each : addresses) host.addresses.push_back(address(each));
    out.hops[0].hosts.push_back(host);
  }
  return out;
}

std::vector<Peer> candidates(const Site& site) {
  return site.candidates(kNow, 7, std::vector<TlsTerms>(1));
}

/// Asks all there are to ask; each ends as told, with its rival unused.
std::vector<std::string> ask_all(HostChoice& hosts) {
  std::vector<std::string> asked;
  while (const std::optional<HostChoice::Next> next = hosts.next(kNow)) {
    asked.push_back(next->peer.address.host());
    hosts.asked(next->peer.address, next->rival, WayEnd::unused);
  }
  return asked;
}

}  // namespace

TEST_SUITE("delivery/host_choice") {
  TEST_CASE("each once, in their order, five at most") {
    const Site three(plan({{"192.0.2.1"}, {"192.0.2.2"}, {"192.0.2.3"}}), 20);
    HostChoice hosts(three, candidates(three), "");
    CHECK(ask_all(hosts) == std::vector<std::string>{"192.0.2.1", "192.0.2.2", "192.0.2.3"});
    hosts.forget(address("192.0.2.2"));
    CHECK(ask_all(hosts) == std::vector<std::string>{"192.0.2.2"});

    const Site many(plan({{"192.0.2.1"}, {"192.0.2.2"}, {"192.0.2.3"}, {"192.0.2.4"}, {"192.0.2.5"}, {"192.0.2.6"}}),
                    20);
    HostChoice five(many, candidates(many), "");
    CHECK(ask_all(five).size() == HostChoice::kMaxAddresses);
  }

  TEST_CASE("transactions are begun with two at most") {
    const Site site(plan({{"192.0.2.1"}, {"192.0.2.2"}, {"192.0.2.3"}}), 20);
    HostChoice hosts(site, candidates(site), "");
    hosts.began_session();
    CHECK(hosts.next(kNow));
    hosts.began_session();
    CHECK_FALSE(hosts.next(kNow));
  }

  TEST_CASE("of two families the other one runs along; who was overtaken is asked once more at the end") {
    const Site site(plan({{"2001:db8::1", "192.0.2.1"}, {"192.0.2.2"}}), 20);
    HostChoice hosts(site, candidates(site), "");
    const std::optional<HostChoice::Next> next = hosts.next(kNow);
    REQUIRE(next);
    CHECK(next->peer.address.host() == "2001:db8::1");
    REQUIRE(next->rival);
    CHECK(next->rival->address.host() == "192.0.2.1");
    hosts.asked(next->rival->address, next->peer, WayEnd::overtaken);
    CHECK(ask_all(hosts) == std::vector<std::string>{"192.0.2.2", "2001:db8::1"});

    HostChoice alone(site, candidates(site), "mx10[2001:db8::1]:25");
    CHECK_FALSE(alone.next(kNow)->rival);
    HostChoice failed(site, candidates(site), "");
    failed.asked(address("192.0.2.1"), candidates(site).front(), WayEnd::failed);
    CHECK(ask_all(failed) == std::vector<std::string>{"192.0.2.2"});
  }

  TEST_CASE("after ourselves only those before us are asked [RFC 5321 5.1]") {
    Site site(plan({{"192.0.2.1"}, {"192.0.2.2"}, {"192.0.2.3"}, {"192.0.2.4"}}), 20);
    site.failed(address("192.0.2.1"), kNow);  // it comes last
    HostChoice hosts(site, candidates(site), "");
    CHECK(hosts.next(kNow)->peer.address.host() == "192.0.2.2");
    hosts.asked(address("192.0.2.2"), std::nullopt, WayEnd::unused);
    hosts.asked(address("192.0.2.3"), std::nullopt, WayEnd::unused);
    hosts.met_ourselves(address("192.0.2.3"));
    CHECK(ask_all(hosts) == std::vector<std::string>{"192.0.2.1"});
  }

  TEST_CASE("a family that is not wanted is asked only where there is no other") {
    Site site(plan({{"2001:db8::1"}, {"192.0.2.2"}, {"2001:db8::3"}}), 20);
    site.avoid_family(6, kNow + 24h);
    HostChoice hosts(site, candidates(site), "");
    CHECK(ask_all(hosts) == std::vector<std::string>{"192.0.2.2"});
    site.avoid_family(4, kNow + 24h);
    HostChoice both(site, candidates(site), "");
    CHECK(ask_all(both).size() == 3);
  }
}

}  // namespace waypost::delivery
