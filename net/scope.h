// net/scope.h: the owner of coroutines that nobody awaits. One loop.
#pragma once
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <stop_token>
#include <string_view>

#include "net/runtime.h"
#include "net/task.h"

namespace waypost::net {

/// Runs tasks to their end, counts them, and tells them to stop. It outlives them: destroy it only when it is drained.
class Scope {
 public:
  /// `on_exception` is told the text of an exception that came out of a task; that task is over, the others go on.
  Scope(Runtime& runtime, std::function<void(std::string_view)> on_exception);
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope();  ///< asserts that it is drained

  /// Begins the task at once, inside this call, and owns it until it ends.
  void spawn(Task<> task);
  /// Seen by sleeps, connects and whatever else takes it.
  std::stop_token stop_token() const { return stop_.get_token(); }
  bool stopping() const { return stop_.stop_requested(); }
  /// Requests the stop. Tasks unwind on later turns of the loop.
  void stop() { stop_.request_stop(); }
  std::size_t running() const { return running_; }
  /// Returns when no task is left. At most one waits. Does not stop them.
  Task<> drained();

 private:
  struct Runner;
  void report(const std::exception_ptr& thrown);
  void ended();
  Runtime& runtime_;
  std::function<void(std::string_view)> on_exception_;
  std::stop_source stop_;
  std::size_t running_ = 0;
  std::coroutine_handle<> waiting_;
};

}  // namespace waypost::net
