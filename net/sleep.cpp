#include "net/sleep.h"

#include <optional>
#include <utility>

namespace waypost::net {

namespace {

/// Whichever comes first decides; the coroutine goes on on a later turn, outside of the timer and of request_stop().
struct Sleep {
  explicit Sleep(Runtime& on) : runtime(on) {}
  Runtime& runtime;
  std::coroutine_handle<> sleeper;
  std::optional<bool> reached;

  void finish(bool at_deadline) {
    if (reached) return;
    reached = at_deadline;
    runtime.resume_later(sleeper);
  }
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) noexcept { sleeper = waiting; }
  void await_resume() const noexcept {}
};

}  // namespace

Task<bool> sleep_on(Runtime& runtime, TimePoint deadline, std::stop_token stop) {
  if (stop.stop_requested()) co_return false;

  Sleep sleep(runtime);
  auto at_deadline = [&sleep] { sleep.finish(true); };
  auto at_stop = [&sleep] { sleep.finish(false); };
  std::unique_ptr<Timer> timer = runtime.make_timer(at_deadline);
  timer->arm(deadline);
  std::stop_callback on_stop(stop, at_stop);
  co_await sleep;
  co_return *sleep.reached;
}

}  // namespace waypost::net
