#include "net/tls_stream.h"

#include <algorithm>
#include <optional>
#include <string>

#include <doctest/doctest.h>
#include <openssl/ssl.h>

#include "net/memory_stream.h"
#include "net/scope.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_certificate.h"
#include "tests/support/virtual_runtime.h"

using namespace waypost;
using net::ChannelBinding;
using net::Stream;
using net::Task;
using net::TlsStream;
using tests::CertificateOptions;
using tests::make_certificate;
using tests::make_identity;
using tests::make_tls_server;
using tests::VirtualRuntime;

namespace {

constexpr net::Duration kMinute = std::chrono::minutes(1);
constexpr std::size_t kAll = ~std::size_t{0};

/// Hands on at most `piece` octets a read, `octets` in all; then it looks as if the peer were gone.
class Narrow : public Stream {
 public:
  Narrow(std::unique_ptr<Stream> inner, std::size_t piece, std::size_t octets)
      : inner_(std::move(inner)), piece_(piece), left_(octets) {}
  Task<Result<std::size_t>> read(std::span<char> into, net::TimePoint deadline) override {
    if (left_ == 0) co_return std::size_t{0};
    std::span<char> some = into.first(std::min({into.size(), piece_, left_}));
    Result<std::size_t> got = co_await inner_->read(some, deadline);
    if (got) {
      left_ -= *got;
      read_ += *got;
    }
    co_return got;
  }
  Task<Result<>> write(std::span<const std::string_view> pieces, net::TimePoint deadline) override {
    return inner_->write(pieces, deadline);
  }
  void try_write(std::string_view octets) override { inner_->try_write(octets); }
  void close() override { inner_->close(); }
  const net::Address& local() const override { return inner_->local(); }
  const net::Address& remote() const override { return inner_->remote(); }
  std::size_t octets() const { return read_; }

 private:
  std::unique_ptr<Stream> inner_;
  std::size_t piece_, left_, read_ = 0;
};

std::shared_ptr<const net::TlsClient> make_client(const std::string& authority = "",
                                                  std::shared_ptr<const net::TlsIdentity> identity = nullptr) {
  tests::TemporaryFolder folder;
  net::TlsClientOptions options;
  if (!authority.empty()) {
    options.ca = folder.path() + "/ca.pem";
    tests::write_file(options.ca, authority);
  }
  Result<std::shared_ptr<const net::TlsClient>> client = net::TlsClient::make(options, std::move(identity));
  REQUIRE(client);
  return *client;
}

/// Made once: keys take time.
const std::shared_ptr<const net::TlsServer>& usual_server() {
  static const std::shared_ptr<const net::TlsServer> server = make_tls_server();
  return server;
}
const std::shared_ptr<const net::TlsClient>& usual_client() {
  static const std::shared_ptr<const net::TlsClient> client = make_client();
  return client;
}

struct LinkOptions {
  LinkOptions() {}
  std::shared_ptr<const net::TlsServer> server = usual_server();
  std::shared_ptr<const net::TlsClient> client = usual_client();
  net::TlsTarget target;
  std::size_t capacity = 1 << 16;
  std::size_t piece = kAll;
  std::size_t to_server = kAll;  ///< octets that come through
  std::size_t to_client = kAll;
};

Task<> shake(TlsStream& stream, std::optional<Result<>>& result, net::TimePoint deadline) {
  result = co_await stream.handshake(deadline);
  if (!*result) stream.close();
}

Task<> write_from(Stream& stream, std::string data, std::optional<Result<>>& result, net::TimePoint deadline) {
  result = co_await stream.write(data, deadline);
}

Task<> read_one(Stream& stream, std::optional<Result<std::size_t>>& result, net::TimePoint deadline) {
  char buffer[16];
  result = co_await stream.read(buffer, deadline);
}

/// Reads until `stop_at` octets have come, or the end.
Task<> read_into(Stream& stream, std::string& heard, std::optional<Result<std::size_t>>& last, std::size_t stop_at,
                 net::TimePoint deadline) {
  std::string buffer(5000, '\0');
  while (heard.size() < stop_at) {
    last = co_await stream.read(buffer, deadline);
    if (!*last || **last == 0) co_return;
    heard.append(buffer, 0, **last);
  }
}

struct Link {
  explicit Link(const LinkOptions& options = LinkOptions()) {
    net::MemoryPairOptions pair;
    pair.first_address = *net::Address::parse("192.0.2.1", 1000);
    pair.second_address = *net::Address::parse("192.0.2.2", 25);
    pair.capacity = options.capacity;
    auto ends = net::memory_pair(runtime, pair);
    auto client_end = std::make_unique<Narrow>(std::move(ends.first), options.piece, options.to_client);
    auto server_end = std::make_unique<Narrow>(std::move(ends.second), options.piece, options.to_server);
    below_client = client_end.get();
    below_server = server_end.get();
    Result<std::unique_ptr<TlsStream>> accepted = net::tls_accept(std::move(server_end), options.server, runtime.now());
    Result<std::unique_ptr<TlsStream>> connected =
        net::tls_connect(std::move(client_end), options.client, options.target);
    REQUIRE(accepted);
    REQUIRE(connected);
    server = *std::move(accepted);
    client = *std::move(connected);
    scope.spawn(shake(*server, server_shook, deadline()));
    scope.spawn(shake(*client, client_shook, deadline()));
    runtime.run_until_idle();
  }
  ~Link() {
    server->close();
    client->close();
    runtime.run_until_idle();
    CHECK(scope.running() == 0);
  }
  net::TimePoint deadline() const { return runtime.now() + kMinute; }
  bool up() const { return server_shook && *server_shook && client_shook && *client_shook; }

  /// Everything goes there and comes back unchanged, both ways at once.
  void exchange(const std::string& up_way, const std::string& down_way) {
    std::optional<Result<>> up_sent, down_sent;
    std::optional<Result<std::size_t>> up_last, down_last;
    std::string up_heard, down_heard;
    scope.spawn(write_from(*client, up_way, up_sent, deadline()));
    scope.spawn(write_from(*server, down_way, down_sent, deadline()));
    scope.spawn(read_into(*server, up_heard, up_last, up_way.size(), deadline()));
    scope.spawn(read_into(*client, down_heard, down_last, down_way.size(), deadline()));
    runtime.run_until_idle();
    REQUIRE(up_sent);
    REQUIRE(down_sent);
    CHECK(up_sent->has_value());
    CHECK(down_sent->has_value());
    CHECK(up_heard == up_way);
    CHECK(down_heard == down_way);
  }

  VirtualRuntime runtime;
  net::Scope scope{runtime, nullptr};
  Narrow* below_client = nullptr;
  Narrow* below_server = nullptr;
  std::unique_ptr<TlsStream> server, client;
  std::optional<Result<>> server_shook, client_shook;
};

std::string pattern(std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<char>(i * 31 + i / 251);
  return out;
}

/// A TLS server whose peer is whoever writes to `peer`.
struct Door {
  Door() {
    net::MemoryPairOptions pair;
    pair.first_address = *net::Address::parse("192.0.2.1", 1000);
    pair.second_address = *net::Address::parse("192.0.2.2", 25);
    auto ends = net::memory_pair(runtime, pair);
    peer = std::move(ends.first);
    server = *net::tls_accept(std::move(ends.second), usual_server(), runtime.now());
    scope.spawn(shake(*server, shook, runtime.now() + std::chrono::seconds(30)));
    runtime.run_until_idle();
  }
  ~Door() {
    server->close();
    peer->close();
    runtime.run_until_idle();
    CHECK(scope.running() == 0);
  }
  void say(const std::string& octets) {
    std::optional<Result<>> sent;
    scope.spawn(write_from(*peer, octets, sent, runtime.now() + kMinute));
    runtime.run_until_idle();
  }
  /// What came back until now, and whether the stream has ended.
  std::string hear() {
    std::string heard;
    std::optional<Result<std::size_t>> last;
    scope.spawn(read_into(*peer, heard, last, kAll, runtime.now()));
    runtime.run_until_idle();
    return heard;
  }
  VirtualRuntime runtime;
  net::Scope scope{runtime, nullptr};
  std::unique_ptr<Stream> peer;
  std::unique_ptr<TlsStream> server;
  std::optional<Result<>> shook;
};

/// OpenSSL itself at a Door, for what no client of ours does.
struct RawClient {
  explicit RawClient(Door& at) : door(at) {
    context = SSL_CTX_new(TLS_client_method());
    ssl = SSL_new(context);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_connect_state(ssl);
  }
  ~RawClient() {
    SSL_free(ssl);
    SSL_CTX_free(context);
  }
  bool shake_hands() {
    for (int i = 0; i < 10; ++i) {
      const bool done = SSL_do_handshake(ssl) == 1;
      speak();
      if (done) return true;
      const std::string heard = door.hear();
      BIO_write(SSL_get_rbio(ssl), heard.data(), static_cast<int>(heard.size()));
    }
    return false;
  }
  /// What OpenSSL wants to say.
  void speak() {
    char* octets = nullptr;
    const long size = BIO_get_mem_data(SSL_get_wbio(ssl), &octets);
    if (size > 0) door.say(std::string(octets, static_cast<std::size_t>(size)));
    BIO_reset(SSL_get_wbio(ssl));
  }
  Door& door;
  SSL_CTX* context;
  SSL* ssl;
};

}  // namespace

TEST_SUITE("net/tls_stream") {
  TEST_CASE("a handshake, and what both sides know of it") {
    LinkOptions options;
    options.target.server_name = "Relay.Example";
    Link link(options);
    REQUIRE(link.up());
    for (const TlsStream* each : {link.server.get(), link.client.get()}) {
      CHECK(each->info().version == "TLSv1.3");
      CHECK(each->info().cipher == "TLS_AES_256_GCM_SHA384");
      CHECK(each->info().bits == 256);
      CHECK_FALSE(each->info().resumed);
    }
    CHECK(link.server->info().server_name == "relay.example");
    CHECK_FALSE(link.server->info().peer);
    REQUIRE(link.client->info().peer);
    CHECK_FALSE(link.client->info().peer->verified);
    CHECK(link.client->info().peer->trouble.find("self") != std::string::npos);
    CHECK(link.client->info().peer->names == std::vector<std::string>{"relay.example"});
    CHECK(link.client->info().peer->subject == "CN=relay.example");
    CHECK(link.client->info().peer->spki_sha256.size() == 64);
    CHECK(link.server->remote().text() == "192.0.2.1:1000");
    CHECK(link.server->local().text() == "192.0.2.2:25");
    link.exchange("EHLO c.example\r\n", "250 relay.example\r\n");
  }

  TEST_CASE("data of all sizes, both ways at once") {
    Link link;
    REQUIRE(link.up());
    for (std::size_t size : {1, 2, 100, 16383, 16384, 16385, 32768, 70000, 1000000}) {
      CAPTURE(size);
      link.exchange(pattern(size), pattern(size + 1));
    }
    link.exchange("", "");
  }

  TEST_CASE("split by the octet") {
    LinkOptions options;
    options.piece = 1;
    Link link(options);
    REQUIRE(link.up());
    link.exchange(pattern(3000), pattern(17000));
  }

  TEST_CASE("a pipe of 400 octets carries all the same") {
    LinkOptions options;
    options.capacity = 400;
    Link link(options);
    REQUIRE(link.up());
    link.exchange(pattern(40000), pattern(70000));
  }

  TEST_CASE("pieces are one after the other, and small ones share a record") {
    Link link;
    REQUIRE(link.up());
    std::size_t before = link.below_server->octets();
    std::string big = pattern(40000);
    std::vector<std::string_view> pieces = {"a", "", "bc", big, "d"};
    std::string want = "abc" + big + "d";
    std::string heard;
    std::optional<Result<std::size_t>> last;
    link.scope.spawn(read_into(*link.server, heard, last, want.size(), link.deadline()));
    Result<> sent = link.runtime.complete(link.client->write(pieces, link.deadline()));
    link.runtime.run_until_idle();
    CHECK(sent);
    CHECK(heard == want);
    CHECK(link.below_server->octets() - before < want.size() + 3 * 64);
  }

  TEST_CASE("a slow reader holds up the writer, whose memory does not grow; then the deadline closes") {
    LinkOptions options;
    options.capacity = 1000;
    Link link(options);
    REQUIRE(link.up());
    std::optional<Result<>> sent;
    link.scope.spawn(write_from(*link.client, pattern(300000), sent, link.deadline()));
    link.runtime.run_until_idle();
    CHECK_FALSE(sent);
    link.runtime.advance(kMinute);
    REQUIRE(sent);
    REQUIRE_FALSE(*sent);
    CHECK(sent->error().code == Errc::timed_out);
    std::optional<Result<>> again;
    link.scope.spawn(write_from(*link.client, "x", again, link.deadline()));
    link.runtime.run_until_idle();
    CHECK(again->error().code == Errc::cancelled);
  }

  TEST_CASE("a read has its deadline, and the connection goes on after it") {
    Link link;
    REQUIRE(link.up());
    std::optional<Result<std::size_t>> got;
    link.scope.spawn(read_one(*link.server, got, link.deadline()));
    link.runtime.advance(kMinute);
    REQUIRE(got);
    CHECK(got->error().code == Errc::timed_out);
    link.exchange("more", "and back");
  }

  TEST_CASE("close: close_notify goes out, the peer reads what came before it, then the end") {
    Link link;
    REQUIRE(link.up());
    std::optional<Result<>> sent;
    link.scope.spawn(write_from(*link.server, "221 bye\r\n", sent, link.deadline()));
    link.runtime.run_until_idle();
    std::size_t before = link.below_client->octets();
    link.server->close();
    link.server->close();
    std::string heard;
    std::optional<Result<std::size_t>> last;
    link.scope.spawn(read_into(*link.client, heard, last, kAll, link.deadline()));
    link.runtime.run_until_idle();
    CHECK(heard == "221 bye\r\n");
    REQUIRE(last);
    REQUIRE(*last);
    CHECK(**last == 0);
    CHECK(link.below_client->octets() > before + 9 + 22);  // the text's record, and an alert's
  }

  TEST_CASE("close cancels the awaits of this end on a later turn") {
    LinkOptions options;
    options.capacity = 1000;
    Link link(options);
    REQUIRE(link.up());
    std::optional<Result<>> sent;
    std::optional<Result<std::size_t>> got;
    link.scope.spawn(write_from(*link.server, pattern(100000), sent, link.deadline()));
    link.scope.spawn(read_one(*link.server, got, link.deadline()));
    link.runtime.run_until_idle();
    link.server->close();
    CHECK_FALSE(sent);
    CHECK_FALSE(got);
    link.runtime.run_until_idle();
    CHECK(sent->error().code == Errc::cancelled);
    CHECK(got->error().code == Errc::cancelled);
  }

  TEST_CASE("a peer that hangs up without close_notify: the end") {
    Link link;
    REQUIRE(link.up());
    std::optional<Result<std::size_t>> got;
    link.scope.spawn(read_one(*link.server, got, link.deadline()));
    link.below_client->close();
    link.runtime.run_until_idle();
    REQUIRE(got);
    REQUIRE(*got);
    CHECK(**got == 0);
  }

  TEST_CASE("a damaged record: protocol, and nothing is said after it") {
    Link link;
    REQUIRE(link.up());
    std::optional<Result<>> sent;
    std::optional<Result<std::size_t>> got;
    link.scope.spawn(write_from(*link.below_client, std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'), sent,
                                link.deadline()));
    link.scope.spawn(read_one(*link.server, got, link.deadline()));
    link.runtime.run_until_idle();
    REQUIRE(got);
    REQUIRE_FALSE(*got);
    CHECK(got->error().code == Errc::protocol);
    CHECK(got->error().what.find("bad record mac") != std::string::npos);
    std::optional<Result<>> answer;
    link.scope.spawn(write_from(*link.server, "250 ok\r\n", answer, link.deadline()));
    link.runtime.run_until_idle();
    CHECK(answer->error().code == Errc::protocol);
  }

  TEST_CASE("the connection breaks at each octet of a handshake: closed, nobody hangs (RELIABILITY C8)") {
    std::size_t to_server = 0, to_client = 0;
    {
      Link whole;
      REQUIRE(whole.up());
      to_server = whole.below_server->octets();
      to_client = whole.below_client->octets();
    }
    REQUIRE(to_server > 200);
    REQUIRE(to_client > 500);
    LinkOptions options;
    for (std::size_t i = 0; i + 1 < to_server; ++i) {
      options.to_server = i;
      Link link(options);
      REQUIRE(link.server_shook);
      REQUIRE_FALSE(*link.server_shook);
      REQUIRE(link.server_shook->error().code == Errc::closed);
    }
    options.to_server = kAll;
    for (std::size_t i = 0; i < to_client - 300; ++i) {  // behind it there is a ticket, of no need for a handshake
      options.to_client = i;
      Link link(options);
      REQUIRE(link.client_shook);
      REQUIRE_FALSE(*link.client_shook);
      REQUIRE(link.client_shook->error().code == Errc::closed);
      REQUIRE(link.server_shook);
      REQUIRE_FALSE(*link.server_shook);
    }
  }

  TEST_CASE("a peer that says nothing, or half a ClientHello, is cut off at the deadline") {
    for (const char* said : {"", "\x16", "\x16\x03\x01\x02"}) {
      Door door;
      door.say(said);
      door.runtime.advance(std::chrono::seconds(29));
      CHECK_FALSE(door.shook);
      door.runtime.advance(std::chrono::seconds(1));
      REQUIRE(door.shook);
      REQUIRE_FALSE(*door.shook);
      CHECK(door.shook->error().code == Errc::timed_out);
    }
  }

  TEST_CASE("an octet now and then does not move the deadline") {
    Door door;
    std::string hello("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
    for (char octet : hello + std::string(40, 'x')) {
      door.say(std::string(1, octet));
      door.runtime.advance(std::chrono::seconds(1));
    }
    REQUIRE(door.shook);
    REQUIRE_FALSE(*door.shook);
    CHECK(door.shook->error().code == Errc::timed_out);
  }

  TEST_CASE("garbage for a ClientHello: protocol with a reason, an alert, nothing in clear") {
    for (const char* said : {"EHLO c.example\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff garbage",
                             "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}) {
      CAPTURE(said);
      Door door;
      door.say(said);
      REQUIRE(door.shook);
      REQUIRE_FALSE(*door.shook);
      CHECK(door.shook->error().code == Errc::protocol);
      CHECK(door.shook->error().what.starts_with("TLS handshake with 192.0.2.1:1000: "));
      door.server->close();
      std::string heard = door.hear();
      CHECK((heard.empty() || heard[0] == '\x15'));
    }
  }

  TEST_CASE("a peer that renews its keys without end, and says nothing, is cut off") {
    Door door;
    RawClient client(door);
    REQUIRE(client.shake_hands());
    REQUIRE((door.shook && *door.shook));
    std::optional<Result<std::size_t>> got;
    door.scope.spawn(read_one(*door.server, got, door.runtime.now() + kMinute));
    int renewals = 0;
    for (; renewals < 10'000 && !got; ++renewals) {
      REQUIRE(SSL_key_update(client.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
      SSL_do_handshake(client.ssl);
      client.speak();
    }
    REQUIRE(got);
    REQUIRE_FALSE(*got);
    CHECK(got->error().code == Errc::protocol);
    CHECK(got->error().what.find("renews keys") != std::string::npos);
    CHECK(renewals > 100);
  }

  TEST_CASE("a client of TLS 1.0 is refused, and the log can say what it offered") {
    Door door;
    std::string random(32, 'r');
    std::string body = std::string("\x03\x01", 2) + random + std::string("\0\0\x04\xc0\x13\x00\x2f\x01\0", 9);
    std::string hello = std::string("\x01\0\0", 3) + static_cast<char>(body.size()) + body;
    door.say(std::string("\x16\x03\x01\0", 4) + static_cast<char>(hello.size()) + hello);
    REQUIRE(door.shook);
    REQUIRE_FALSE(*door.shook);
    INFO(door.shook->error().what);
    CHECK(door.shook->error().what.find("unsupported protocol (the client offers TLSv1; ECDHE-RSA-AES128-SHA "
                                        "AES128-SHA)") != std::string::npos);
    CHECK(door.hear() == std::string("\x15\x03\x01\0\x02\x02\x46", 7));  // protocol_version
  }

  TEST_CASE("no cipher in common: the log can say what was offered") {
    Door door;
    std::string random(32, 'r');
    std::string body = std::string("\x03\x03", 2) + random + std::string("\0\0\x02\x00\x2f\x01\0", 7);
    std::string hello = std::string("\x01\0\0", 3) + static_cast<char>(body.size()) + body;
    door.say(std::string("\x16\x03\x01\0", 4) + static_cast<char>(hello.size()) + hello);
    REQUIRE(door.shook);
    REQUIRE_FALSE(*door.shook);
    INFO(door.shook->error().what);
    CHECK(door.shook->error().what.find("no shared cipher (the client offers TLSv1.2; AES128-SHA)") !=
          std::string::npos);
  }

  TEST_CASE("close in the midst of a handshake: cancelled on a later turn") {
    Door door;
    door.server->close();
    CHECK_FALSE(door.shook);
    door.runtime.run_until_idle();
    REQUIRE(door.shook);
    CHECK(door.shook->error().code == Errc::cancelled);
    CHECK(door.hear().empty());
  }

  TEST_CASE("the certificate is chosen by the name that the client asks for") {
    auto server = make_tls_server({make_identity(CertificateOptions({"first.example"})),
                                   make_identity(CertificateOptions({"second.example", "also.example"})),
                                   make_identity(CertificateOptions({"*.wild.example"}))});
    const std::pair<const char*, const char*> table[] = {
        {"", "first.example"},
        {"first.example", "first.example"},
        {"second.example", "second.example"},
        {"ALSO.example", "second.example"},
        {"a.wild.example", "*.wild.example"},
        {"wild.example", "first.example"},
        {"a.b.wild.example", "first.example"},
        {"nobody.example", "first.example"},
    };
    for (const auto& [asked, want] : table) {
      CAPTURE(asked);
      LinkOptions options;
      options.server = server;
      options.target.server_name = asked;
      Link link(options);
      REQUIRE(link.up());
      CHECK(link.client->info().peer->names.front() == want);
    }
  }

  TEST_CASE("of two certificates for a name the client's taste decides; another name's is never mixed in") {
    CertificateOptions rsa({"relay.example"});
    rsa.rsa = true;
    auto server =
        make_tls_server({make_identity(CertificateOptions({"relay.example", "ec.example"})), make_identity(rsa)});
    for (const char* name : {"relay.example", "ec.example"}) {
      LinkOptions options;
      options.server = server;
      options.target.server_name = name;
      Link link(options);
      REQUIRE(link.up());
      CHECK(link.client->info().peer->names.size() == 2);  // the EC one: OpenSSL's clients prefer it
    }
  }

  TEST_CASE("a ticket resumes at the service that gave it, for its name; elsewhere the handshake is a whole one (C5)") {
    std::vector<std::shared_ptr<const net::TlsIdentity>> identities = {
        make_identity(CertificateOptions({"a.example"})), make_identity(CertificateOptions({"b.example"}))};
    LinkOptions options;
    options.server = make_tls_server(identities, "mx");
    options.target.server_name = "a.example";
    {
      Link first(options);
      REQUIRE(first.up());
      first.exchange("x", "y");
      options.target.session = first.client->session();
    }
    REQUIRE_FALSE(options.target.session.empty());
    {
      Link again(options);
      REQUIRE(again.up());
      CHECK(again.server->info().resumed);
      CHECK(again.client->info().resumed);
      again.exchange("x", "y");
    }
    {
      LinkOptions other = options;
      other.target.server_name = "b.example";
      Link link(other);
      REQUIRE(link.up());
      CHECK_FALSE(link.server->info().resumed);
      CHECK(link.client->info().peer->names.front() == "b.example");
    }
    {
      LinkOptions other = options;
      other.server = make_tls_server(identities, "submission");
      Link link(other);
      REQUIRE(link.up());
      CHECK_FALSE(link.server->info().resumed);
    }
  }

  TEST_CASE("ticket keys are new after half a day") {
    auto server = make_tls_server();
    LinkOptions options;
    options.server = server;
    {
      Link first(options);
      first.exchange("x", "y");
      options.target.session = first.client->session();
    }
    // The age of the keys is asked for when a connection is made.
    VirtualRuntime later;
    net::MemoryPairOptions pair;
    auto ends = net::memory_pair(later, pair);
    CHECK(net::tls_accept(std::move(ends.second), server, later.now() + std::chrono::hours(13)));
    Link link(options);
    REQUIRE(link.up());
    CHECK_FALSE(link.server->info().resumed);
  }

  TEST_CASE("a client demands a certificate of a root it knows, for a name") {
    CertificateOptions root;
    root.common_name = "test root";
    root.authority = true;
    root.names = {};
    tests::TestCertificate authority = make_certificate(root);
    CertificateOptions leaf({"mx.b.example"});
    leaf.issuer = &authority;
    CertificateOptions expired = leaf;
    expired.from = -std::chrono::hours(48);
    expired.until = -std::chrono::hours(24);
    LinkOptions options;
    options.client = make_client(authority.certificate);
    options.server = make_tls_server({make_identity(leaf)});
    options.target.demand = true;
    SUBCASE("it is there") {
      options.target.names = {"other.example", "mx.b.example"};
      Link link(options);
      REQUIRE(link.up());
      CHECK(link.client->info().peer->verified);
      CHECK(link.client->info().peer->trouble.empty());
    }
    SUBCASE("another name") {
      options.target.names = {"other.example"};
      Link link(options);
      REQUIRE_FALSE(*link.client_shook);
      CHECK(link.client_shook->error().code == Errc::protocol);
      CHECK(link.client_shook->error().what.find("certificate verify failed: hostname mismatch") != std::string::npos);
      REQUIRE_FALSE(*link.server_shook);
      CHECK(link.server_shook->error().what.find("alert") != std::string::npos);
    }
    SUBCASE("expired") {
      options.server = make_tls_server({make_identity(expired)});
      Link link(options);
      REQUIRE_FALSE(*link.client_shook);
      CHECK(link.client_shook->error().what.find("certificate has expired") != std::string::npos);
    }
    SUBCASE("of nobody") {
      options.server = usual_server();
      Link link(options);
      CHECK_FALSE(*link.client_shook);
    }
    SUBCASE("not demanded: told, and taken") {
      options.target.demand = false;
      options.target.names = {"other.example"};
      Link link(options);
      REQUIRE(link.up());
      CHECK_FALSE(link.client->info().peer->verified);
      CHECK(link.client->info().peer->trouble == "hostname mismatch");
    }
  }

  TEST_CASE("a client's certificate is asked for, not demanded") {
    CertificateOptions root;
    root.common_name = "test root";
    root.authority = true;
    tests::TestCertificate authority = make_certificate(root);
    tests::TemporaryFolder folder;
    net::TlsServerOptions server_options;
    server_options.ask_for_certificate = true;
    server_options.ca = folder.path() + "/ca.pem";
    tests::write_file(server_options.ca, authority.certificate);
    LinkOptions options;
    options.server = *net::TlsServer::make({make_identity()}, server_options);
    SUBCASE("none") {
      Link link(options);
      REQUIRE(link.up());
      CHECK_FALSE(link.server->info().peer);
    }
    SUBCASE("one of a known root") {
      CertificateOptions leaf({"client.example"});
      leaf.common_name = "a client";
      leaf.issuer = &authority;
      options.client = make_client("", make_identity(leaf));
      Link link(options);
      REQUIRE(link.up());
      REQUIRE(link.server->info().peer);
      CHECK(link.server->info().peer->verified);
      CHECK(link.server->info().peer->subject == "CN=a client");
      CHECK(link.server->info().peer->names == std::vector<std::string>{"client.example"});
      CHECK(link.server->info().peer->spki_sha256.size() == 64);
      link.exchange("x", "y");
    }
    SUBCASE("one that nobody knows") {
      options.client = make_client("", make_identity(CertificateOptions({"stranger.example"})));
      Link link(options);
      REQUIRE(link.up());
      REQUIRE(link.server->info().peer);
      CHECK_FALSE(link.server->info().peer->verified);
    }
  }

  TEST_CASE("channel bindings are the same at both ends, and of this connection [RFC 5929, RFC 9266]") {
    Link one, other;
    REQUIRE(one.up());
    REQUIRE(other.up());
    std::string end_point = one.server->channel_binding(ChannelBinding::tls_server_end_point);
    CHECK(end_point.size() == 32);
    CHECK(end_point == one.client->channel_binding(ChannelBinding::tls_server_end_point));
    CHECK(end_point == other.client->channel_binding(ChannelBinding::tls_server_end_point));
    std::string exported = one.server->channel_binding(ChannelBinding::tls_exporter);
    CHECK(exported.size() == 32);
    CHECK(exported == one.client->channel_binding(ChannelBinding::tls_exporter));
    CHECK(exported != other.server->channel_binding(ChannelBinding::tls_exporter));
  }
}
