// tests/fuzz/client.cpp: a host that says anything, while the relay may stop at any moment. Every recipient gets one
// sane outcome, and none is relayed but by a 2xx after the end of the message; where TLS is wanted nothing of a message
// is said in clear, and no password ever is.
//
// The first octet says what the message is like. Where it is followed by ENQ and an octet, that says more: bit 0 TLS is
// taken where it is offered, bit 1 it is wanted, bit 2 a user is to be logged in, bit 3 likewise, by SCRAM alone.
// Covers: delivery/attempt.cpp delivery/connection.cpp delivery/disposition.cpp delivery/wire_body.cpp
// delivery/sasl_client.cpp
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "base/base64.h"
#include "conf/config.h"
#include "delivery/attempt.h"
#include "delivery/connection.h"
#include "delivery/identity.h"
#include "net/memory_stream.h"
#include "net/scope.h"
#include "net/tls.h"
#include "queue/body.h"
#include "tests/delivery/stored_message.h"
#include "tests/fuzz/input.h"
#include "tests/support/virtual_runtime.h"

using namespace waypost;

namespace {

/// What passed on the client's side of the connection.
struct Tape {
  std::string sent;
  std::string read_after_end;  ///< by the client, once the final dot, or the last octet, was handed over
  bool end_sent() const {
    std::size_t data = sent.find("\r\nDATA\r\n");
    if (data != std::string::npos) return sent.find("\r\n.\r\n", data + 6) != std::string::npos;
    std::size_t chunk = sent.find("\r\nBDAT ");
    if (chunk == std::string::npos) return false;
    std::size_t begins = sent.find(" LAST\r\n", chunk) + 7;
    return sent.size() - begins >= std::stoul(sent.substr(chunk + 7));
  }
};

class TapedStream : public net::Stream {
 public:
  TapedStream(std::unique_ptr<net::Stream> stream, Tape& tape) : stream_(std::move(stream)), tape_(tape) {}

  net::Task<Result<std::size_t>> read(std::span<char> into, net::TimePoint deadline) override {
    // On its own line: after `override {` the check of coroutine shapes sees a braced value.
    Result<std::size_t> got = 0;
    got = co_await stream_->read(into, deadline);
    if (got && tape_.end_sent()) tape_.read_after_end.append(into.data(), *got);
    co_return got;
  }
  net::Task<Result<>> write(std::span<const std::string_view> pieces, net::TimePoint deadline) override {
    for (std::string_view piece : pieces) tape_.sent += piece;
    co_return co_await stream_->write(pieces, deadline);
  }
  void close() override { stream_->close(); }
  const net::Address& local() const override { return stream_->local(); }
  const net::Address& remote() const override { return stream_->remote(); }

 private:
  std::unique_ptr<net::Stream> stream_;
  Tape& tape_;
};

/// Every connect() reaches the one host.
class OneHostRuntime : public tests::VirtualRuntime {
 public:
  explicit OneHostRuntime(Tape& tape) : tape_(tape) {
    net::MemoryPairOptions options;
    options.capacity = 2048;
    std::pair<std::unique_ptr<net::Stream>, std::unique_ptr<net::Stream>> ends = net::memory_pair(*this, options);
    client_ = std::make_unique<TapedStream>(std::move(ends.first), tape_);
    host = std::move(ends.second);
  }
  net::Task<Result<std::unique_ptr<net::Stream>>> connect(net::Address, std::optional<net::Address>, net::TimePoint,
                                                          std::stop_token) override {
    // Once: after a failure of TLS it may be tried in clear.
    if (!client_) co_return fail(Errc::refused, "nobody is there any more");
    co_return std::move(client_);
  }
  std::unique_ptr<net::Stream> host;

 private:
  Tape& tape_;
  std::unique_ptr<net::Stream> client_;
};

/// Reads what the client says, until it is quiet for a moment or closes.
net::Task<bool> listen(net::Runtime& runtime, net::Stream& stream, net::Duration patience) {
  char buffer[1024];
  while (true) {
    std::span<char> into(buffer);
    Result<std::size_t> got = co_await stream.read(into, runtime.now() + patience);
    if (!got) co_return got.error().code == Errc::timed_out;
    if (*got == 0) co_return false;
  }
}

struct Session {
  tests::StoredMessage message;
  std::stop_source stop;
  delivery::Connection::Opened opened;
  std::optional<delivery::AttemptResult> result;  ///< of the last attempt
};

/// The input, octet by octet: \x01 lets the client speak first, \x02 closes, \x03 lets a minute pass, \x04 stops the
/// relay; nothing that a host says has need of these.
net::Task<> serve(OneHostRuntime& runtime, Session& session, std::string_view input) {
  std::unique_ptr<net::Stream> stream = std::move(runtime.host);
  while (!input.empty()) {
    std::size_t size = std::min(input.find_first_of("\x01\x02\x03\x04"), input.size());
    if (size > 0) {
      std::string said(input.substr(0, size));
      std::string_view piece = said;
      Result<> sent = co_await stream->write(piece, runtime.now() + std::chrono::minutes(1));
      if (!sent) break;
      input.remove_prefix(size);
      continue;
    }
    char what = input.front();
    input.remove_prefix(1);
    if (what == '\x02') co_return;
    if (what == '\x04') {
      session.stop.request_stop();
      if (session.opened.connection) session.opened.connection->close();
      continue;
    }
    net::Duration patience = what == '\x01' ? net::Duration(std::chrono::seconds(1)) : std::chrono::minutes(1);
    bool there = co_await listen(runtime, *stream, patience);
    if (!there) break;
  }
  bool there = true;
  while (there) there = co_await listen(runtime, *stream, std::chrono::hours(1));
}

/// A whole 2xx reply is among these lines.
bool has_2xx(std::string_view text) {
  for (std::size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n')) {
    if (text.starts_with('2')) return true;
    text.remove_prefix(at + 1);
  }
  return false;
}

constexpr std::uint8_t kMayTls = 1, kMustTls = 2, kLogin = 4, kScram = 8;
constexpr const char* kPassword = "correct horse battery";

std::shared_ptr<const delivery::Identity> identity(bool by_scram) {
  conf::HostLogin login;
  login.user = "ann";
  login.password = kPassword;
  if (by_scram) login.mechanisms = {"SCRAM-SHA-256"};
  delivery::Identity out;
  out.name = "a route";
  out.login = login;
  return std::make_shared<const delivery::Identity>(std::move(out));
}

void check_clear(const Tape& tape) {
  fuzz::check(tape.sent.find(kPassword) == std::string::npos, "no password is said in clear");
  const std::string encoded = base64_encode(std::string("\0ann\0", 5) + kPassword);
  fuzz::check(tape.sent.find(encoded) == std::string::npos, "in base64 neither");
  fuzz::check(tape.sent.find(base64_encode(kPassword)) == std::string::npos, "nor alone");
}

net::Task<> converse(net::Runtime& runtime, Session& session, Tape& tape, bool twice, std::uint8_t more) {
  delivery::Peer peer;
  const bool logs_in = (more & (kLogin | kScram)) != 0;
  if (logs_in) peer.as = identity((more & kScram) != 0);
  peer.name = "mx.b.example";
  delivery::ClientSettings settings;
  settings.hostname = "relay.example";
  settings.connect_timeout = std::chrono::seconds(30);
  settings.command_timeout = std::chrono::minutes(5);
  settings.data_timeout = std::chrono::minutes(10);
  std::stop_token stop = session.stop.get_token();
  delivery::TlsPolicy policy;
  if ((more & kMayTls) != 0) policy.level = conf::TlsLevel::opportunistic;
  if ((more & kMustTls) != 0) policy.level = conf::TlsLevel::encrypt;
  static const std::shared_ptr<const net::TlsClient> tls = *net::TlsClient::make({});
  if ((more & (kMayTls | kMustTls)) != 0) settings.tls = tls;
  session.opened = co_await delivery::Connection::open(runtime, peer, settings, policy, stop);
  check_clear(tape);
  if (!session.opened.connection) co_return;
  fuzz::check((more & kMustTls) == 0, "who cannot speak TLS gets nothing where it is wanted");
  delivery::Connection& connection = *session.opened.connection;
  tests::StoredMessage& message = session.message;
  for (int messages = twice ? 2 : 1; messages > 0; --messages) {
    tape = {};
    queue::OpenBody open_body = message.opener(runtime);
    session.result = co_await delivery::attempt(connection, message.info, message.recipients, *message.content,
                                                std::move(open_body));
    if (!connection.usable()) break;
  }
  co_await connection.quit();
}

void check_text(const std::string& text) {
  fuzz::check(fuzz::is_one_line(text), "a reply is one line");
  fuzz::check(text.size() <= 512, "of at most 512 octets");
}

void check_outcome(const delivery::Outcome& outcome, const delivery::AttemptResult& result, const Tape& tape) {
  char klass = outcome.event == queue::Event::attempt_relayed  ? '2'
               : outcome.event == queue::Event::attempt_failed ? '5'
                                                               : '4';
  fuzz::check(outcome.event != queue::Event::attempt_delivered, "SMTP relays");
  fuzz::check(outcome.status.starts_with(klass), "the class of the status is that of the event");
  fuzz::check(!outcome.host.empty() && !outcome.reply.empty(), "host and reply are told");
  check_text(outcome.reply);
  if (klass != '2') return;
  fuzz::check(tape.end_sent(), "relayed: the whole was sent");
  fuzz::check(has_2xx(tape.read_after_end), "relayed: a 2xx came after it");
  fuzz::check(!result.host && !result.in_doubt, "relayed: nothing is in doubt");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  std::uint8_t shape = fuzz::take_octet(input);
  std::uint8_t more = 0;
  if (input.starts_with('\x05')) {
    input.remove_prefix(1);
    more = fuzz::take_octet(input);
  }
  Tape tape;
  OneHostRuntime runtime(tape);
  Session session;
  for (int i = 0; i < (shape & 3); ++i) session.message.add_recipient("r@c" + std::to_string(i) + ".example");
  std::string body = "Subject: x\r\n\r\n" + std::string((shape & 4) != 0 ? 200'000 : 10, 'x') + "\r\n";
  if ((shape & 128) != 0) body.replace(0, 10, "Subject: gr\xc3\xbc\xc3\x9f\r\n\r\n\xe2\x82\xac");
  (shape & 8) != 0 ? session.message.set_body_in_file(body) : session.message.set_body(body);
  if ((shape & 16) != 0) session.message.damage();
  if ((shape & 32) != 0) session.message.info.smtputf8 = true;
  if ((shape & 160) != 0) session.message.info.eight_bit = true;
  if ((shape & 160) == 160) session.message.info.body = smtp::BodyType::binary_mime;

  net::Scope scope(runtime, [](std::string_view) { fuzz::check(false, "nothing throws"); });
  scope.spawn(serve(runtime, session, input));
  scope.spawn(converse(runtime, session, tape, (shape & 64) != 0, more));
  bool ended = runtime.run_until([&scope] { return scope.running() == 0; });
  fuzz::check(ended, "a session comes to an end");

  if (!session.opened.connection) {
    check_text(session.opened.failure.reason);
    return 0;
  }
  fuzz::check(session.result.has_value(), "an attempt has a result");
  fuzz::check(session.result->outcomes.size() == session.message.recipients.size(), "of every recipient");
  if (session.result->in_doubt) fuzz::check(tape.end_sent(), "in doubt: the whole was sent");
  if ((shape & 16) != 0) fuzz::check(!session.result->in_doubt, "a damaged body has no end");
  for (const delivery::Outcome& outcome : session.result->outcomes) check_outcome(outcome, *session.result, tape);
  return 0;
}
