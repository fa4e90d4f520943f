#include "net/scope.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/virtual_runtime.h"

using namespace waypost;
using net::Scope;
using net::Task;
using tests::VirtualRuntime;

namespace {

Task<> sleeper(net::Runtime& runtime, net::Duration duration, std::stop_token stop, std::vector<bool>& reached) {
  bool whole = co_await runtime.sleep_for(duration, stop);
  reached.push_back(whole);
}

Task<> thrower(net::Runtime& runtime, std::stop_token stop) {
  co_await runtime.sleep_for(std::chrono::seconds(1), stop);
  throw std::runtime_error("a bug");
}

Task<> throws_number() {
  throw 7;
  co_return;
}

Task<> waiter(Scope& scope, bool& drained) {
  co_await scope.drained();
  drained = true;
}

Task<> holds(net::Runtime& runtime, std::shared_ptr<int> held, std::stop_token stop) {
  std::shared_ptr<int> local = held;
  co_await runtime.sleep_for(std::chrono::seconds(1), stop);
}

Task<> spawner(Scope& scope, net::Runtime& runtime, std::vector<bool>& reached) {
  co_await runtime.sleep_for(std::chrono::seconds(1), scope.stop_token());
  scope.spawn(sleeper(runtime, std::chrono::seconds(1), scope.stop_token(), reached));
}

}  // namespace

TEST_SUITE("net/scope") {
  TEST_CASE("a task begins inside spawn and is counted until it ends") {
    VirtualRuntime runtime;
    Scope scope(runtime, nullptr);
    std::vector<bool> reached;
    scope.spawn(sleeper(runtime, std::chrono::seconds(5), scope.stop_token(), reached));
    scope.spawn(sleeper(runtime, std::chrono::seconds(0), scope.stop_token(), reached));
    CHECK(scope.running() == 2);
    runtime.run_until_idle();
    CHECK(scope.running() == 1);
    runtime.advance(std::chrono::seconds(5));
    CHECK(scope.running() == 0);
    CHECK(reached == std::vector<bool>{true, true});
  }

  TEST_CASE("stop ends sleeps on a later turn, and drained returns after the last one") {
    VirtualRuntime runtime;
    Scope owner(runtime, nullptr);
    Scope scope(runtime, nullptr);
    std::vector<bool> reached;
    bool drained = false;
    for (int i = 0; i < 3; ++i) {
      scope.spawn(sleeper(runtime, std::chrono::hours(1), scope.stop_token(), reached));
    }
    owner.spawn(waiter(scope, drained));
    runtime.run_until_idle();
    CHECK_FALSE(drained);
    scope.stop();
    CHECK(reached.empty());
    CHECK(scope.running() == 3);
    runtime.run_until_idle();
    CHECK(reached == std::vector<bool>{false, false, false});
    CHECK(drained);
    CHECK(runtime.now() == net::TimePoint{});
  }

  TEST_CASE("a sleep that begins after the stop returns at once") {
    VirtualRuntime runtime;
    Scope scope(runtime, nullptr);
    std::vector<bool> reached;
    scope.stop();
    scope.spawn(sleeper(runtime, std::chrono::hours(1), scope.stop_token(), reached));
    runtime.run_until_idle();
    CHECK(reached == std::vector<bool>{false});
  }

  TEST_CASE("drained returns at once when nothing runs") {
    VirtualRuntime runtime;
    Scope scope(runtime, nullptr);
    runtime.complete(scope.drained());
    CHECK(scope.running() == 0);
  }

  TEST_CASE("drained waits also for what a task spawns") {
    VirtualRuntime runtime;
    Scope owner(runtime, nullptr);
    Scope scope(runtime, nullptr);
    std::vector<bool> reached;
    bool drained = false;
    scope.spawn(spawner(scope, runtime, reached));
    owner.spawn(waiter(scope, drained));
    runtime.advance(std::chrono::milliseconds(1500));
    CHECK_FALSE(drained);
    runtime.advance(std::chrono::seconds(1));
    CHECK(drained);
    CHECK(reached == std::vector<bool>{true});
  }

  TEST_CASE("an exception ends its task alone and is told") {
    VirtualRuntime runtime;
    std::vector<std::string> told;
    Scope scope(runtime, [&told](std::string_view what) { told.emplace_back(what); });
    std::vector<bool> reached;
    scope.spawn(thrower(runtime, scope.stop_token()));
    scope.spawn(throws_number());
    scope.spawn(sleeper(runtime, std::chrono::seconds(5), scope.stop_token(), reached));
    runtime.advance(std::chrono::seconds(10));
    CHECK(told == std::vector<std::string>{"an exception of unknown type", "a bug"});
    CHECK(reached == std::vector<bool>{true});
    CHECK(scope.running() == 0);
  }

  TEST_CASE("what a task held is gone when it is counted out") {
    VirtualRuntime runtime;
    Scope scope(runtime, nullptr);
    auto held = std::make_shared<int>(1);
    scope.spawn(holds(runtime, held, scope.stop_token()));
    CHECK(held.use_count() == 3);
    CHECK(runtime.run_until([&scope] { return scope.running() == 0; }));
    CHECK(held.use_count() == 1);
  }
}
