#include "net/task.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "base/result.h"
#include "tests/support/virtual_runtime.h"

using namespace waypost;
using net::Task;
using tests::VirtualRuntime;

namespace {

struct Later {
  explicit Later(net::Runtime& on) : runtime(on) {}
  net::Runtime& runtime;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) const { runtime.resume_later(waiting); }
  void await_resume() const noexcept {}
};

Task<int> ready(int value) {
  co_return value;
}

Task<int> parked(net::Runtime& runtime, int value) {
  Later later(runtime);
  co_await later;
  co_return value;
}

Task<long> sum_ready(int count) {
  long sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await ready(1);
  co_return sum;
}

Task<long> sum_parked(net::Runtime& runtime, int count) {
  long sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await parked(runtime, 1);
  co_return sum;
}

Task<int> chain(net::Runtime& runtime, int depth) {
  if (depth == 0) co_return co_await parked(runtime, 0);
  int below = co_await chain(runtime, depth - 1);
  co_return below + 1;
}

Task<int> thrower(net::Runtime* runtime) {
  if (runtime != nullptr) {
    Later later(*runtime);
    co_await later;
  }
  throw std::runtime_error("broken");
  co_return 1;
}

Task<std::string> catcher(net::Runtime* runtime) {
  std::string caught;
  try {
    int value = co_await thrower(runtime);
    caught = std::to_string(value);
  } catch (const std::runtime_error& error) {
    caught = error.what();
  }
  co_return caught;
}

struct Counted {
  explicit Counted(int& count) : alive(&count) { ++*alive; }
  Counted(const Counted& other) : alive(other.alive) { ++*alive; }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --*alive; }
  int* alive;
};

Task<Result<std::unique_ptr<Counted>>> make_counted(net::Runtime& runtime, Counted parameter, bool well) {
  Counted local(parameter);
  Later later(runtime);
  co_await later;
  if (!well) co_return fail(Errc::busy, "no more of them");
  co_return std::make_unique<Counted>(local);
}

Task<bool> use_counted(net::Runtime& runtime, int& alive, bool well) {
  Counted argument(alive);
  Result<std::unique_ptr<Counted>> made = co_await make_counted(runtime, argument, well);
  CHECK(alive == (well ? 2 : 1));
  co_return made.has_value();
}

Task<> append(net::Runtime& runtime, std::vector<int>& order, int value) {
  Later later(runtime);
  co_await later;
  order.push_back(value);
}

Task<> append_three(net::Runtime& runtime, std::vector<int>& order) {
  co_await append(runtime, order, 1);
  order.push_back(2);
  co_await append(runtime, order, 3);
}

}  // namespace

TEST_SUITE("net/task") {
  TEST_CASE("a million awaits that are ready at once leave the stack as it was") {
    VirtualRuntime runtime;
    CHECK(runtime.complete(sum_ready(1'000'000)) == 1'000'000);
  }

  TEST_CASE("a million awaits that suspend leave the stack as it was") {
    VirtualRuntime runtime;
    CHECK(runtime.complete(sum_parked(runtime, 1'000'000)) == 1'000'000);
  }

  TEST_CASE("a chain of a thousand unwinds") {
    VirtualRuntime runtime;
    CHECK(runtime.complete(chain(runtime, 1000)) == 1000);
  }

  TEST_CASE("an exception comes out of the await, before and after a suspension") {
    VirtualRuntime runtime;
    CHECK(runtime.complete(catcher(nullptr)) == "broken");
    CHECK(runtime.complete(catcher(&runtime)) == "broken");
  }

  TEST_CASE("a result that can only be moved; locals and parameters are destroyed once") {
    VirtualRuntime runtime;
    int alive = 0;
    CHECK(runtime.complete(use_counted(runtime, alive, true)));
    CHECK(alive == 0);
    CHECK_FALSE(runtime.complete(use_counted(runtime, alive, false)));
    CHECK(alive == 0);
  }

  TEST_CASE("a task that was never awaited is destroyed with its parameters") {
    VirtualRuntime runtime;
    int alive = 0;
    {
      Task<Result<std::unique_ptr<Counted>>> task = make_counted(runtime, Counted(alive), true);
      CHECK(alive == 1);
      Task<Result<std::unique_ptr<Counted>>> moved = std::move(task);
      CHECK(alive == 1);
    }
    CHECK(alive == 0);
  }

  TEST_CASE("awaits happen in the order they are written") {
    VirtualRuntime runtime;
    std::vector<int> order;
    runtime.complete(append_three(runtime, order));
    CHECK(order == std::vector<int>{1, 2, 3});
  }
}
