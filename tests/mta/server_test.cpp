#include "mta/server.h"

#include <array>
#include <string>

#include <doctest/doctest.h>

#include "tests/support/fake_store.h"
#include "tests/support/harness.h"
#include "tests/support/test_certificate.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::mta {
namespace {

using tests::FakeStore;
using tests::VirtualRuntime;

/// A client that connected: what it hears, until it hangs up.
struct Caller {
  std::unique_ptr<net::Stream> stream;
  std::string heard;
  bool closed = false;
};

struct Site {
  explicit Site(net::Runtime& on, conf::Config from = tests::harness_config(),
                conf::ListenerTls tls = conf::ListenerTls::none)
      : runtime_of_server(on), config(std::make_shared<const conf::Config>(std::move(from))), server(context) {
    address = *net::Address::parse("203.0.113.25", 25);
    Result<std::shared_ptr<net::ListenSocket>> socket = runtime_of_server.listen(address);
    REQUIRE(socket);
    Port port;
    port.socket = *socket;
    port.listener.tls = tls;
    Result<> started = server.start({port});
    REQUIRE(started);
  }

  net::Runtime& runtime_of_server;
  std::shared_ptr<const conf::Config> config;
  net::Address address;
  FakeStore store{runtime_of_server};
  Limits limits;
  std::atomic<bool> accepting{true};
  ServerContext context{runtime_of_server, store, limits, [this] { return config; }, accepting};
  Server server;
};

net::Task<> call(net::Runtime& runtime, net::Address to, net::Address from, Caller& caller) {
  std::stop_token never;
  Result<std::unique_ptr<net::Stream>> stream =
      co_await runtime.connect(to, from, runtime.now() + std::chrono::seconds(10), never);
  if (!stream) {
    caller.closed = true;
    co_return;
  }
  caller.stream = *std::move(stream);
  std::array<char, 1024> piece{};
  while (true) {
    Result<std::size_t> got = co_await caller.stream->read(piece, net::TimePoint::max());
    if (!got || *got == 0) break;
    caller.heard.append(piece.data(), *got);
  }
  caller.closed = true;
}

/// Callers, and the scope that they run in.
struct Callers {
  Callers(VirtualRuntime& on, net::Address server) : runtime(on), to(server), scope(on, [](std::string_view) {}) {}
  ~Callers() {
    for (auto& caller : all)
      if (caller->stream) caller->stream->close();
    runtime.run_until_idle();
  }
  Caller& call(const char* from) {
    all.push_back(std::make_unique<Caller>());
    scope.spawn(mta::call(runtime, to, *net::Address::parse(from, 0), *all.back()));
    runtime.run_until_idle();
    return *all.back();
  }
  VirtualRuntime& runtime;
  net::Address to;
  net::Scope scope;
  std::vector<std::unique_ptr<Caller>> all;
};

net::Task<> note_end(Server& server, bool& ended) {
  co_await server.drained();
  ended = true;
}

TEST_SUITE("mta/server") {
  TEST_CASE("a connection is greeted, and its place is given back") {
    VirtualRuntime runtime;
    Site site(runtime);
    {
      Callers callers(runtime, site.address);
      CHECK(callers.call("198.51.100.7").heard == "220 relay.example ESMTP Waypost\r\n");
      CHECK(site.server.sessions() == 1);
      CHECK(site.limits.connections() == 1);
    }
    CHECK(site.server.sessions() == 0);
    CHECK(site.limits.connections() == 0);
    site.server.stop();
    runtime.run_until_idle();
  }

  TEST_CASE("too many connections of one client, or in all: 421 4.7.0 and close (F49)") {
    conf::Config config = tests::harness_config();
    config.limits.connections = 3;
    config.limits.connections_per_client = 2;
    VirtualRuntime runtime;
    Site site(runtime, config);
    {
      Callers callers(runtime, site.address);
      CHECK(callers.call("198.51.100.7").heard.starts_with("220 "));
      CHECK(callers.call("198.51.100.7").heard.starts_with("220 "));
      Caller& third = callers.call("198.51.100.7");
      CHECK(third.heard == "421 4.7.0 relay.example Too many connections\r\n");
      CHECK(third.closed);
      CHECK(callers.call("198.51.100.8").heard.starts_with("220 "));
      CHECK(callers.call("198.51.100.9").heard.starts_with("421 4.7.0 "));
      CHECK(site.server.sessions() == 3);
    }
    site.server.stop();
    runtime.run_until_idle();
  }

  TEST_CASE("the last tenth of the places is for our own, and strangers may be too often (F49)") {
    conf::Config config = tests::harness_config();
    config.limits.connections = 10;
    config.limits.connections_per_client = 10;
    config.limits.connection_rate = conf::Rate{3, std::chrono::minutes(1)};
    VirtualRuntime runtime;
    Site site(runtime, config);
    Callers callers(runtime, site.address);
    for (int i = 1; i <= 9; ++i) {
      const std::string stranger = "198.51.100." + std::to_string(i % 3 + 1);
      CHECK(callers.call(stranger.c_str()).heard.starts_with("220 "));
    }
    CHECK(callers.call("198.51.100.1").heard == "421 4.7.0 relay.example Connecting too often\r\n");
    CHECK(callers.call("198.51.100.9").heard == "421 4.7.0 relay.example Too many connections\r\n");
    CHECK(callers.call("192.0.2.1").heard.starts_with("220 "));
    CHECK(callers.call("192.0.2.1").heard == "421 4.7.0 relay.example Too many connections\r\n");
    site.server.stop();
    runtime.run_until_idle();
  }

  TEST_CASE("too many connections to implicit TLS: closed, without a word in clear") {
    conf::Config config = tests::harness_config();
    config.limits.connections_per_client = 1;
    VirtualRuntime runtime;
    Site site(runtime, config, conf::ListenerTls::implicit);
    {
      Callers callers(runtime, site.address);
      site.context.tls = [server = tests::make_tls_server()](conf::Role) { return server; };
      Caller& first = callers.call("198.51.100.7");
      CHECK_FALSE(first.closed);  // its handshake is waited for, and counts
      Caller& second = callers.call("198.51.100.7");
      CHECK(second.closed);
      CHECK(second.heard.empty());
      CHECK(site.limits.connections() == 1);
    }
    site.server.stop();
    runtime.run_until_idle();
  }

  TEST_CASE("stop: new connections are refused, idle ones are told 421 4.3.2, the server drains [RFC 5321 3.8]") {
    VirtualRuntime runtime;
    Site site(runtime);
    Callers callers(runtime, site.address);
    Caller& idle = callers.call("198.51.100.7");
    bool ended = false;
    net::Scope scope(runtime, [](std::string_view) {});
    scope.spawn(note_end(site.server, ended));
    CHECK_FALSE(ended);
    site.server.stop();
    site.server.stop();
    runtime.run_until_idle();
    CHECK(ended);
    CHECK(idle.closed);
    CHECK(tests::Harness::codes(idle.heard) == "220 421");
    CHECK(idle.heard.find("421 4.3.2 ") != std::string::npos);
    CHECK(callers.call("198.51.100.8").closed);
    CHECK(site.server.sessions() == 0);
  }
}

/// A runtime without descriptors, now and then.
class PoorRuntime : public VirtualRuntime {
 public:
  Result<std::unique_ptr<net::Listener>> accept_on(std::shared_ptr<net::ListenSocket> socket) override {
    Result<std::unique_ptr<net::Listener>> inner = VirtualRuntime::accept_on(std::move(socket));
    if (!inner) return inner;
    return std::make_unique<PoorListener>(*this, *std::move(inner));
  }
  bool poor = true;
  int tries = 0;

 private:
  class PoorListener : public net::Listener {
   public:
    PoorListener(PoorRuntime& of, std::unique_ptr<net::Listener> inner) : of_(of), inner_(std::move(inner)) {}
    net::Task<Result<std::unique_ptr<net::Stream>>> accept() override {
      ++of_.tries;
      if (of_.poor) co_return fail(Errc::busy, "accept: too many open files");
      co_return co_await inner_->accept();
    }
    void close() override { inner_->close(); }

   private:
    PoorRuntime& of_;
    std::unique_ptr<net::Listener> inner_;
  };
};

TEST_SUITE("mta/server") {
  TEST_CASE("out of descriptors: accepting is paused, not spun on, and goes on by itself (F44)") {
    PoorRuntime runtime;
    Site site(runtime);
    {
      Callers callers(runtime, site.address);
      Caller& waiting = callers.call("198.51.100.7");
      CHECK(runtime.tries == 1);
      runtime.advance(std::chrono::seconds(1));
      CHECK(runtime.tries == 11);
      CHECK(waiting.heard.empty());
      runtime.poor = false;
      runtime.advance(std::chrono::milliseconds(100));
      CHECK(waiting.heard.starts_with("220 "));
    }
    site.server.stop();
    runtime.run_until_idle();
  }

  TEST_CASE("stop ends the pause too") {
    PoorRuntime runtime;
    Site site(runtime);
    bool ended = false;
    net::Scope scope(runtime, [](std::string_view) {});
    scope.spawn(note_end(site.server, ended));
    site.server.stop();
    runtime.run_until_idle();
    CHECK(ended);
  }
}

}  // namespace
}  // namespace waypost::mta
