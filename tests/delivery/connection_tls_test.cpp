// STARTTLS and TLS from the first octet, against hosts that follow a script.
#include <doctest/doctest.h>

#include "delivery/connection.h"
#include "tests/delivery/scripted_host.h"
#include "tests/delivery/tls_pki.h"

using namespace waypost;
using namespace waypost::delivery;
using namespace std::chrono_literals;
using tests::ClientSession;
using tests::HostOptions;
using tests::TlsPki;
using Level = conf::TlsLevel;
using Verdict = TlsEvidence::Verdict;

namespace {

const std::string kUpToOffer = R"(S: 220 mx.b.example ESMTP
C: EHLO relay.example
S: 250-mx.b.example
S: 250-STARTTLS
S: 250 SIZE 1000
)";
const std::string kStart = kUpToOffer + "C: STARTTLS\nS: 220 go\nTLS\n";
const std::string kWhole = kStart + "C: EHLO relay.example\nS: 250-mx.b.example\nS: 250 PIPELINING\n";
const std::string kQuit = "C: QUIT\nS: 221 bye\nEND";

struct Opening : ClientSession {
  explicit Opening(Level level) {
    attempts = 0;
    settings.tls = TlsPki::get().client();
    policy.level = level;
    policy.source = "delivery.tls";
    policy.server_name = "mx.b.example";
    if (level == Level::verify) policy.names = {"b.example", ".b.example"};
  }
};

HostOptions with(std::shared_ptr<const net::TlsServer> server, std::size_t split = 100000) {
  HostOptions options;
  options.tls = std::move(server);
  options.split = split;
  return options;
}

}  // namespace

TEST_SUITE("delivery/connection_tls") {
  TEST_CASE("STARTTLS, a handshake, EHLO again: what was offered before is forgotten [RFC 3207 4.2]") {
    for (const std::size_t split : {100000, 1, 7}) {
      Opening s(Level::opportunistic);
      s.run(kWhole + kQuit, with(TlsPki::get().self_signed("mx.b.example"), split));
      CHECK(s.mistake == "");
      REQUIRE(s.opened);
      CHECK(s.extensions.pipelining);
      CHECK_FALSE(s.extensions.size);
      CHECK_FALSE(s.extensions.starttls);
      CHECK(s.server_name == "mx.b.example");
      CHECK(s.tls.verdict == Verdict::untrusted);
      CHECK(s.tls.version == "TLSv1.3");
      CHECK(s.tls.names == std::vector<std::string>{"mx.b.example"});
    }
  }

  TEST_CASE("whose certificate is enough for which policy") {
    TlsPki& pki = TlsPki::get();
    struct Row {
      Level level;
      std::shared_ptr<const net::TlsServer> server;
      Verdict verdict;
      const char* reason;  // "": the session is opened
    };
    const Row rows[] = {
        {Level::opportunistic, pki.server("other.example"), Verdict::trusted, ""},
        {Level::encrypt, pki.self_signed("mx.b.example"), Verdict::untrusted, ""},
        {Level::verify, pki.server("b.example"), Verdict::verified, ""},
        {Level::verify, pki.server("mx.b.example"), Verdict::verified, ""},
        {Level::verify, pki.server("*.b.example"), Verdict::verified, ""},
        {Level::verify, pki.server("mx.evil.example"), Verdict::untrusted, "mismatch; it is for mx.evil.example"},
        {Level::verify, pki.server("evil-b.example"), Verdict::untrusted, "mismatch; it is for evil-b.example"},
        {Level::verify, pki.self_signed("mx.b.example"), Verdict::untrusted, "self-signed certificate"},
        {Level::fingerprint, pki.server("mx.b.example"), Verdict::untrusted, "its public key is sha256:"},
    };
    for (const Row& row : rows) {
      CAPTURE(&row - rows);
      Opening s(row.level);
      s.policy.fingerprints = {std::string(64, '0')};
      const bool opens = std::string(row.reason).empty();
      s.run(opens ? kWhole + kQuit : kStart + kQuit, with(row.server));
      CHECK(s.mistake == "");
      CHECK(s.opened == opens);
      if (opens) {
        CHECK(s.tls.verdict == row.verdict);
        continue;
      }
      CHECK(s.failure.status == "4.7.5");
      CHECK(s.failure.tls_trouble == HostFailure::Tls::policy);
      CHECK(s.failure.reason.find(row.reason) != std::string::npos);
      CHECK(s.failure.tls.starts_with("TLSv1.3/"));
    }
  }

  TEST_CASE("a fingerprint that matches needs no root") {
    Opening first(Level::fingerprint);
    first.run(kStart + kQuit, with(TlsPki::get().self_signed("pinned.example")));
    const std::size_t at = first.failure.reason.find("sha256:");
    REQUIRE(at != std::string::npos);
    Opening s(Level::fingerprint);
    s.policy.fingerprints = {std::string(64, '0'), first.failure.reason.substr(at + 7, 64)};
    s.run(kWhole + kQuit, with(TlsPki::get().self_signed("pinned.example")));
    CHECK(s.mistake == "");
    CHECK(s.opened);
    CHECK(s.tls.verdict == Verdict::fingerprint);
  }

  TEST_CASE("not offered: in clear, or not at all") {
    const std::string plain = "S: 220 mx\nC: EHLO relay.example\nS: 250 mx\n";
    const std::string old = "S: 220 mx\nC: EHLO relay.example\nS: 502 what\nC: HELO relay.example\nS: 250 mx\n";
    for (const std::string& script : {plain, old}) {
      for (const Level level : {Level::none, Level::opportunistic}) {
        Opening s(level);
        s.run(script + kQuit);
        CHECK(s.mistake == "");
        CHECK(s.opened);
        CHECK(s.tls.verdict == Verdict::none);
      }
      for (const Level level : {Level::encrypt, Level::verify, Level::fingerprint}) {
        Opening s(level);
        s.run(script + kQuit);
        CHECK(s.mistake == "");  // QUIT comes at once
        CHECK_FALSE(s.opened);
        CHECK(s.failure.status == "4.7.4");
        CHECK(s.failure.tls_trouble == HostFailure::Tls::policy);
        CHECK(s.failure.reason.find("not offered") != std::string::npos);
      }
    }
  }

  TEST_CASE("offered and not wanted, or given up: nothing is said of it") {
    Opening none(Level::none);
    none.run(kUpToOffer + kQuit);
    CHECK(none.mistake == "");
    CHECK(none.opened);
    Opening given_up(Level::opportunistic);
    given_up.policy.given_up = true;
    given_up.run(kUpToOffer + kQuit);
    CHECK(given_up.mistake == "");
    CHECK(given_up.opened);
    CHECK(given_up.tls.text() == "none: handshakes have failed before; opportunistic by delivery.tls");
  }

  TEST_CASE(
      "454, a lost connection, rubbish, a handshake that stalls: the host fails, and nothing more goes in clear") {
    struct Row {
      std::string after;  // STARTTLS
      const char* status;
      net::Duration took;
    };
    const std::string start = kUpToOffer + "C: STARTTLS\n";
    const Row rows[] = {
        {"S: 454 4.7.0 TLS not available\nC: QUIT\nS: 221 bye\nEND", "4.7.0", 0s},
        {"S: 501 no\nC: QUIT\nS: 221 bye\nEND", "4.7.4", 0s},
        {"CLOSE", "4.4.2", 0s},
        {"S: 220 go\nOCTETS 5\nCLOSE", "4.7.5", 0s},
        {"S: 220 go\nOCTETS 5\nS: 500 what is this\nWAIT 1\nCLOSE", "4.7.5", 0s},
        {"S: 220 go\nOCTETS 5\nWAIT 100\nCLOSE", "4.7.5", 60s},
    };
    for (const Level level : {Level::opportunistic, Level::encrypt, Level::verify}) {
      for (const Row& row : rows) {
        CAPTURE(row.after);
        Opening s(level);
        s.run(start + row.after);
        CHECK_FALSE(s.opened);
        CHECK(s.failure.status == row.status);
        CHECK(s.failure.tls_trouble == HostFailure::Tls::handshake);
        CHECK_FALSE(s.failure.ours);
        CHECK(s.took >= row.took);
        CHECK(s.took <= row.took + 1s);
        CHECK(s.failure.tls.starts_with("none: "));
        const std::size_t said = s.heard.find("STARTTLS\r\n");
        REQUIRE(said != std::string::npos);
        const std::string after = s.heard.substr(said + 10);
        CHECK((after == "QUIT\r\n" || after.empty() || after.front() == '\x16' || after.front() == '\x15'));
        CHECK(after.find("EHLO") == std::string::npos);
      }
    }
  }

  TEST_CASE("octets in clear behind the 220 end the session [F41, RFC 3207 6]") {
    for (const Level level : {Level::opportunistic, Level::verify}) {
      Opening s(level);
      s.run(kUpToOffer + "C: STARTTLS\nRAW 220 go\\r\\n250-injected\\r\\n250 AUTH PLAIN\\r\\n\nEND");
      CHECK(s.mistake == "");  // not even QUIT
      CHECK_FALSE(s.opened);
      CHECK(s.failure.status == "4.7.0");
      CHECK(s.failure.tls_trouble == HostFailure::Tls::policy);  // whoever can do that gets no mail in clear for it
      CHECK(s.failure.reason.find("30 octets in clear") != std::string::npos);
    }
  }

  TEST_CASE("a host that hangs up on the first word under TLS has refused the handshake; one that is silent has not") {
    Opening hung_up(Level::opportunistic);
    hung_up.run(kStart + "C: EHLO relay.example\nCLOSE", with(TlsPki::get().self_signed("mx.b.example")));
    CHECK(hung_up.failure.status == "4.4.2");
    CHECK(hung_up.failure.tls_trouble == HostFailure::Tls::handshake);
    Opening silent(Level::opportunistic);
    silent.run(kStart + "C: EHLO relay.example\nWAIT 400\nCLOSE", with(TlsPki::get().self_signed("mx.b.example")));
    CHECK(silent.failure.reason == "timed out while awaiting the reply to EHLO");
    CHECK(silent.failure.tls_trouble == HostFailure::Tls::none);
  }

  TEST_CASE("421 to STARTTLS is the host's failure, not that of its TLS") {
    Opening s(Level::opportunistic);
    s.run(kUpToOffer + "C: STARTTLS\nS: 421 4.3.2 later\nCLOSE");
    CHECK_FALSE(s.opened);
    CHECK(s.failure.status == "4.3.2");
    CHECK(s.failure.tls_trouble == HostFailure::Tls::none);
  }

  TEST_CASE("TLS from the first octet: no STARTTLS, and no word in clear") {
    Opening s(Level::verify);
    s.policy.implicit = true;
    s.run("TLS\nS: 220 mx\nC: EHLO relay.example\nS: 250-mx\nS: 250-STARTTLS\nS: 250 SIZE 5\n" + kQuit,
          with(TlsPki::get().server("mx.b.example")));
    CHECK(s.mistake == "");
    CHECK(s.opened);
    CHECK(s.tls.verdict == Verdict::verified);
    CHECK(s.extensions.size);
    Opening plain(Level::encrypt);
    plain.policy.implicit = true;
    plain.run("S: 220 mx\nWAIT 1\nCLOSE");
    CHECK_FALSE(plain.opened);
    CHECK(plain.failure.status == "4.7.5");
  }

  TEST_CASE("a stop in the handshake is ours") {
    Opening s(Level::opportunistic);
    s.stop_after = 5s;
    s.run(kUpToOffer + "C: STARTTLS\nS: 220 go\nOCTETS 5\nWAIT 100\nCLOSE");
    CHECK_FALSE(s.opened);
    CHECK(s.failure.ours);
    CHECK(s.failure.tls_trouble == HostFailure::Tls::none);
  }

  TEST_CASE("without a client of TLS: opportunistic goes in clear, the rest does not") {
    Opening clear(Level::opportunistic);
    clear.settings.tls = nullptr;
    clear.run(kUpToOffer + kQuit);
    CHECK(clear.opened);
    Opening strict(Level::encrypt);
    strict.settings.tls = nullptr;
    strict.run(kUpToOffer + kQuit);
    CHECK_FALSE(strict.opened);
    CHECK(strict.failure.status == "4.7.4");
  }

  TEST_CASE("REQUIRETLS goes on with the message to a verified host that offers it, and to no other [RFC 8689 4.2.1]") {
    const std::string offer = kStart + "C: EHLO relay.example\nS: 250-mx.b.example\n";
    const std::string transaction = R"(C: MAIL FROM:<s@a.example> REQUIRETLS
S: 250 ok
C: RCPT TO:<r1@b.example>
S: 250 ok
C: DATA
S: 354 go
BODY
S: 250 2.0.0 taken
)";
    Opening s(Level::verify);
    s.attempts = 1;
    s.message.info.require_tls = true;
    s.run(offer + "S: 250 REQUIRETLS\n" + transaction + kQuit, with(TlsPki::get().server("mx.b.example")));
    CHECK(s.mistake == "");
    CHECK(s.outcome().event == queue::Event::attempt_relayed);
    CHECK(s.outcome().tls.find(" verified; verify by delivery.tls; for mx.b.example") != std::string::npos);
    struct Row {
      Level level;
      const char* offered;
      const char* why;
    };
    for (const Row& row :
         {Row{Level::verify, "SIZE", "does not offer"}, Row{Level::encrypt, "REQUIRETLS", "verified"}}) {
      Opening no(row.level);
      no.attempts = 1;
      no.message.info.require_tls = true;
      no.run(offer + "S: 250 " + row.offered + "\n" + kQuit, with(TlsPki::get().server("mx.b.example")));
      CHECK(no.mistake == "");
      CHECK(no.outcome().status == (row.level == Level::verify ? "4.7.30" : "4.7.10"));
      CHECK(no.outcome().reply.find(row.why) != std::string::npos);
      CHECK(no.outcome().try_next_host);
    }
  }
}
