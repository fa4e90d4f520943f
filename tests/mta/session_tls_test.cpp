#include <fstream>
#include <optional>
#include <string>

#include <doctest/doctest.h>

#include "base/base64.h"
#include "mta/scram.h"
#include "mta/server.h"
#include "mta/session.h"
#include "net/memory_stream.h"
#include "net/tls_stream.h"
#include "tests/support/fake_store.h"
#include "tests/support/harness.h"
#include "tests/support/scram_client.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_certificate.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::mta {
namespace {

using tests::Harness;

net::Task<> put(net::Stream& stream, std::string octets) {
  Result<> written = co_await stream.write(octets, net::TimePoint::max());
  (void)written;  // what the session said tells why
}

/// What is there now.
net::Task<std::string> take(net::Stream& stream, net::TimePoint now, bool& ended) {
  std::string heard;
  std::string piece(4096, '\0');
  while (true) {
    Result<std::size_t> got = co_await stream.read(piece, now);
    if (got && *got != 0) {
      heard.append(piece, 0, *got);
      continue;
    }
    ended = got || got.error().code != Errc::timed_out;
    co_return heard;
  }
}

net::Task<> shake(net::TlsStream& stream, std::optional<Result<>>& result, net::TimePoint deadline) {
  result = co_await stream.handshake(deadline);
}

/// A session, and a client that can speak TLS.
struct Conversation {
  explicit Conversation(conf::ListenerTls tls, bool has_certificate = true, const conf::Config::Auth& auth = {},
                        std::vector<conf::ClientClass> classes = {}) {
    listener.tls = tls;
    listener.auth = true;
    conf::Config with_auth = *config;
    with_auth.auth = auth;
    with_auth.clients = std::move(classes);
    config = std::make_shared<const conf::Config>(std::move(with_auth));
    if (has_certificate) server = usual_server();
    net::MemoryPairOptions pair;
    pair.first_address = *net::Address::parse("198.51.100.7", 40000);
    pair.second_address = *net::Address::parse("203.0.113.25", 25);
    pair.capacity = 1 << 20;
    auto ends = net::memory_pair(runtime, pair);
    client = std::move(ends.first);
    std::optional<Limits::Token> place = limits.acquire(ends.second->remote(), 10, 10);
    scope.spawn(serve(std::move(ends.second), context, listener, *std::move(place), scope.stop_token()));
    runtime.run_until_idle();
  }
  ~Conversation() {
    client->close();
    scope.stop();
    runtime.run_until([this] { return scope.running() == 0 && client_scope.running() == 0; });
  }
  static const std::shared_ptr<const net::TlsServer>& usual_server() {
    static const std::shared_ptr<const net::TlsServer> made = tests::make_tls_server();
    return made;
  }
  static const std::shared_ptr<const net::TlsClient>& usual_client() {
    static const std::shared_ptr<const net::TlsClient> made = *net::TlsClient::make({});
    return made;
  }

  std::string hear() {
    runtime.run_until_idle();
    return runtime.complete(take(*client, runtime.now(), client_ended));
  }
  std::string send(const std::string& octets) {
    client_scope.spawn(put(*client, octets));
    return hear();
  }
  std::string say(const std::string& line) { return send(line + "\r\n"); }
  /// The handshake, as a client that was told to go on.
  bool secure(std::shared_ptr<const net::TlsClient> with = usual_client()) {
    Result<std::unique_ptr<net::TlsStream>> tls = net::tls_connect(std::move(client), std::move(with), {});
    REQUIRE(tls);
    secured = tls->get();
    std::optional<Result<>> shaken;
    client_scope.spawn(shake(**tls, shaken, runtime.now() + std::chrono::minutes(1)));
    client = *std::move(tls);
    runtime.run_until_idle();
    return shaken && *shaken;
  }
  /// Greeting, EHLO, STARTTLS, EHLO.
  void begin() {
    hear();
    say("EHLO c.example");
    CHECK(say("STARTTLS") == "220 2.0.0 Ready to start TLS\r\n");
    REQUIRE(secure());
    CHECK(say("EHLO c.example").starts_with("250-relay.example\r\n"));
  }
  bool ended() const { return scope.running() == 0; }

  tests::VirtualRuntime runtime;
  tests::FakeStore store{runtime};
  Limits limits;
  std::atomic<bool> accepting{true};
  std::shared_ptr<const conf::Config> config = std::make_shared<const conf::Config>(tests::harness_config());
  std::shared_ptr<const net::TlsServer> server;
  conf::Role asked = conf::Role::submission;
  conf::Listener listener;
  Authenticator authenticator{[](const std::function<void()>& work) {
    work();
    return true;
  }};
  Rates rates;
  ServerContext context{runtime,
                        store,
                        limits,
                        [this] { return config; },
                        accepting,
                        [this](conf::Role role) {
                          asked = role;
                          return server;
                        },
                        &authenticator,
                        &rates};
  net::Scope scope{runtime, nullptr};
  net::Scope client_scope{runtime, nullptr};
  std::unique_ptr<net::Stream> client;
  net::TlsStream* secured = nullptr;  ///< client, under TLS
  bool client_ended = false;
};

bool offers(const std::string& ehlo, const std::string& keyword) {
  return ehlo.find(keyword + "\r\n") != std::string::npos;
}

}  // namespace

TEST_SUITE("mta/session_tls") {
  TEST_CASE("STARTTLS is offered in clear alone, REQUIRETLS under TLS alone [RFC 3207 4, RFC 8689 2]") {
    Conversation c(conf::ListenerTls::starttls);
    CHECK(c.hear() == "220 relay.example ESMTP Waypost\r\n");
    std::string clear = c.say("EHLO c.example");
    CHECK(offers(clear, "STARTTLS"));
    CHECK_FALSE(offers(clear, "REQUIRETLS"));
    CHECK(c.say("STARTTLS") == "220 2.0.0 Ready to start TLS\r\n");
    REQUIRE(c.secure());
    CHECK(c.asked == conf::Role::mx);
    CHECK(c.hear().empty());  // no second greeting
    std::string secured = c.say("EHLO c.example");
    CHECK_FALSE(offers(secured, "STARTTLS"));
    CHECK(offers(secured, "REQUIRETLS"));
    CHECK(c.say("STARTTLS").starts_with("503 5.5.1"));
    CHECK(c.say("QUIT").starts_with("221 2.0.0"));
    CHECK(c.client_ended);
    CHECK(c.ended());
  }

  TEST_CASE("a message under TLS: ESMTPS, version and cipher in Received, REQUIRETLS in the envelope") {
    Conversation c(conf::ListenerTls::starttls);
    c.begin();
    CHECK(c.say("MAIL FROM:<s@c.example> REQUIRETLS").starts_with("250"));
    CHECK(c.say("RCPT TO:<r@b.example>").starts_with("250"));
    CHECK(c.say("DATA").starts_with("354"));
    CHECK(c.say("Subject: x\r\n\r\ntext\r\n.").starts_with("250"));
    REQUIRE(c.store.committed.size() == 1);
    CHECK(c.store.committed[0].message.envelope.require_tls);
    CHECK(c.store.committed[0].message.origin.protocol == "ESMTPS");
    const std::string& trace = c.store.committed[0].message.trace;
    CHECK(trace.find("\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n\tby relay.example "
                     "(Waypost) with ESMTPS id ") != std::string::npos);
  }

  TEST_CASE("in clear REQUIRETLS is an unknown parameter [RFC 8689 4.1]") {
    Conversation c(conf::ListenerTls::starttls);
    c.hear();
    c.say("EHLO c.example");
    CHECK(c.say("MAIL FROM:<s@c.example> REQUIRETLS").starts_with("555 5.5.4"));
  }

  TEST_CASE("what was said in clear is forgotten: EHLO, and the transaction [RFC 3207 4.2]") {
    Conversation c(conf::ListenerTls::starttls);
    c.hear();
    c.say("EHLO c.example");
    CHECK(c.say("MAIL FROM:<s@c.example>").starts_with("250"));
    CHECK(c.say("RCPT TO:<r@b.example>").starts_with("250"));
    CHECK(c.send("BDAT 3\r\nabc").starts_with("250"));
    CHECK(c.say("STARTTLS").starts_with("220"));
    REQUIRE(c.secure());
    CHECK(c.send("BDAT 1 LAST\r\nx").starts_with("503 5.5.1"));
    CHECK(c.say("RCPT TO:<r@b.example>").starts_with("503 5.5.1"));
    CHECK(c.say("DATA").starts_with("503 5.5.1"));
    CHECK(c.say("MAIL FROM:<s@c.example>").starts_with("503 5.5.1"));
    CHECK(c.say("EHLO c.example").starts_with("250"));
    CHECK(c.say("MAIL FROM:<s@c.example>").starts_with("250"));
  }

  TEST_CASE("AUTH is offered under TLS alone, unless the configuration says otherwise [RFC 4954 4]") {
    const tests::TemporaryFolder folder;
    const std::string login = "AUTH PLAIN AGFubgBzZWNyZXQ=";  // ann, secret
    conf::Config::Auth auth;
    auth.users = folder.path() + "/users";
    std::ofstream(auth.users) << "ann:*:" + scram::text(scram::make_verifier("secret", "salt", 1)) + "\n";
    Conversation c(conf::ListenerTls::starttls, true, auth);
    c.hear();
    CHECK(c.say("EHLO c.example").find("AUTH") == std::string::npos);
    CHECK(c.say(login).starts_with("538 5.7.11"));
    CHECK(c.say("STARTTLS").starts_with("220"));
    REQUIRE(c.secure());
    CHECK(c.say(login).starts_with("503 5.5.1"));
    CHECK(offers(c.say("EHLO c.example"), "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"));
    CHECK(c.say(login).starts_with("235 2.7.0"));
    for (const char* line : {"MAIL FROM:<s@c.example>", "RCPT TO:<r@far.example>"})
      CHECK(c.say(line).starts_with("250"));
    CHECK(c.say("DATA").starts_with("354"));
    CHECK(c.say("text\r\n.").starts_with("250"));
    REQUIRE(c.store.committed.size() == 1);
    CHECK(c.store.committed[0].message.origin.user == "ann");
    CHECK(c.store.committed[0].message.origin.protocol == "ESMTPSA");

    // Whoever logged in in clear is nobody after STARTTLS (RFC 3207 §4.2).
    auth.require_tls = false;
    Conversation clear(conf::ListenerTls::starttls, true, auth);
    clear.hear();
    clear.say("EHLO c.example");
    CHECK(clear.say(login).starts_with("235 2.7.0"));
    CHECK(clear.say("STARTTLS").starts_with("220"));
    REQUIRE(clear.secure());
    clear.say("EHLO c.example");
    CHECK(clear.say("MAIL FROM:<s@c.example>").starts_with("250"));
    CHECK(clear.say("RCPT TO:<r@far.example>").starts_with("554 5.7.1"));
    clear.say("RSET");
    CHECK(clear.say(login).starts_with("235 2.7.0"));
  }

  TEST_CASE("STARTTLS ends a pipelined group, whose replies come first and in clear") {
    Conversation c(conf::ListenerTls::starttls);
    c.hear();
    c.say("EHLO c.example");
    CHECK(Harness::codes(c.send("NOOP\r\nRSET\r\nSTARTTLS\r\n")) == "250 250 220");
    CHECK(c.secure());
  }

  TEST_CASE("commands behind STARTTLS in the same segment: 421 4.7.0 and close (F41) [RFC 3207 6, CVE-2011-0411]") {
    for (const char* behind : {"RSET\r\n", "MAIL FROM:<s@c.example>\r\n", "x", "\r\n", "\x16\x03\x01"}) {
      CAPTURE(behind);
      Conversation c(conf::ListenerTls::starttls);
      c.hear();
      c.say("EHLO c.example");
      CHECK(c.send(std::string("STARTTLS\r\n") + behind) ==
            "421 4.7.0 relay.example Commands came behind STARTTLS in clear\r\n");
      CHECK(c.client_ended);
      CHECK(c.ended());
    }
  }

  TEST_CASE("clear text after 220: the handshake fails, and nothing in clear is answered (F41)") {
    Conversation c(conf::ListenerTls::starttls);
    c.hear();
    c.say("EHLO c.example");
    CHECK(c.say("STARTTLS").starts_with("220"));
    std::string heard = c.send("EHLO c.example\r\nMAIL FROM:<s@c.example>\r\n");
    CHECK(c.client_ended);
    CHECK(c.ended());
    CHECK((heard.empty() || heard[0] == '\x15'));
    CHECK(heard.find("250") == std::string::npos);
  }

  TEST_CASE("without a certificate STARTTLS is not offered, and 454 4.7.0 if asked for; the session goes on") {
    Conversation c(conf::ListenerTls::starttls, false);
    c.hear();
    CHECK_FALSE(offers(c.say("EHLO c.example"), "STARTTLS"));
    CHECK(c.say("STARTTLS").starts_with("454 4.7.0"));
    CHECK(c.say("MAIL FROM:<s@c.example>").starts_with("250"));
  }

  TEST_CASE("tls = none: 502; an argument: 501; before EHLO it is taken") {
    Conversation none(conf::ListenerTls::none);
    none.hear();
    CHECK_FALSE(offers(none.say("EHLO c.example"), "STARTTLS"));
    CHECK(none.say("STARTTLS").starts_with("502 5.5.1"));
    Conversation c(conf::ListenerTls::starttls);
    c.hear();
    CHECK(c.say("STARTTLS").starts_with("220"));
    CHECK(c.secure());
    Conversation argument(conf::ListenerTls::starttls);
    argument.hear();
    argument.say("EHLO c.example");
    CHECK(argument.say("STARTTLS now").starts_with("501 5.5.4"));
  }

  TEST_CASE("implicit: not an octet in clear, then a session as any other") {
    Conversation c(conf::ListenerTls::implicit);
    CHECK(c.hear().empty());
    REQUIRE(c.secure());
    CHECK(c.hear() == "220 relay.example ESMTP Waypost\r\n");
    std::string ehlo = c.say("EHLO c.example");
    CHECK_FALSE(offers(ehlo, "STARTTLS"));
    CHECK(offers(ehlo, "REQUIRETLS"));
    CHECK(c.say("STARTTLS").starts_with("503 5.5.1"));
    CHECK(c.say("QUIT").starts_with("221"));
    CHECK(c.ended());
  }

  TEST_CASE("implicit: a client in clear is sent away without an SMTP reply") {
    Conversation c(conf::ListenerTls::implicit);
    std::string heard = c.say("EHLO c.example");
    CHECK(c.ended());
    CHECK((heard.empty() || heard[0] == '\x15'));
  }

  TEST_CASE("implicit without a certificate closes") {
    Conversation c(conf::ListenerTls::implicit, false);
    CHECK(c.hear().empty());
    CHECK(c.ended());
  }

  TEST_CASE("a client that is silent in the handshake is cut off after limits.handshake_timeout (F49)") {
    for (conf::ListenerTls tls : {conf::ListenerTls::starttls, conf::ListenerTls::implicit}) {
      Conversation c(tls);
      c.hear();
      if (tls == conf::ListenerTls::starttls) CHECK(c.say("STARTTLS").starts_with("220"));
      c.runtime.advance(std::chrono::seconds(29));
      CHECK_FALSE(c.ended());
      c.runtime.advance(std::chrono::seconds(1));
      CHECK(c.ended());
      CHECK(c.limits.connections() == 0);
      CHECK(c.hear().empty());
    }
  }

  TEST_CASE("stop in a handshake closes at once; under TLS the goodbye is under TLS [RFC 5321 3.8]") {
    Conversation shaking(conf::ListenerTls::implicit);
    CHECK(shaking.limits.connections() == 1);
    shaking.scope.stop();
    CHECK(shaking.hear().empty());
    CHECK(shaking.ended());

    Conversation c(conf::ListenerTls::starttls);
    c.begin();
    c.scope.stop();
    CHECK(c.hear().starts_with("421 4.3.2"));
    CHECK(c.client_ended);
    CHECK(c.ended());
  }

  TEST_CASE("idle under TLS: 421 4.4.2 under TLS") {
    Conversation c(conf::ListenerTls::starttls);
    c.begin();
    c.runtime.advance(std::chrono::minutes(5));
    CHECK(c.hear().starts_with("421 4.4.2"));
    CHECK(c.ended());
  }

  TEST_CASE("a new certificate is for handshakes to come; a session keeps its own (F43)") {
    Conversation c(conf::ListenerTls::starttls);
    c.begin();
    c.server = tests::make_tls_server({tests::make_identity(tests::CertificateOptions({"new.example"}))});
    CHECK(c.say("NOOP").starts_with("250"));
    Conversation next(conf::ListenerTls::starttls);
    next.server = c.server;
    next.begin();
    auto& tls = dynamic_cast<net::TlsStream&>(*next.client);
    CHECK(tls.info().peer->names.front() == "new.example");
  }

  TEST_CASE("a client's certificate: its class, and AUTH EXTERNAL as that says [RFC 4422 A]") {
    tests::CertificateOptions of_root;
    of_root.authority = true;
    of_root.common_name = "root.example";
    const tests::TestCertificate root = tests::make_certificate(of_root);
    tests::CertificateOptions of_branch({"branch.example"});
    tests::CertificateOptions signed_by_root = of_branch;
    signed_by_root.issuer = &root;
    tests::TemporaryFolder folder;
    tests::write_file(folder.path() + "/users", "");
    tests::write_file(folder.path() + "/roots", root.certificate);
    conf::Config::Auth auth;
    auth.users = folder.path() + "/users";
    net::TlsServerOptions options;
    options.service = "mx";
    options.ask_for_certificate = true;
    options.ca = folder.path() + "/roots";
    conf::ClientClass branch;
    branch.name = "branch";
    branch.certificates = {"branch.example"};
    branch.login = "branch";
    branch.senders = {"@branch.example"};
    for (const bool known : {true, false}) {
      CAPTURE(known);
      Conversation c(conf::ListenerTls::starttls, true, auth, {branch});
      c.server = *net::TlsServer::make({tests::make_identity()}, options);
      c.hear();
      c.say("EHLO c.example");
      CHECK(c.say("STARTTLS").starts_with("220"));
      REQUIRE(c.secure(*net::TlsClient::make({}, tests::make_identity(known ? signed_by_root : of_branch))));
      const std::string ehlo = c.say("EHLO c.example");
      CHECK((ehlo.find(" EXTERNAL") != std::string::npos) == known);
      if (!known) {
        CHECK(c.say("AUTH EXTERNAL =").starts_with("504 5.5.4"));
        CHECK(c.say("MAIL FROM:<s@c.example>").starts_with("250"));
        continue;
      }
      CHECK(c.say("MAIL FROM:<s@c.example>").starts_with("553 5.7.1"));
      CHECK(c.say("MAIL FROM:<s@branch.example>").starts_with("250"));
      CHECK(c.say("RCPT TO:<r@far.example>").starts_with("554 5.7.1"));
      c.say("RSET");
      CHECK(c.say("AUTH EXTERNAL " + base64_encode("other")).starts_with("535 5.7.8"));
      CHECK(c.say("AUTH EXTERNAL =").starts_with("235 2.7.0"));
      CHECK(c.say("MAIL FROM:<s@branch.example>").starts_with("250"));
      CHECK(c.say("RCPT TO:<r@far.example>").starts_with("250"));
    }
  }

  TEST_CASE("SCRAM-SHA-256-PLUS: tied to this connection, and to no other [RFC 5802 6, RFC 9266]") {
    const tests::TemporaryFolder folder;
    conf::Config::Auth auth;
    auth.users = folder.path() + "/users";
    tests::write_file(auth.users, "ann:*:" + scram::text(scram::make_verifier("secret", "salt", 1)) + "\n");
    for (const auto kind : {net::ChannelBinding::tls_exporter, net::ChannelBinding::tls_server_end_point}) {
      for (const bool same : {true, false}) {
        CAPTURE(same);
        Conversation c(conf::ListenerTls::starttls, true, auth);
        c.begin();
        tests::ScramClient client;
        client.login = "ann";
        client.password = "secret";
        client.gs2 = kind == net::ChannelBinding::tls_exporter ? "p=tls-exporter,," : "p=tls-server-end-point,,";
        client.binding = same ? c.secured->channel_binding(kind) : "another";
        REQUIRE_FALSE(client.binding.empty());
        std::string heard = c.say("AUTH SCRAM-SHA-256-PLUS " + base64_encode(client.first()));
        REQUIRE(heard.starts_with("334 "));
        heard = c.say(base64_encode(*client.proof(*base64_decode(heard.substr(4, heard.size() - 6)))));
        CHECK(heard.starts_with(same ? "334 " : "535 5.7.8"));
        if (same) CHECK(c.say("").starts_with("235 2.7.0"));
      }
    }
  }
}

}  // namespace waypost::mta
