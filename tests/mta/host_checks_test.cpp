#include "mta/host_checks.h"

#include <array>
#include <string>
#include <thread>

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

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

/// Bound to a port of 127.0.0.1 that is free; listening, if it can.
struct LocalSocket {
  explicit LocalSocket(int type) : fd(::socket(AF_INET, type, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&at), size) == 0);
    if (type == SOCK_STREAM) REQUIRE(::listen(fd, 10) == 0);
    REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) == 0);
    port = ntohs(at.sin_port);
  }
  LocalSocket(const LocalSocket&) = delete;
  LocalSocket& operator=(const LocalSocket&) = delete;
  ~LocalSocket() { ::close(fd); }
  int fd;
  std::uint16_t port = 0;
};

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
    HostFacts alone = good;
    using Kind = HostFacts::NameServer::Kind;
    alone.name_servers = {{"192.0.2.53", Kind::validates}};
    CHECK(keys(local, alone).empty());
    alone.name_servers = {{"192.0.2.53", Kind::silent}, {"192.0.2.54", Kind::believes}};
    alone.next_hops = {{"route[2].next_hop", "smtp:[192.0.2.7]", "Connection refused"}};
    alone.listeners = {{"listener[1].address", "127.0.0.5:25", "Address already in use"}};
    CHECK(keys(local, alone) == "resolver.servers resolver.servers route[2].next_hop listener[1].address ");
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

  TEST_CASE("facts of this machine: a name server, a next hop and a port that another has") {
    const LocalSocket tcp(SOCK_STREAM), udp(SOCK_DGRAM);
    std::thread server([&udp] {
      std::array<char, 512> question{};
      for (const char flags : {'\xa0', '\x80'}) {  // AD, and not
        sockaddr_in from{};
        socklen_t size = sizeof from;
        auto* const to = reinterpret_cast<sockaddr*>(&from);
        const auto octets = ::recvfrom(udp.fd, question.data(), question.size(), 0, to, &size);
        question[2] = '\x81';
        question[3] = flags;
        ::sendto(udp.fd, question.data(), static_cast<std::size_t>(octets), 0, to, size);
      }
    });
    conf::Config config = listening("127.0.0.1");
    config.hostname = "localhost";
    config.control_socket = "/no/such/socket";
    config.listeners[0].address.port = tcp.port;
    config.resolver.servers = {{"127.0.0.1", udp.port}};
    conf::Route route;
    conf::NextHop there, gone;
    there.host = {"127.0.0.1", tcp.port};
    gone.host = {"127.0.0.1", 1};
    route.next_hops = {there, gone};
    config.routes = {route};
    HostFacts facts = host_facts(config);
    REQUIRE(facts.name_servers.size() == 1);
    CHECK(facts.name_servers[0].kind == HostFacts::NameServer::Kind::validates);
    REQUIRE(facts.next_hops.size() == 1);
    CHECK(facts.next_hops[0].what == "smtp:[127.0.0.1]:1");
    CHECK(facts.next_hops[0].why == "Connection refused");
    REQUIRE(facts.listeners.size() == 1);
    CHECK(facts.listeners[0].key == "listener[1].address");
    CHECK(host_facts(config).name_servers.at(0).kind == HostFacts::NameServer::Kind::believes);
    server.join();
    config.resolver.servers[0].port = 1;
    CHECK(host_facts(config).name_servers.at(0).kind == HostFacts::NameServer::Kind::silent);
  }
}
}  // namespace waypost::mta
