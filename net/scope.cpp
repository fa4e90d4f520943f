#include "net/scope.h"

#include <cassert>
#include <exception>
#include <utility>

namespace waypost::net {

/// The coroutine that awaits a spawned task: it begins at once and frees itself at its end.
struct Scope::Runner {
  struct promise_type {
    Runner get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }  // on_exception threw
  };

  static Runner run(Scope& scope, Task<> task) {
    {
      Task<> whole = finish(scope, std::move(task));
      co_await whole;
    }
    scope.ended();
  }

  /// Its frame, and with it the task's, is gone when the scope counts the task out.
  static Task<> finish(Scope& scope, Task<> task) {
    std::exception_ptr thrown;
    try {
      co_await task;
    } catch (...) {
      thrown = std::current_exception();
    }
    if (thrown) scope.report(thrown);
  }
};

Scope::Scope(Runtime& runtime, std::function<void(std::string_view)> on_exception)
    : runtime_(runtime), on_exception_(std::move(on_exception)) {}

Scope::~Scope() {
  assert(running_ == 0 && !waiting_);
}

void Scope::spawn(Task<> task) {
  ++running_;
  Runner::run(*this, std::move(task));
}

void Scope::report(const std::exception_ptr& thrown) {
  if (!on_exception_) return;
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& exception) {
    on_exception_(exception.what());
  } catch (...) {
    on_exception_("an exception of unknown type");
  }
}

void Scope::ended() {
  --running_;
  if (running_ == 0 && waiting_) runtime_.resume_later(std::exchange(waiting_, {}));
}

Task<> Scope::drained() {
  struct Wait {
    explicit Wait(std::coroutine_handle<>& place) : slot(place) {}
    std::coroutine_handle<>& slot;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) const noexcept { slot = waiting; }
    void await_resume() const noexcept {}
  };
  assert(!waiting_);
  // Between the last end and the turn on which this goes on, something may have been spawned.
  while (running_ != 0) {
    Wait wait(waiting_);
    co_await wait;
  }
}

}  // namespace waypost::net
