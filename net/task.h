// net/task.h: Task<T>, the coroutine that the awaiter owns. One thread; see ARCHITECTURE.md on lifetimes.
#pragma once
#include <coroutine>
#include <exception>
#include <optional>
#include <utility>
#include <variant>

namespace waypost::net {

template <class T = void>
class Task;

namespace detail {

// Symmetric transfer is left out on purpose: at -O0 and under sanitizers g++ makes calls of it, and a loop of awaits
// that are ready at once overruns the stack. So a child runs inside await_suspend of its parent: if it has finished by
// then, the parent goes straight on; if not, `parked` tells the child's end to resume the parent.
struct PromiseBase {
  std::coroutine_handle<> parent;
  bool parked = false;
  std::exception_ptr thrown;

  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> self) const noexcept {
      PromiseBase& promise = self.promise();
      // The parent may destroy this frame while it runs: nothing of it is touched after resume().
      if (promise.parked) promise.parent.resume();
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { thrown = std::current_exception(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object() noexcept;
  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() { return std::move(*value); }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const noexcept {}
};

}  // namespace detail

/// A coroutine that starts when it is awaited, once. Whoever holds the Task owns the frame. An exception out of it
/// comes out of the await. A Task that was begun is never destroyed before it has finished: tell it to stop, and await
/// it.
template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;

  explicit Task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
  Task(Task&& other) noexcept : frame_(std::exchange(other.frame_, {})) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (frame_) frame_.destroy();
      frame_ = std::exchange(other.frame_, {});
    }
    return *this;
  }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task() {
    if (frame_) frame_.destroy();
  }

  struct Awaiter {
    std::coroutine_handle<promise_type> frame;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> parent) const {
      frame.promise().parent = parent;
      frame.resume();
      if (frame.done()) return false;
      frame.promise().parked = true;
      return true;
    }
    T await_resume() const {
      if (frame.promise().thrown) std::rethrow_exception(frame.promise().thrown);
      return frame.promise().take();
    }
  };
  Awaiter operator co_await() const noexcept { return Awaiter{frame_}; }

 private:
  std::coroutine_handle<promise_type> frame_;
};

namespace detail {
template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() noexcept {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}
}  // namespace detail

}  // namespace waypost::net
