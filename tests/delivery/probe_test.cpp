#include "delivery/probe.h"

#include <string>
#include <vector>

#include <doctest/doctest.h>

namespace waypost::delivery {

namespace {

Dispatcher::Found found_hosts() {
  Dispatcher::Found found;
  found.tls.resize(1);
  found.plan.hops.resize(1);
  found.plan.hops[0].hosts = {
      {10, "mx1.b.example", {*net::Address::parse("192.0.2.7", 25)}, ""},
      {20, "mx2.b.example", {*net::Address::parse("2001:db8::8", 25), *net::Address::parse("192.0.2.8", 25)}, ""}};
  return found;
}

std::vector<std::string> texts(const std::vector<ProbedHost>& hosts) {
  std::vector<std::string> out;
  for (const ProbedHost& each : hosts)
    out.push_back(std::to_string(each.preference) + " " + each.peer.text() +
                  (each.peer.source ? " from " + each.peer.source->host() : ""));
  return out;
}

}  // namespace

TEST_SUITE("delivery/probe") {
  TEST_CASE("each address, from where its mail would leave") {
    Dispatcher::Found found = found_hosts();
    CHECK(texts(hosts_of(found)) == std::vector<std::string>{"10 mx1.b.example[192.0.2.7]:25",
                                                             "20 mx2.b.example[2001:db8::8]:25",
                                                             "20 mx2.b.example[192.0.2.8]:25"});
    found.plan.sources = {*net::Address::parse("192.0.2.1", 0), *net::Address::parse("192.0.2.2", 0)};
    CHECK(texts(hosts_of(found)) == std::vector<std::string>{"10 mx1.b.example[192.0.2.7]:25 from 192.0.2.1",
                                                             "20 mx2.b.example[2001:db8::8]:25",
                                                             "20 mx2.b.example[192.0.2.8]:25 from 192.0.2.1"});
    auto as = std::make_shared<Identity>();
    as->source = found.plan.sources;
    found.as = as;
    CHECK(texts(hosts_of(found)) == std::vector<std::string>{"10 mx1.b.example[192.0.2.7]:25 from 192.0.2.1",
                                                             "20 mx2.b.example[192.0.2.8]:25 from 192.0.2.1"});
  }
}

}  // namespace waypost::delivery
