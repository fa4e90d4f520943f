#include "tests/support/virtual_runtime.h"

#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "net/scope.h"

using namespace waypost;
using net::Task;
using tests::VirtualRuntime;

namespace {

net::Address address(std::string_view host, std::uint16_t port) {
  return *net::Address::parse(host, port);
}

Task<> note_after(net::Runtime& runtime, net::Duration duration, std::vector<int>& order, int value) {
  std::stop_token never;
  co_await runtime.sleep_for(duration, never);
  order.push_back(value);
}

Task<> serve_one(net::Listener& listener, std::string greeting) {
  Result<std::unique_ptr<net::Stream>> peer = co_await listener.accept();
  if (!peer) {
    CHECK(peer.error().code == Errc::cancelled);
    co_return;
  }
  Result<> sent = co_await (*peer)->write(greeting, net::TimePoint::max());
  CHECK(sent.has_value());
}

Task<Result<std::string>> hear(net::Runtime& runtime, net::Address remote, net::TimePoint deadline,
                               std::stop_token stop) {
  std::optional<net::Address> source;
  Result<std::unique_ptr<net::Stream>> stream = co_await runtime.connect(remote, source, deadline, stop);
  if (!stream) co_return fail(stream.error());
  char buffer[100];
  Result<std::size_t> got = co_await (*stream)->read(buffer, deadline);
  if (!got) co_return fail(got.error());
  CHECK((*stream)->remote() == remote);
  co_return std::string(buffer, *got);
}

}  // namespace

TEST_SUITE("support/virtual_runtime") {
  TEST_CASE("timers fire in the order of their times, and both clocks pass together") {
    VirtualRuntime runtime;
    net::Scope scope(runtime, nullptr);
    std::vector<int> order;
    net::WallTime began = runtime.wall_now();
    scope.spawn(note_after(runtime, std::chrono::hours(3), order, 3));
    scope.spawn(note_after(runtime, std::chrono::hours(1), order, 1));
    scope.spawn(note_after(runtime, std::chrono::hours(2), order, 2));
    runtime.advance(std::chrono::hours(2));
    CHECK(order == std::vector<int>{1, 2});
    CHECK(runtime.run_until([&order] { return order.size() == 3; }));
    CHECK(runtime.now() == net::TimePoint(std::chrono::hours(3)));
    CHECK(runtime.wall_now() == began + std::chrono::hours(3));
    CHECK_FALSE(runtime.run_until([] { return false; }));
  }

  TEST_CASE("the same seed gives the same chance") {
    VirtualRuntime one(7), two(7), other(8);
    std::uint64_t first = one.random();
    CHECK(first == two.random());
    CHECK(first != other.random());
  }

  TEST_CASE("connect reaches the listener, also one at the wildcard") {
    for (const char* bound : {"192.0.2.7", "0.0.0.0"}) {
      VirtualRuntime runtime;
      net::Scope scope(runtime, nullptr);
      Result<std::shared_ptr<net::ListenSocket>> socket = runtime.listen(address(bound, 25));
      REQUIRE(socket.has_value());
      CHECK(runtime.listen(address(bound, 25)).error().code == Errc::exists);
      Result<std::unique_ptr<net::Listener>> listener = runtime.accept_on(*socket);
      REQUIRE(listener.has_value());
      scope.spawn(serve_one(**listener, "220 hello"));
      net::TimePoint deadline = runtime.now() + std::chrono::minutes(1);
      Result<std::string> heard = runtime.complete(hear(runtime, address("192.0.2.7", 25), deadline, {}));
      REQUIRE(heard.has_value());
      CHECK(*heard == "220 hello");
      scope.spawn(serve_one(**listener, ""));
      (*listener)->close();
      runtime.run_until_idle();
      CHECK(scope.running() == 0);
    }
  }

  TEST_CASE("connect is refused, unreachable, hangs or is stopped") {
    VirtualRuntime runtime;
    runtime.black_hole(address("192.0.2.8", 25));
    runtime.unreachable(address("192.0.2.9", 25));
    net::TimePoint deadline = runtime.now() + std::chrono::seconds(30);
    CHECK(runtime.complete(hear(runtime, address("192.0.2.7", 25), deadline, {})).error().code == Errc::refused);
    CHECK(runtime.complete(hear(runtime, address("192.0.2.9", 25), deadline, {})).error().code == Errc::unreachable);
    Result<std::string> hung = runtime.complete(hear(runtime, address("192.0.2.8", 25), deadline, {}));
    CHECK(hung.error().code == Errc::timed_out);
    CHECK(hung.error().what == "connect to 192.0.2.8:25: timed out");
    CHECK(runtime.now() == deadline);
    std::stop_source stop;
    stop.request_stop();
    Result<std::string> stopped = runtime.complete(hear(runtime, address("192.0.2.7", 25), deadline, stop.get_token()));
    CHECK(stopped.error().code == Errc::cancelled);
  }

  TEST_CASE("posts from another thread run here, in their order") {
    VirtualRuntime runtime;
    std::vector<int> order;
    std::thread other([&] {
      for (int i = 0; i < 100; ++i) runtime.post([&order, i] { order.push_back(i); });
    });
    other.join();
    CHECK(order.empty());
    runtime.run_until_idle();
    REQUIRE(order.size() == 100);
    CHECK(std::is_sorted(order.begin(), order.end()));
  }

  TEST_CASE("offload runs on a later turn") {
    VirtualRuntime runtime;
    net::Scope scope(runtime, nullptr);
    bool ran = false;
    scope.spawn(runtime.offload([&ran] { ran = true; }));
    CHECK_FALSE(ran);
    runtime.run_until_idle();
    CHECK(ran);
  }
}
