// tests/delivery/scripted_host.h: a host that follows a script of C: and S: lines, for one session of the client.
#pragma once
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "delivery/attempt.h"
#include "delivery/connection.h"
#include "net/scope.h"
#include "net/tls_stream.h"
#include "tests/delivery/stored_message.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::tests {

/// Lines of a script:
///   C: text     the client says this line next; another one is a mistake
///   S: text     said in one write with the S: lines around it
///   END         the client closes next
///   CLOSE       the session is closed here; what the client still says is not read
///   WAIT 90     so many seconds pass
///   BODY        what the client says up to CRLF.CRLF is kept in `body`
///   CHUNK 70    so many octets are kept in `body`
///   OCTETS 70   so many octets are read and thrown away
///   TLS         the client begins a handshake, which options.tls answers
///   RAW text    as S:, without CRLF; `\n` and `\r` stand for these
struct HostOptions {
  std::size_t split = std::numeric_limits<std::size_t>::max();  ///< octets a write, a turn of the loop between writes
  bool lock_step = false;                                       ///< nothing may be pipelined: every reply is waited for
  std::size_t close_after_read = std::numeric_limits<std::size_t>::max();
  std::size_t close_after_written = std::numeric_limits<std::size_t>::max();
  std::shared_ptr<const net::TlsServer> tls{};
};

class ScriptedHost {
 public:
  ScriptedHost(net::Runtime& runtime, std::string script, HostOptions options)
      : runtime_(runtime), script_(std::move(script)), options_(options) {}

  std::string mistake;      ///< "": all went by the script
  std::string heard;        ///< all that the client said
  std::string body;         ///< as on the wire, with the final dot
  std::string server_name;  ///< that the client asked for in its handshake
  std::size_t written = 0;

  net::Task<> serve(std::unique_ptr<net::Stream> stream) {
    stream_ = std::move(stream);
    co_await follow();
    stream_->close();
  }

 private:
  net::Task<> follow() {
    std::string_view rest = script_;
    std::string saying;
    while (!rest.empty() && !over_) {
      std::pair<std::string_view, std::string_view> parts = split_once(rest, '\n');
      std::string_view line = trim_front(parts.first);
      rest = parts.second;
      if (line.starts_with("S: ")) {
        saying.append(line.substr(3)).append("\r\n");
        continue;
      }
      if (line.starts_with("RAW ")) {
        saying += unescaped(line.substr(4));
        continue;
      }
      std::string said = std::exchange(saying, std::string());
      co_await say(said);
      if (over_ || line.empty()) continue;
      co_await obey(std::string(line));
    }
    co_await say(saying);
  }

  net::Task<> obey(std::string line) {
    if (line.starts_with("C: ")) {
      co_await expect(line.substr(3));
    } else if (line == "BODY") {
      co_await read_body();
    } else if (line.starts_with("CHUNK ")) {
      std::size_t count = std::stoul(line.substr(6));
      bool there = co_await have(count);
      body = unread_.substr(0, count);
      unread_.erase(0, there ? count : unread_.size());
      if (!there) wrong("client gone in the chunk");
    } else if (line == "END") {
      co_await expect_end();
    } else if (line == "CLOSE") {
      over_ = true;
    } else if (line == "TLS") {
      co_await shake_hands();
    } else if (line.starts_with("WAIT ")) {
      bool waited = co_await runtime_.sleep_for(std::chrono::seconds(std::stoi(line.substr(5))), std::stop_token());
      if (!waited) over_ = true;
    } else if (line.starts_with("OCTETS ")) {
      std::size_t count = std::stoul(line.substr(7));
      bool there = co_await have(count);
      if (there) unread_.erase(0, count);
    } else {
      throw std::runtime_error("no such line in a script: " + line);
    }
  }

  net::Task<> shake_hands() {
    if (!unread_.empty()) wrong("want a handshake, got " + unread_);
    Result<std::unique_ptr<net::TlsStream>> tls = net::tls_accept(std::move(stream_), options_.tls, runtime_.now());
    if (!tls) throw std::runtime_error(tls.error().what);
    net::TlsStream* secured = tls->get();
    stream_ = *std::move(tls);
    Result<> shaken = co_await secured->handshake(net::TimePoint::max());
    if (!shaken) over_ = true;
    if (shaken) server_name = secured->info().server_name;
  }

  static std::string unescaped(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\\' && i + 1 < text.size()) {
        ++i;
        out += text[i] == 'n' ? '\n' : text[i] == 'r' ? '\r' : text[i];
      } else {
        out += text[i];
      }
    }
    return out;
  }

  void wrong(std::string what) {
    if (mistake.empty()) mistake = std::move(what);
    over_ = true;
  }

  net::Task<bool> read_more() {
    char buffer[4096];
    std::size_t most = std::min(sizeof buffer, options_.close_after_read - heard.size());
    if (most == 0) {
      over_ = true;
      co_return false;
    }
    std::span<char> into(buffer, most);
    Result<std::size_t> got = co_await stream_->read(into, net::TimePoint::max());
    if (!got || *got == 0) {
      over_ = true;
      co_return false;
    }
    heard.append(buffer, *got);
    unread_.append(buffer, *got);
    co_return true;
  }

  net::Task<bool> have(std::size_t octets) {
    while (unread_.size() < octets) {
      bool more = co_await read_more();
      if (!more) co_return false;
    }
    co_return true;
  }

  /// Up to and with `end`; "" when the client is gone.
  net::Task<std::string> take_until(std::string end) {
    while (unread_.find(end) == std::string::npos) {
      bool more = co_await read_more();
      if (!more) co_return std::string();
    }
    std::size_t size = unread_.find(end) + end.size();
    std::string taken = unread_.substr(0, size);
    unread_.erase(0, size);
    co_return taken;
  }

  net::Task<> expect(std::string want) {
    std::string line = co_await take_until("\r\n");
    if (line.empty()) {
      wrong("client gone before: " + want);
    } else if (line != want + "\r\n") {
      wrong("want " + want + ", got " + line);
    } else if (options_.lock_step && !unread_.empty()) {
      wrong("pipelined after " + line);
    }
  }

  net::Task<> expect_end() {
    bool more = unread_.empty();
    if (more) more = co_await read_more();
    if (!unread_.empty()) wrong("want the end, got " + unread_);
  }

  net::Task<> read_body() {
    // The dot may be the first line.
    unread_.insert(0, "\r\n");
    body = co_await take_until("\r\n.\r\n");
    if (body.empty()) {
      wrong("client gone in the body");
    } else {
      body.erase(0, 2);
    }
  }

  net::Task<> say(std::string text) {
    text.resize(std::min(text.size(), options_.close_after_written - written));
    while (!text.empty()) {
      std::size_t size = std::min(text.size(), options_.split);
      std::string_view piece = std::string_view(text).substr(0, size);
      Result<> sent = co_await stream_->write(piece, net::TimePoint::max());
      if (!sent) {
        over_ = true;
        co_return;
      }
      written += size;
      text.erase(0, size);
      std::function<void()> nothing = [] {};
      co_await runtime_.offload(nothing);
    }
    if (written == options_.close_after_written) over_ = true;
  }

  net::Runtime& runtime_;
  const std::string script_;
  const HostOptions options_;
  std::unique_ptr<net::Stream> stream_;
  std::string unread_;
  bool over_ = false;
};

/// One session with a scripted host, in virtual time.
struct ClientSession {
  VirtualRuntime runtime;
  delivery::ClientSettings settings;
  delivery::TlsPolicy policy;
  StoredMessage message;
  std::stop_source stop;
  std::optional<net::Duration> stop_after;
  int attempts = 1;  ///< transactions in a row, the same message each time

  // What came of it.
  delivery::HostFailure failure;  ///< where the session was not opened
  std::vector<delivery::AttemptResult> results;
  bool opened = false;
  bool usable = false;  ///< after the last transaction
  smtp::Extensions extensions;
  std::string mistake, heard, body, server_name;
  delivery::TlsEvidence tls;
  std::size_t written = 0;
  net::Duration took{};
  net::Address client_address;

  ClientSession() {
    settings.hostname = "relay.example";
    settings.connect_timeout = std::chrono::seconds(30);
    settings.command_timeout = std::chrono::minutes(5);
    settings.data_timeout = std::chrono::minutes(10);
  }

  delivery::Peer peer = [] {
    delivery::Peer host;
    host.name = "mx.b.example";
    host.address = *net::Address::parse("192.0.2.7", 25);
    return host;
  }();

  const delivery::AttemptResult& result() const { return results.at(0); }
  const delivery::Outcome& outcome(std::size_t i = 0) const { return results.at(0).outcomes.at(i); }

  void run(const std::string& script, HostOptions options = {}) {
    ScriptedHost host(runtime, script, options);
    Result<std::shared_ptr<net::ListenSocket>> socket = runtime.listen(peer.address);
    Result<std::unique_ptr<net::Listener>> listener = runtime.accept_on(*socket);
    net::Scope scope(runtime, [this](std::string_view what) { mistake = what; });
    scope.spawn(accept_one(*this, host, **listener));
    if (stop_after) scope.spawn(stop_later(*this));
    net::TimePoint began = runtime.now();
    runtime.complete(client(*this));
    took = runtime.now() - began;
    (*listener)->close();
    runtime.run_until([&scope] { return scope.running() == 0; });
    if (mistake.empty()) mistake = host.mistake;
    heard = host.heard;
    body = host.body;
    server_name = host.server_name;
    written = host.written;
  }

 private:
  static net::Task<> accept_one(ClientSession& self, ScriptedHost& host, net::Listener& listener) {
    Result<std::unique_ptr<net::Stream>> stream = co_await listener.accept();
    if (!stream) co_return;
    self.client_address = (*stream)->remote();
    co_await host.serve(std::move(*stream));
  }

  static net::Task<> stop_later(ClientSession& self) {
    bool waited = co_await self.runtime.sleep_for(*self.stop_after, std::stop_token());
    if (waited) self.stop.request_stop();
  }

  static net::Task<> client(ClientSession& self) {
    delivery::Connection::Opened session =
        co_await delivery::Connection::open(self.runtime, self.peer, self.settings, self.policy, self.stop.get_token());
    self.failure = session.failure;
    self.opened = session.connection != nullptr;
    if (!self.opened) co_return;
    self.extensions = session.connection->extensions();
    self.tls = session.connection->tls();
    for (int i = 0; i < self.attempts; ++i) {
      queue::OpenBody open_body = self.message.opener(self.runtime);
      delivery::AttemptResult result = co_await delivery::attempt(
          *session.connection, self.message.info, self.message.recipients, *self.message.content, std::move(open_body));
      self.results.push_back(std::move(result));
    }
    self.usable = session.connection->usable();
    co_await session.connection->quit();
  }
};

}  // namespace waypost::tests
