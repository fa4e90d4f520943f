#include "delivery/recipient_check.h"

#include <initializer_list>
#include <string>

#include <doctest/doctest.h>

#include "smtp/reply_parser.h"
#include "tests/support/fake_resolver.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::delivery {
namespace {

using Kind = Standing::Kind;

smtp::Reply reply(const std::string& line) {
  smtp::ReplyParser parser;
  const Result<std::optional<smtp::Reply>> parsed = parser.on_line(line);
  REQUIRE(parsed);
  REQUIRE(*parsed);
  return **parsed;
}

std::string hosts_of(const Hosts& hosts) {
  std::string out = hosts.trouble;
  for (const Peer& peer : hosts.peers) {
    out += (out.empty() ? "" : " ") + std::string(peer.protocol == Protocol::lmtp ? "lmtp:" : "") + peer.text();
  }
  return out;
}

TEST_SUITE("delivery/recipient_check") {
  TEST_CASE("what a reply to RCPT says of its address") {
    const struct {
      const char* line;
      Kind want;
      bool host_failed;
    } table[] = {
        {"250 2.1.5 Ok", Kind::known, false},
        {"250 Ok", Kind::known, false},
        {"251 will forward", Kind::known, false},
        {"252 cannot verify", Kind::known, false},
        {"550 5.1.1 no such user", Kind::unknown, false},
        {"550 no such user", Kind::unknown, false},
        {"550 5.1.1 <x>: Recipient address rejected: User unknown", Kind::unknown, false},
        {"550 5.4.1 Recipient address rejected: Access denied", Kind::unknown, false},  // Exchange Online says so
        {"550 5.2.1 mailbox disabled", Kind::unknown, false},
        {"551 5.1.6 has moved", Kind::unknown, false},
        {"553 not in my list", Kind::unknown, false},
        {"554 5.1.0 no", Kind::unknown, false},
        {"501 5.1.3 bad address", Kind::unknown, false},
        {"556 5.1.10 null MX", Kind::unknown, false},
        // Not of the address: such a host refuses them all.
        {"554 5.7.1 relay access denied", Kind::undecided, false},
        {"550 5.7.1 client blocked", Kind::undecided, false},
        {"530 authentication required", Kind::undecided, false},
        {"530 5.7.0 must issue STARTTLS", Kind::undecided, false},
        {"503 need MAIL", Kind::undecided, false},
        {"503 5.5.1 need MAIL", Kind::undecided, false},
        {"500 what?", Kind::undecided, false},
        {"502 not implemented", Kind::undecided, false},
        {"555 5.5.4 parameter", Kind::undecided, false},
        {"552 5.2.2 mailbox full", Kind::undecided, false},
        {"552 too many", Kind::undecided, false},
        {"450 4.2.0 greylisted", Kind::undecided, false},
        {"451 4.3.0 later", Kind::undecided, false},
        {"452 4.2.2 full", Kind::undecided, false},
        {"421 4.3.2 shutting down", Kind::undecided, true},
        {"354 go on", Kind::undecided, true},
    };
    for (const auto& [line, want, host_failed] : table) {
      CAPTURE(line);
      const Standing standing = standing_of(reply(line), "mx.b.example[192.0.2.7]:25");
      CHECK(standing.kind == want);
      CHECK(standing.host_failed == host_failed);
      CHECK(standing.why.empty() == (want == Kind::known));
    }
    CHECK(standing_of(reply("550 5.1.1 no\x01"), "h").why == "h: 550 5.1.1 no\\x01");
  }

  TEST_CASE("whom to ask") {
    tests::VirtualRuntime runtime;
    tests::FakeResolver dns(runtime);
    dns.add_mx("b.example", {{20, "mx2.b.example"}, {10, "mx1.b.example"}});
    dns.add_host("mx1.b.example", {"192.0.2.1", "2001:db8::1"});
    dns.add_host("mx2.b.example", {"192.0.2.2"});
    dns.add_host("many.example",
                 {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.7"});
    conf::Config config;
    config.delivery.port = 2525;
    const resolver::Self self{"relay.example", {*net::Address::parse("192.0.2.99", 25)}};
    const auto hop = [](conf::NextHop::Kind kind, std::string host, std::uint16_t port, bool mx) {
      conf::NextHop out;
      out.kind = kind;
      (kind == conf::NextHop::Kind::lmtp_socket ? out.value : out.host.host) = std::move(host);
      out.host.port = port;
      out.look_up_mx = mx;
      return out;
    };
    using conf::NextHop;
    const auto find = [&](NextHop next_hop) {
      return runtime.complete(find_hosts(dns, runtime, config, "b.example", std::move(next_hop), self));
    };
    CHECK(hosts_of(find(hop(NextHop::Kind::lmtp_socket, "/run/lmtp", 0, false))) == "lmtp:localhost[/run/lmtp]");
    CHECK(hosts_of(find(hop(NextHop::Kind::lmtp_tcp, "192.0.2.7", 24, false))) == "lmtp:192.0.2.7[192.0.2.7]:24");
    CHECK(hosts_of(find(hop(NextHop::Kind::smtp, "192.0.2.7", 0, false))) == "192.0.2.7[192.0.2.7]:2525");
    CHECK(hosts_of(find(hop(NextHop::Kind::smtp, "mx2.b.example", 25, false))) == "mx2.b.example[192.0.2.2]:25");
    const std::string by_mx = hosts_of(find(hop(NextHop::Kind::smtp, "b.example", 25, true)));
    CHECK(by_mx.starts_with("mx1.b.example["));
    CHECK(by_mx.ends_with(" mx2.b.example[192.0.2.2]:25"));
    CHECK(find(hop(NextHop::Kind::smtp, "many.example", 25, false)).peers.size() == Hosts::kMostPeers);
    for (const NextHop& nowhere :
         {hop(NextHop::Kind::smtp, "nowhere.example", 25, false), hop(NextHop::Kind::smtp, "192.0.2.99", 25, false)}) {
      const Hosts none = find(nowhere);
      CHECK(none.peers.empty());
      CHECK_FALSE(none.trouble.empty());
    }
    // What leaves by SMTP is not to go in clear: nor are the names.
    config.delivery.tls = conf::TlsLevel::encrypt;
    CHECK(find(hop(NextHop::Kind::smtp, "192.0.2.7", 25, false)).peers.at(0).tls.level == conf::TlsLevel::encrypt);
  }
}

}  // namespace
}  // namespace waypost::delivery
