#include "resolver/exchangers.h"

#include <algorithm>
#include <functional>
#include <set>

#include <doctest/doctest.h>

#include "tests/support/fake_resolver.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::resolver {

using std::chrono::seconds;
using tests::FakeResolver;
using tests::VirtualRuntime;

namespace {

net::Address at(std::string_view host, std::uint16_t port = 25) {
  return net::Address::parse(host, port).value();
}

Self self() {
  Self own;
  own.hostname = "Relay.Own.Example";
  own.addresses = {at("192.0.2.25"), at("2001:db8::25"), at("127.0.0.1", 2525)};
  return own;
}

/// "10 mx1 192.0.2.1 2001:db8::1; 20 mx2 192.0.2.2", or "deferred 4.4.3".
std::string text_of(const Exchangers& exchangers) {
  if (exchangers.status == Exchangers::Status::deferred) return "deferred " + exchangers.enhanced;
  if (exchangers.status == Exchangers::Status::failed) return "failed " + exchangers.enhanced;
  std::string text;
  for (const Exchanger& host : exchangers.hosts) {
    if (!text.empty()) text += "; ";
    text += std::to_string(host.preference) + ' ' + host.name;
    for (const net::Address& address : host.addresses) text += ' ' + address.host();
  }
  return text;
}

struct Case {
  const char* name;
  std::function<void(FakeResolver&)> dns;
  const char* want;
  const char* domain = "a.example";
  LookUp look_up = {};
  bool flag = false;  ///< no_usable_exchanger, or of "deferred 4.4.3" our_trouble
};

void one_mx(FakeResolver& dns) {
  dns.add_mx("a.example", {{10, "mx.a.example"}});
}

LookUp ipv4_alone() {
  LookUp look_up;
  look_up.ipv6 = false;
  return look_up;
}
LookUp ipv6_alone() {
  LookUp look_up;
  look_up.ipv4 = false;
  return look_up;
}
LookUp configured() {
  LookUp look_up;
  look_up.configured = true;
  return look_up;
}
LookUp most(std::size_t count) {
  LookUp look_up;
  look_up.max_exchangers = count;
  return look_up;
}
LookUp on_port(std::uint16_t port) {
  LookUp look_up;
  look_up.port = port;
  return look_up;
}

using F = FakeResolver;

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      // MX and their addresses.
      {"one MX with IPv4",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"192.0.2.1"});
       },
       "10 mx.a.example 192.0.2.1"},
      {"one MX with IPv6",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"2001:db8::1"});
       },
       "10 mx.a.example 2001:db8::1"},
      {"both families: IPv6 first",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"192.0.2.1", "2001:db8::1"});
       },
       "10 mx.a.example 2001:db8::1 192.0.2.1"},
      {"by preference, not by the answer's order",
       [](F& dns) {
         dns.add_mx("a.example", {{30, "mx3.a.example"}, {10, "mx1.a.example"}, {20, "mx2.a.example"}});
         dns.add_host("mx1.a.example", {"192.0.2.1"});
         dns.add_host("mx2.a.example", {"192.0.2.2"});
         dns.add_host("mx3.a.example", {"192.0.2.3"});
       },
       "10 mx1.a.example 192.0.2.1; 20 mx2.a.example 192.0.2.2; 30 mx3.a.example 192.0.2.3"},
      {"a domain in capitals, with a dot",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"192.0.2.1"});
       },
       "10 mx.a.example 192.0.2.1", "A.EXAMPLE."},
      {"equal names once, with the better preference",
       [](F& dns) {
         dns.add_mx("a.example", {{20, "mx.a.example"}, {10, "MX.a.example"}});
         dns.add_host("mx.a.example", {"192.0.2.1"});
       },
       "10 mx.a.example 192.0.2.1"},
      {"equal addresses once",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"192.0.2.1", "192.0.2.1"});
       },
       "10 mx.a.example 192.0.2.1"},
      {"the domain is its own MX",
       [](F& dns) {
         dns.add_mx("a.example", {{0, "a.example"}});
         dns.add_host("a.example", {"192.0.2.1"});
       },
       "0 a.example 192.0.2.1"},
      {"an MX within another's domain that does not exist is passed over",
       [](F& dns) {
         dns.add_mx("a.example", {{10, "gone.example"}, {20, "mx2.a.example"}});
         dns.add_host("mx2.a.example", {"192.0.2.2"});
       },
       "20 mx2.a.example 192.0.2.2"},
      {"an MX whose addresses fail is passed over",
       [](F& dns) {
         dns.add_mx("a.example", {{10, "bad.example"}, {20, "mx2.a.example"}});
         dns.fail("bad.example", "", Status::server_failed);
         dns.add_host("mx2.a.example", {"192.0.2.2"});
       },
       "20 mx2.a.example 192.0.2.2"},
      {"one family fails, the other serves",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"192.0.2.1"});
         dns.fail("mx.a.example", "aaaa", Status::server_failed);
       },
       "10 mx.a.example 192.0.2.1"},
      {"no more exchangers than the most, the least preferred go",
       [](F& dns) {
         dns.add_mx("a.example", {{30, "mx3.a.example"}, {10, "mx1.a.example"}, {20, "mx2.a.example"}});
         for (const char* host : {"mx1.a.example", "mx2.a.example", "mx3.a.example"}) dns.add_host(host, {"192.0.2.1"});
       },
       "10 mx1.a.example 192.0.2.1; 20 mx2.a.example 192.0.2.1", "a.example", most(2)},
      {"0.0.0.0 and :: are no addresses",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"0.0.0.0", "::", "192.0.2.1"});
       },
       "10 mx.a.example 192.0.2.1"},
      {"loopback and private addresses have no special standing",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"127.0.0.1"});
       },
       "10 mx.a.example 127.0.0.1"},
      {"IPv4 alone",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"192.0.2.1", "2001:db8::1"});
       },
       "10 mx.a.example 192.0.2.1", "a.example", ipv4_alone()},
      {"IPv6 alone",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"192.0.2.1", "2001:db8::1"});
       },
       "10 mx.a.example 2001:db8::1", "a.example", ipv6_alone()},

      // No MX [RFC 5321 5.1].
      {"no MX: the domain's A", [](F& dns) { dns.add_host("a.example", {"192.0.2.1"}); }, "0 a.example 192.0.2.1"},
      {"no MX: the domain's AAAA", [](F& dns) { dns.add_host("a.example", {"2001:db8::1"}); },
       "0 a.example 2001:db8::1"},
      {"no MX: both",
       [](F& dns) {
         dns.add_host("a.example", {"192.0.2.1", "2001:db8::1"});
       },
       "0 a.example 2001:db8::1 192.0.2.1"},
      {"no MX, and A fails",
       [](F& dns) {
         dns.add_empty("a.example");
         dns.fail("a.example", "a", Status::server_failed);
       },
       "deferred 4.4.3"},
      {"no MX, and AAAA fails",
       [](F& dns) {
         dns.add_empty("a.example");
         dns.fail("a.example", "aaaa", Status::timed_out);
       },
       "deferred 4.4.3"},
      {"no MX, A, and AAAA fails",
       [](F& dns) {
         dns.add_host("a.example", {"192.0.2.1"});
         dns.fail("a.example", "aaaa", Status::timed_out);
       },
       "0 a.example 192.0.2.1"},
      {"neither MX nor address", [](F& dns) { dns.add_empty("a.example"); }, "failed 5.4.4"},
      {"neither MX nor address, and then the name is gone",
       [](F& dns) {
         dns.add_empty("a.example");
         dns.fail("a.example", "a", Status::no_domain);
         dns.fail("a.example", "aaaa", Status::no_domain);
       },
       "failed 5.1.2"},
      {"a name server that says NXDOMAIN to AAAA alone",
       [](F& dns) {
         dns.add_host("a.example", {"192.0.2.1"});
         dns.fail("a.example", "aaaa", Status::no_domain);
       },
       "0 a.example 192.0.2.1"},
      {"only AAAA, and IPv6 is not in use: no reason to bounce",
       [](F& dns) { dns.add_host("a.example", {"2001:db8::1"}); }, "deferred 4.4.4", "a.example", ipv4_alone(), true},

      // No, or trouble.
      {"no such domain", [](F&) {}, "failed 5.1.2"},
      {"no name that the DNS can hold", [](F&) {}, "failed 5.1.2", "a..example"},
      {"MX: SERVFAIL [F26]", [](F& dns) { dns.fail("a.example", "mx", Status::server_failed); }, "deferred 4.4.3"},
      {"MX: no answer", [](F& dns) { dns.fail("a.example", "mx", Status::timed_out); }, "deferred 4.4.3"},
      {"MX: no name server at all [F25]", [](F& dns) { dns.lose_servers(); }, "deferred 4.4.3", "a.example", {}, true},
      {"all exchangers' addresses fail",
       [](F& dns) {
         one_mx(dns);
         dns.fail("mx.a.example", "", Status::server_failed);
       },
       "deferred 4.4.3"},
      {"one exchanger fails for now, the other has no address",
       [](F& dns) {
         dns.add_mx("a.example", {{10, "gone.example"}, {20, "bad.example"}});
         dns.fail("bad.example", "", Status::timed_out);
       },
       "deferred 4.4.3"},
      {"null MX [RFC 7505 4]",
       [](F& dns) {
         dns.add_mx("a.example", {{0, "."}});
       },
       "failed 5.1.10"},
      {"null MX is not overridden by an address",
       [](F& dns) {
         dns.add_mx("a.example", {{0, "."}});
         dns.add_host("a.example", {"192.0.2.1"});
       },
       "failed 5.1.10"},
      {"null MX among others is ignored",
       [](F& dns) {
         dns.add_mx("a.example", {{0, "."}, {10, "mx.a.example"}});
         dns.add_host("mx.a.example", {"192.0.2.1"});
       },
       "10 mx.a.example 192.0.2.1"},
      {"two null MX",
       [](F& dns) {
         dns.add_mx("a.example", {{0, "."}, {10, "."}});
       },
       "failed 5.1.10"},

      // MX, none usable: no fall-back to A.
      {"MX that does not exist",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("a.example", {"192.0.2.1"});
       },
       "deferred 4.4.4",
       "a.example",
       {},
       true},
      {"MX without addresses",
       [](F& dns) {
         one_mx(dns);
         dns.add_empty("mx.a.example");
       },
       "deferred 4.4.4",
       "a.example",
       {},
       true},
      {"MX is an address in text",
       [](F& dns) {
         dns.add_mx("a.example", {{10, "192.0.2.1"}});
       },
       "deferred 4.4.4",
       "a.example",
       {},
       true},
      {"MX is an address in brackets",
       [](F& dns) {
         dns.add_mx("a.example", {{10, "[192.0.2.1]"}});
       },
       "deferred 4.4.4",
       "a.example",
       {},
       true},
      {"an address in text beside a host",
       [](F& dns) {
         dns.add_mx("a.example", {{10, "192.0.2.1"}, {20, "mx.a.example"}});
         dns.add_host("mx.a.example", {"192.0.2.2"});
       },
       "20 mx.a.example 192.0.2.2"},
      {"MX with 0.0.0.0 alone",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"0.0.0.0"});
       },
       "deferred 4.4.4",
       "a.example",
       {},
       true},

      // Ourselves [RFC 5321 5.1, F28].
      {"own address alone",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"192.0.2.25"});
       },
       "failed 5.4.6"},
      {"own IPv6 address alone",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"2001:db8::25"});
       },
       "failed 5.4.6"},
      {"one of its addresses is own",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"192.0.2.1", "192.0.2.25"});
       },
       "failed 5.4.6"},
      {"own address, on another port: another server",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"192.0.2.25"});
       },
       "10 mx.a.example 192.0.2.25", "a.example", on_port(2526)},
      {"own address and port, not 25",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"127.0.0.1"});
       },
       "failed 5.4.6", "a.example", on_port(2525)},
      {"own name",
       [](F& dns) {
         dns.add_mx("a.example", {{10, "RELAY.own.example."}});
         dns.add_host("relay.own.example", {"192.0.2.1"});
       },
       "failed 5.4.6"},
      {"own name without addresses",
       [](F& dns) {
         dns.add_mx("a.example", {{10, "relay.own.example"}});
       },
       "failed 5.4.6"},
      {"we are the backup: only what is more preferred stays",
       [](F& dns) {
         dns.add_mx("a.example", {{10, "mx1.a.example"}, {20, "relay.own.example"}, {30, "mx3.a.example"}});
         dns.add_host("mx1.a.example", {"192.0.2.1"});
         dns.add_host("relay.own.example", {"192.0.2.25"});
         dns.add_host("mx3.a.example", {"192.0.2.3"});
       },
       "10 mx1.a.example 192.0.2.1"},
      {"of equal preference with ourselves goes too",
       [](F& dns) {
         dns.add_mx("a.example", {{10, "mx1.a.example"}, {20, "mx2.a.example"}, {20, "mx3.a.example"}});
         dns.add_host("mx1.a.example", {"192.0.2.1"});
         dns.add_host("mx2.a.example", {"192.0.2.25"});
         dns.add_host("mx3.a.example", {"192.0.2.3"});
       },
       "10 mx1.a.example 192.0.2.1"},
      {"we are the backup, and the better one fails for now",
       [](F& dns) {
         dns.add_mx("a.example", {{10, "mx1.a.example"}, {20, "relay.own.example"}});
         dns.fail("mx1.a.example", "", Status::server_failed);
         dns.add_host("relay.own.example", {"192.0.2.25"});
       },
       "deferred 4.4.3"},
      {"we are the backup, and the better one has no address",
       [](F& dns) {
         dns.add_mx("a.example", {{10, "mx1.a.example"}, {20, "relay.own.example"}});
       },
       "deferred 4.4.4",
       "a.example",
       {},
       true},
      {"no MX, and the domain is ourselves", [](F& dns) { dns.add_host("a.example", {"192.0.2.25"}); }, "failed 5.4.6"},
      {"the domain is our name", [](F& dns) { dns.add_host("relay.own.example", {"192.0.2.1"}); }, "failed 5.4.6",
       "relay.own.example"},

      // Address literals [RFC 5321 4.1.3].
      {"IPv4 literal", [](F&) {}, "0 [192.0.2.1] 192.0.2.1", "[192.0.2.1]"},
      {"IPv6 literal", [](F&) {}, "0 [2001:db8::1] 2001:db8::1", "[IPv6:2001:DB8::1]"},
      {"IPv6 literal without its tag", [](F&) {}, "0 [2001:db8::1] 2001:db8::1", "[2001:db8::1]"},
      {"own literal", [](F&) {}, "failed 5.4.6", "[192.0.2.25]"},
      {"literal 0.0.0.0 is this host", [](F&) {}, "failed 5.4.6", "[0.0.0.0]"},
      {"no literal", [](F&) {}, "failed 5.1.3", "[x400:something]"},
      {"half a literal", [](F&) {}, "failed 5.1.3", "[192.0.2.1"},
      {"literal of a family that is not in use", [](F&) {}, "deferred 4.4.4", "[IPv6:2001:db8::1]", ipv4_alone(), true},

      // A next hop that the configuration names: nothing is bounced for the administrator's mistake.
      {"next hop that does not exist", [](F&) {}, "deferred 4.3.5", "a.example", configured()},
      {"next hop with null MX",
       [](F& dns) {
         dns.add_mx("a.example", {{0, "."}});
       },
       "deferred 4.3.5", "a.example", configured()},
      {"next hop that is ourselves", [](F& dns) { dns.add_host("a.example", {"192.0.2.25"}); }, "deferred 4.3.5",
       "a.example", configured()},
      {"next hop whose MX have no address", [](F& dns) { one_mx(dns); }, "deferred 4.3.5", "a.example", configured()},
      {"next hop that fails for now", [](F& dns) { dns.fail("a.example", "mx", Status::timed_out); }, "deferred 4.4.3",
       "a.example", configured()},
      {"next hop that works",
       [](F& dns) {
         one_mx(dns);
         dns.add_host("mx.a.example", {"192.0.2.1"});
       },
       "10 mx.a.example 192.0.2.1", "a.example", configured()},
  };
  return all;
}

Answer<Mx> mx_answer(std::vector<Mx> records) {
  Answer<Mx> answer;
  answer.status = records.empty() ? Status::no_data : Status::found;
  answer.records = std::move(records);
  return answer;
}

}  // namespace

TEST_SUITE("resolver/exchangers") {
  TEST_CASE("domains and where their mail goes") {
    for (const Case& one : cases()) {
      CAPTURE(one.name);
      VirtualRuntime runtime;
      FakeResolver dns(runtime);
      one.dns(dns);
      Self own = self();
      Exchangers got = runtime.complete(find_exchangers(dns, runtime, one.domain, one.look_up, own));
      CHECK(text_of(got) == one.want);
      CHECK(got.no_usable_exchanger == (got.enhanced == "4.4.4" && one.flag));
      CHECK(got.our_trouble == (got.enhanced == "4.4.3" && one.flag));
      CHECK(got.reason.empty() == (got.status == Exchangers::Status::found));
      CHECK(got.hosts.empty() == (got.status != Exchangers::Status::found));
      for (const Exchanger& host : got.hosts) {
        CHECK_FALSE(host.addresses.empty());
        for (const net::Address& address : host.addresses) CHECK(address.port == one.look_up.port);
      }
      for (const Exchanger& host : got.unusable) CHECK_FALSE(host.trouble.empty());
      if (got.status == Exchangers::Status::found) CHECK_FALSE(got.site.empty());
    }
  }

  TEST_CASE("hosts named by an administrator") {
    struct {
      const char* host;
      std::uint16_t port;
      const char* want;
      const char* site;
    } cases[] = {{"192.0.2.1", 25, "0 [192.0.2.1] 192.0.2.1", "0 [192.0.2.1]:25"},
                 {"[192.0.2.1]", 2525, "0 [192.0.2.1] 192.0.2.1", "0 [192.0.2.1]:2525"},
                 {"2001:db8::1", 25, "0 [2001:db8::1] 2001:db8::1", "0 [2001:db8::1]:25"},
                 {"[IPv6:2001:db8::1]", 25, "0 [2001:db8::1] 2001:db8::1", "0 [2001:db8::1]:25"},
                 {"Host.Example.", 25, "0 host.example 2001:db8::1 192.0.2.1", "0 host.example:25"},
                 {"mxonly.example", 25, "deferred 4.3.5", "0 mxonly.example:25"},
                 {"none.example", 25, "deferred 4.3.5", "0 none.example:25"},
                 {"bad.example", 25, "deferred 4.4.3", "0 bad.example:25"},
                 {"[x]", 25, "deferred 4.3.5", ""},
                 {"127.0.0.1", 2525, "deferred 4.3.5", "0 [127.0.0.1]:2525"},
                 {"relay.own.example", 2525, "0 relay.own.example 192.0.2.25", "0 relay.own.example:2525"},
                 {"relay.own.example", 25, "deferred 4.3.5", ""}};
    for (const auto& one : cases) {
      CAPTURE(one.host);
      VirtualRuntime runtime;
      FakeResolver dns(runtime);
      dns.add_host("host.example", {"192.0.2.1", "2001:db8::1"});
      dns.add_mx("mxonly.example", {{10, "host.example"}});
      dns.fail("bad.example", "", Status::server_failed);
      dns.add_host("relay.own.example", {"192.0.2.25"});
      Self own = self();
      Exchangers got = runtime.complete(find_host(dns, runtime, one.host, on_port(one.port), own));
      CHECK(text_of(got) == one.want);
      CHECK(got.site == one.site);
      for (const std::string& question : dns.asked()) CHECK_FALSE(question.starts_with("mx"));
    }
  }

  TEST_CASE("a site is the same for domains with the same exchangers, and for each shuffle") {
    std::set<std::string> sites;
    std::set<std::string> orders;
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
      VirtualRuntime runtime(seed);
      FakeResolver dns(runtime);
      dns.add_mx("a.example", {{10, "mx1.example"}, {10, "mx2.example"}, {20, "mx3.example"}});
      dns.add_mx("b.example", {{20, "mx3.example"}, {10, "mx2.example"}, {10, "mx1.example"}});
      for (const char* host : {"mx1.example", "mx2.example"}) dns.add_host(host, {"192.0.2.1"});
      if (seed % 2 == 0) dns.fail("mx3.example", "", Status::server_failed);  // a passing trouble makes no other site
      Self own = self();
      for (const char* domain : {"a.example", "b.example"}) {
        Exchangers got = runtime.complete(find_exchangers(dns, runtime, domain, LookUp(), own));
        sites.insert(got.site);
        orders.insert(got.hosts.front().name);
        CHECK(got.hosts.size() == 2);
        REQUIRE(got.unusable.size() == 1);
        CHECK(got.unusable.front().name == "mx3.example");
      }
    }
    CHECK(sites == std::set<std::string>{"10 mx1.example:25, 10 mx2.example:25, 20 mx3.example:25"});
    CHECK(orders == std::set<std::string>{"mx1.example", "mx2.example"});
  }

  TEST_CASE("it holds no longer than the shortest of the answers") {
    VirtualRuntime runtime;
    FakeResolver dns(runtime);
    Self own = self();
    dns.add_mx("a.example", {{10, "mx.a.example"}});
    dns.add_host("mx.a.example", {"192.0.2.1"});
    dns.set_ttl(seconds(77));
    Exchangers got = runtime.complete(find_exchangers(dns, runtime, "a.example", LookUp(), own));
    CHECK(got.valid_until == runtime.now() + seconds(77));
    dns.fail("mx.a.example", "aaaa", Status::server_failed);
    Exchangers partly = runtime.complete(find_exchangers(dns, runtime, "a.example", LookUp(), own));
    CHECK(partly.status == Exchangers::Status::found);
    CHECK(partly.valid_until == runtime.now());
    CHECK(partly.hosts.front().trouble == "SERVFAIL from 192.0.2.53:53");
  }

  TEST_CASE("addresses are looked up side by side, of a few hosts at a time") {
    VirtualRuntime runtime;
    FakeResolver dns(runtime);
    Self own = self();
    dns.delay("", seconds(1));
    for (std::uint16_t i = 0; i < 12; ++i) {
      std::string host = "mx" + std::to_string(i) + ".a.example";
      dns.add_mx("a.example", {{i, host}});
      dns.add_host(host, {"192.0.2.1"});
    }
    net::TimePoint began = runtime.now();
    Exchangers got = runtime.complete(find_exchangers(dns, runtime, "a.example", LookUp(), own));
    CHECK(got.hosts.size() == 12);
    CHECK(runtime.now() - began == seconds(4));  // the MX, then three times four hosts
    CHECK(dns.most_under_way() == 8);
  }

  TEST_CASE("stop: it is deferred as our own trouble") {
    VirtualRuntime runtime;
    FakeResolver dns(runtime);
    Self own = self();
    dns.stop();
    Exchangers got = runtime.complete(find_exchangers(dns, runtime, "a.example", LookUp(), own));
    CHECK(text_of(got) == "deferred 4.4.3");
    CHECK(got.our_trouble);
  }

  TEST_CASE("families in turn when one has more") {
    VirtualRuntime runtime;
    FakeResolver dns(runtime);
    Self own = self();
    dns.add_host("a.example", {"2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"});
    Exchangers got = runtime.complete(find_exchangers(dns, runtime, "a.example", LookUp(), own));
    std::string families;
    for (const net::Address& address : got.hosts.front().addresses) families += std::to_string(address.family);
    CHECK(families == "6444");
  }

  TEST_CASE("a host with a thousand addresses is tried at some of them") {
    VirtualRuntime runtime;
    FakeResolver dns(runtime);
    Self own = self();
    for (int i = 0; i < 1000; ++i)
      dns.add_host("a.example", {"10.0." + std::to_string(i / 250) + '.' + std::to_string(i % 250 + 1)});
    Exchangers got = runtime.complete(find_exchangers(dns, runtime, "a.example", LookUp(), own));
    CHECK(got.hosts.front().addresses.size() == 32);
  }

  TEST_CASE("plan: no MX is the domain itself [RFC 5321 5.1]") {
    MxPlan plan = plan_mx("A.Example.", mx_answer({}), 1, 20);
    CHECK(plan.implicit);
    CHECK(plan.hosts == std::vector<Mx>{{0, "a.example"}});
  }

  TEST_CASE("plan: each of equal preference is first about as often, whatever the order of the answer") {
    std::vector<Mx> records = {{10, "a"}, {10, "b"}, {10, "c"}, {5, "d"}};
    std::map<std::string, int> first;
    for (std::uint64_t chance = 0; chance < 3000; ++chance) {
      MxPlan plan = plan_mx("x", mx_answer(records), chance, 20);
      REQUIRE(plan.hosts.size() == 4);
      CHECK(plan.hosts.front().exchanger == "d");
      ++first[plan.hosts[1].exchanger];
    }
    for (const char* name : {"a", "b", "c"}) CHECK(std::abs(first[name] - 1000) < 150);
  }

  TEST_CASE("plan: the same chance gives the same order") {
    std::vector<Mx> records = {{10, "a"}, {10, "b"}, {10, "c"}, {10, "d"}, {10, "e"}};
    MxPlan one = plan_mx("x", mx_answer(records), 42, 20);
    std::ranges::reverse(records);
    MxPlan two = plan_mx("x", mx_answer(records), 42, 20);
    CHECK(one.hosts == two.hosts);
  }

  TEST_CASE("plan: which hosts are left of too many is no matter of chance") {
    std::vector<Mx> records;
    for (int i = 0; i < 100; ++i) records.push_back({10, "mx" + std::to_string(i)});
    std::set<std::set<std::string>> kept;
    for (std::uint64_t chance = 0; chance < 20; ++chance) {
      std::set<std::string> names;
      for (const Mx& mx : plan_mx("x", mx_answer(records), chance, 20).hosts) names.insert(mx.exchanger);
      CHECK(names.size() == 20);
      kept.insert(names);
    }
    CHECK(kept.size() == 1);
  }

  TEST_CASE("plan: what no host can be is noted [RFC 2181 10.3]") {
    MxPlan plan =
        plan_mx("x", mx_answer({{10, "192.0.2.1"}, {20, "a\\.b.example"}, {30, "::1"}, {40, "mx.example"}}), 1, 20);
    CHECK(plan.hosts == std::vector<Mx>{{40, "mx.example"}});
    CHECK(plan.unusable.size() == 3);
    CHECK_FALSE(plan.null_mx);
  }

  TEST_CASE("drop_self says whether we were there") {
    Exchanger other;
    other.preference = 10;
    other.name = "mx.example";
    other.addresses = {at("192.0.2.1")};
    Exchanger own = other;
    own.preference = 20;
    own.addresses = {at("192.0.2.25")};
    std::vector<Exchanger> hosts = {other, own};
    CHECK(drop_self(hosts, self()));
    CHECK(hosts.size() == 1);
    CHECK_FALSE(drop_self(hosts, self()));
    CHECK(hosts.size() == 1);
    Self nobody;
    hosts.front().name = "";
    CHECK_FALSE(drop_self(hosts, nobody));
  }
}

}  // namespace waypost::resolver
