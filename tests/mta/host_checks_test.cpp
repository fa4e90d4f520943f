#include "mta/host_checks.h"

#include <string>

#include <doctest/doctest.h>

namespace waypost::mta {
namespace {

using Known = HostFacts::Known;

std::string keys(const conf::Config& config, const HostFacts& facts) {
  std::string out;
  for (const conf::Finding& finding : host_warnings(config, facts)) {
    CHECK_FALSE(finding.hint.empty());
    out += (finding.key.empty() ? "clock" : finding.key) + " ";
  }
  return out;
}

conf::Config listening(const std::string& host) {
  conf::Config config;
  config.hostname = "relay.example";
  conf::Listener listener;
  listener.address = {host, 25};
  config.listeners.push_back(listener);
  return config;
}

}  // namespace

TEST_SUITE("mta/host_checks") {
  TEST_CASE("what a machine lacks for a configuration") {
    HostFacts good;
    good.name_has_address = good.clock_is_kept = Known::yes;
    good.addresses = {*net::Address::parse("127.0.0.1", 0), *net::Address::parse("192.0.2.1", 0)};
    conf::Config local = listening("127.0.0.5");
    CHECK(keys(local, good).empty());
    CHECK(keys(local, HostFacts()).empty());
    conf::Config open = listening("0.0.0.0");
    CHECK(keys(open, good) == "tls.certificate ");
    open.tls.certificate = "/etc/ssl/relay.pem";
    CHECK(keys(open, good).empty());
    conf::Config strange = listening("192.0.2.2");
    strange.tls.certificate = "/etc/ssl/relay.pem";
    CHECK(keys(strange, good) == "listener[1].address ");
    strange.listeners[0].address.host = "192.0.2.1";
    CHECK(keys(strange, good).empty());
    HostFacts bad = good;
    bad.name_has_address = bad.clock_is_kept = Known::no;
    CHECK(keys(local, bad) == "hostname clock ");
  }

  TEST_CASE("facts of this machine: loopback is there, and a name that no DNS has") {
    conf::Config config = listening("127.0.0.1");
    config.hostname = "localhost";
    CHECK(host_facts(config).name_has_address == Known::yes);
    CHECK_FALSE(host_facts(config).addresses.empty());
  }
}
}  // namespace waypost::mta
