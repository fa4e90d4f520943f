#include "net/loop.h"

#include <atomic>
#include <csignal>
#include <stdexcept>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/net/loop_fixture.h"

using namespace waypost;
using net::LoopRuntime;
using net::Task;
using tests::run_task;
using namespace std::chrono_literals;

namespace {

Task<> yield_often(net::Runtime& runtime, int count) {
  struct Later {
    explicit Later(net::Runtime& on) : runtime(on) {}
    net::Runtime& runtime;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) const { runtime.resume_later(waiting); }
    void await_resume() const noexcept {}
  };
  for (int i = 0; i < count; ++i) {
    Later later(runtime);
    co_await later;
  }
}

Task<net::Duration> sleeps(net::Runtime& runtime, net::Duration duration) {
  net::TimePoint began = runtime.now();
  std::stop_token never;
  bool whole = co_await runtime.sleep_for(duration, never);
  CHECK(whole);
  co_return runtime.now() - began;
}

Task<> sleep_and_note(net::Runtime& runtime, net::Duration duration, std::stop_token stop,
                      std::optional<bool>& reached) {
  reached = co_await runtime.sleep_for(duration, stop);
}

Task<> stop_others(net::Runtime& runtime) {
  net::Scope scope(runtime, nullptr);
  std::optional<bool> first, second;
  scope.spawn(sleep_and_note(runtime, 1h, scope.stop_token(), first));
  scope.spawn(sleep_and_note(runtime, 2h, scope.stop_token(), second));
  co_await yield_often(runtime, 1);
  scope.stop();
  CHECK_FALSE(first.has_value());
  co_await scope.drained();
  CHECK(first == false);
  CHECK(second == false);
}

Task<> offload_on(net::Runtime& runtime) {
  std::thread::id here = std::this_thread::get_id();
  std::thread::id there = here;
  auto work = [&there] { there = std::this_thread::get_id(); };
  co_await runtime.offload(work);
  CHECK(there != here);
  CHECK(std::this_thread::get_id() == here);

  std::string caught;
  auto broken = [] { throw std::runtime_error("broken"); };
  try {
    co_await runtime.offload(broken);
  } catch (const std::runtime_error& error) {
    caught = error.what();
  }
  CHECK(caught == "broken");
}

Task<> offload_many(net::Runtime& runtime, std::atomic<int>& count) {
  net::Scope scope(runtime, nullptr);
  for (int i = 0; i < 100; ++i) {
    auto work = [&count] { ++count; };
    scope.spawn(runtime.offload(work));
  }
  co_await scope.drained();
}

Task<> keep_timer(net::Runtime& runtime, int& fired) {
  std::unique_ptr<net::Timer> timer;
  auto at = [&timer, &fired] {
    ++fired;
    timer.reset();  // from its own callback
  };
  timer = runtime.make_timer(at);
  timer->arm(runtime.now() + 1h);
  timer->arm(runtime.now());
  auto never = [&fired] { fired += 100; };
  std::unique_ptr<net::Timer> disarmed = runtime.make_timer(never);
  disarmed->arm(runtime.now());
  disarmed->disarm();
  std::stop_token no_stop;
  co_await runtime.sleep_for(2ms, no_stop);
}

/// Waits for posts from other threads.
struct Gathered {
  explicit Gathered(std::size_t count) : want(count) {}
  std::size_t want;
  std::vector<int> values;
  std::coroutine_handle<> waiting;
  void add(net::Runtime& runtime, int value) {
    values.push_back(value);
    if (values.size() == want) runtime.resume_later(waiting);
  }
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> suspended) noexcept { waiting = suspended; }
  void await_resume() const noexcept {}
};

Task<> gather(Gathered& gathered) {
  co_await gathered;
}

}  // namespace

TEST_SUITE("net/loop") {
  TEST_CASE("a runtime that never ran is destroyed; one that has nothing to do stops") {
    std::unique_ptr<LoopRuntime> unused = LoopRuntime::create();
    unused.reset();
    std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
    runtime->stop();
    runtime->run();
    run_task(*runtime, yield_often(*runtime, 1000));
    run_task(*runtime, yield_often(*runtime, 1000));
    CHECK(runtime->random() != runtime->random());
    CHECK(runtime->wall_now() > net::WallTime(std::chrono::seconds(1'700'000'000)));
  }

  TEST_CASE("a sleep is as long as it says; one of no length still lets others run") {
    std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
    net::Duration slept = run_task(*runtime, sleeps(*runtime, 20ms));
    CHECK(slept >= 20ms);
    CHECK(slept < 2s);
    CHECK(run_task(*runtime, sleeps(*runtime, 0ms)) < 1s);
  }

  TEST_CASE("a stop cancels sleeps, outside of request_stop()") {
    std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
    run_task(*runtime, stop_others(*runtime));
  }

  TEST_CASE("a timer fires once at its last time, and may be destroyed from its callback") {
    std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
    int fired = 0;
    run_task(*runtime, keep_timer(*runtime, fired));
    CHECK(fired == 1);
  }

  TEST_CASE("offload runs elsewhere and comes back here, with its exception") {
    std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
    run_task(*runtime, offload_on(*runtime));
    std::atomic<int> count = 0;
    run_task(*runtime, offload_many(*runtime, count));
    CHECK(count == 100);
  }

  TEST_CASE("posts from several threads arrive, each thread's in order") {
    constexpr int kThreads = 4;
    constexpr int kEach = 5000;
    std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
    Gathered gathered(kThreads * kEach);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          runtime->post([&, value = t * kEach + i] { gathered.add(*runtime, value); });
        }
      });
    }
    run_task(*runtime, gather(gathered));
    for (std::thread& thread : threads) thread.join();
    REQUIRE(gathered.values.size() == kThreads * kEach);
    std::vector<int> last(kThreads, -1);
    bool in_order = true;
    for (int value : gathered.values) {
      in_order = in_order && value % kEach == last[std::size_t(value / kEach)] + 1;
      last[std::size_t(value / kEach)] = value % kEach;
    }
    CHECK(in_order);
  }

  TEST_CASE("stop from another thread ends run()") {
    std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
    std::thread other([&] { runtime->stop(); });
    runtime->run();
    other.join();
  }

  TEST_CASE("a signal calls its handler on the loop") {
    std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
    int seen = 0;
    Result<> set = runtime->on_signal(SIGUSR1, [&] {
      ++seen;
      runtime->stop();
    });
    CHECK(set.has_value());
    CHECK(runtime->on_signal(SIGKILL, [] {}).error().code == Errc::invalid);
    ::raise(SIGUSR1);
    runtime->run();
    CHECK(seen == 1);
  }
}
