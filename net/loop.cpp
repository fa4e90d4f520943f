#include "net/loop.h"

#include <algorithm>
#include <cassert>
#include <csignal>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "net/listener.h"
#include "net/sleep.h"
#include "net/tcp_stream.h"
#include "net/uv_runtime.h"

namespace waypost::net {

namespace {

/// The timer's handle belongs to libuv until its close callback, so it is not in the Timer itself.
struct TimerHandle {
  uv_timer_t timer{};
  std::function<void()> fired;
};

class UvTimer : public Timer {
 public:
  UvTimer(uv_loop_t* loop, std::function<void()> fired) : handle_(new TimerHandle{{}, std::move(fired)}) {
    uv_timer_init(loop, &handle_->timer);
    handle_->timer.data = handle_;
  }
  ~UvTimer() override {
    auto freed = [](uv_handle_t* handle) { delete static_cast<TimerHandle*>(handle->data); };
    uv_close(reinterpret_cast<uv_handle_t*>(&handle_->timer), freed);
  }
  void arm(TimePoint when) override {
    auto fired = [](uv_timer_t* timer) noexcept { static_cast<TimerHandle*>(timer->data)->fired(); };
    TimePoint now(Duration(uv_now(handle_->timer.loop)));
    auto wait = static_cast<std::uint64_t>(std::max(when - now, Duration(0)).count());
    uv_timer_start(&handle_->timer, fired, wait, 0);
  }
  void disarm() override { uv_timer_stop(&handle_->timer); }

 private:
  TimerHandle* handle_;
};

/// One piece of work on a thread of libuv's pool. Lives in the frame that awaits it.
struct Offload {
  explicit Offload(uv_loop_t* on, std::function<void()> what) : loop(on), work(std::move(what)) {}
  uv_loop_t* loop;
  std::function<void()> work;
  uv_work_t request{};
  std::exception_ptr thrown;
  std::coroutine_handle<> waiting;

  static void run(uv_work_t* request) noexcept {
    auto* self = static_cast<Offload*>(request->data);
    try {
      self->work();
    } catch (...) {
      self->thrown = std::current_exception();
    }
  }
  static void done(uv_work_t* request, int) noexcept { static_cast<Offload*>(request->data)->waiting.resume(); }

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> suspended) noexcept {
    waiting = suspended;
    request.data = this;
    uv_queue_work(loop, &request, run, done);
  }
  void await_resume() const {
    if (thrown) std::rethrow_exception(thrown);
  }
};

void must(int status, const char* what) {
  if (status != 0) throw std::runtime_error(std::string(what) + ": " + uv_strerror(status));
}

}  // namespace

struct UvRuntime::SignalHandler {
  uv_signal_t signal{};
  std::function<void()> handler;
};

std::unique_ptr<LoopRuntime> LoopRuntime::create() {
  return std::make_unique<UvRuntime>();
}

UvRuntime::UvRuntime() {
  // libuv writes with write(2): a peer that has gone must be EPIPE, not the end of the process.
  std::signal(SIGPIPE, SIG_IGN);
  must(uv_loop_init(&loop_), "event loop");
  auto on_wake = [](uv_async_t* wake) noexcept { static_cast<UvRuntime*>(wake->data)->run_posted(); };
  must(uv_async_init(&loop_, &wake_, on_wake), "event loop");
  wake_.data = this;
  uv_idle_init(&loop_, &turn_);
  turn_.data = this;

  std::random_device entropy;
  std::seed_seq seed{entropy(), entropy(), entropy(), entropy()};
  chance_.seed(seed);
}

UvRuntime::~UvRuntime() {
  // What was closed after run() is called back first: it may need the loop once more.
  uv_unref(reinterpret_cast<uv_handle_t*>(&wake_));
  uv_run(&loop_, UV_RUN_DEFAULT);
  assert(open_ == 0);
  auto close = [](auto* handle) { uv_close(reinterpret_cast<uv_handle_t*>(handle), nullptr); };
  close(&wake_);
  close(&turn_);
  for (const std::unique_ptr<SignalHandler>& handler : signals_) close(&handler->signal);
  uv_run(&loop_, UV_RUN_DEFAULT);
  [[maybe_unused]] int busy = uv_loop_close(&loop_);
  assert(busy == 0);
}

WallTime UvRuntime::wall_now() const {
  return std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
}

Task<bool> UvRuntime::sleep_until(TimePoint deadline, std::stop_token stop) {
  return sleep_on(*this, deadline, std::move(stop));
}

std::unique_ptr<Timer> UvRuntime::make_timer(std::function<void()> fired) {
  return std::make_unique<UvTimer>(&loop_, std::move(fired));
}

Task<Result<std::unique_ptr<Stream>>> UvRuntime::connect(Address remote, std::optional<Address> source,
                                                         TimePoint deadline, std::stop_token stop) {
  return connect_tcp(*this, remote, source, deadline, std::move(stop));
}

Result<std::shared_ptr<ListenSocket>> UvRuntime::listen(const Address& address) {
  return listen_tcp(address);
}

Result<std::shared_ptr<ListenSocket>> UvRuntime::adopt(int descriptor) {
  return adopt_listening_tcp(descriptor);
}

Result<std::unique_ptr<Listener>> UvRuntime::accept_on(std::shared_ptr<ListenSocket> socket) {
  return accept_tcp(*this, std::move(socket));
}

void UvRuntime::resume_later(std::coroutine_handle<> suspended) {
  if (ready_.empty()) {
    auto on_turn = [](uv_idle_t* turn) noexcept { static_cast<UvRuntime*>(turn->data)->run_ready(); };
    uv_idle_start(&turn_, on_turn);
  }
  ready_.push_back(suspended);
}

void UvRuntime::run_ready() noexcept {
  // What becomes ready now waits for the next turn, so that sockets and timers are looked at in between.
  resuming_.swap(ready_);
  for (std::coroutine_handle<> next : resuming_) next.resume();
  resuming_.clear();
  if (ready_.empty()) uv_idle_stop(&turn_);
}

void UvRuntime::post(std::function<void()> work) {
  std::lock_guard lock(mutex_);
  posted_.push_back(std::move(work));
  // One wake-up for all that gathers before the loop takes it. Under the lock: a loop that has taken the last work may
  // be destroyed at once.
  if (posted_.size() == 1) uv_async_send(&wake_);
}

void UvRuntime::run_posted() noexcept {
  std::vector<std::function<void()>> batch;
  {
    std::lock_guard lock(mutex_);
    batch.swap(posted_);
  }
  for (const std::function<void()>& work : batch) work();
  if (stop_requested_) let_go();
}

Task<> UvRuntime::offload(std::function<void()> work) {
  Offload offload(&loop_, std::move(work));
  co_await offload;
}

void UvRuntime::run() {
  uv_update_time(&loop_);
  uv_run(&loop_, UV_RUN_DEFAULT);
  uv_ref(reinterpret_cast<uv_handle_t*>(&wake_));
  stop_requested_ = false;
}

void UvRuntime::stop() {
  stop_requested_ = true;
  uv_async_send(&wake_);
}

void UvRuntime::handle_closed() {
  --open_;
  if (stop_requested_) let_go();
}

/// From here on only what is active holds the loop: timers, requests, what is ready to be resumed.
void UvRuntime::let_go() {
  if (open_ == 0) uv_unref(reinterpret_cast<uv_handle_t*>(&wake_));
}

Result<> UvRuntime::on_signal(int signal, std::function<void()> handler) {
  auto entry = std::make_unique<SignalHandler>();
  entry->handler = std::move(handler);
  entry->signal.data = entry.get();
  uv_signal_init(&loop_, &entry->signal);
  uv_unref(reinterpret_cast<uv_handle_t*>(&entry->signal));
  signals_.push_back(std::move(entry));  // also if it fails: it is closed with the others
  auto on_arrival = [](uv_signal_t* arrived, int) noexcept { static_cast<SignalHandler*>(arrived->data)->handler(); };
  int status = uv_signal_start(&signals_.back()->signal, on_arrival, signal);
  if (status != 0) {
    return fail(Errc::invalid, "signal " + std::to_string(signal) + ": " + uv_strerror(status));
  }
  return {};
}

}  // namespace waypost::net
