// net/uv_runtime.h: the inside of LoopRuntime, for the files of this folder that hand handles to libuv. Private to
// net/.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <random>
#include <vector>

#include <uv.h>

#include "net/loop.h"

namespace waypost::net {

class UvRuntime final : public LoopRuntime {
 public:
  UvRuntime();
  ~UvRuntime() override;

  TimePoint now() const override { return TimePoint(Duration(uv_now(&loop_))); }
  WallTime wall_now() const override;
  std::uint64_t random() override { return chance_(); }
  Task<bool> sleep_until(TimePoint deadline, std::stop_token stop) override;
  std::unique_ptr<Timer> make_timer(std::function<void()> fired) override;
  Task<Result<std::unique_ptr<Stream>>> connect(Address remote, std::optional<Address> source, TimePoint deadline,
                                                std::stop_token stop) override;
  Result<std::shared_ptr<ListenSocket>> listen(const Address& address) override;
  Result<std::unique_ptr<Listener>> accept_on(std::shared_ptr<ListenSocket> socket) override;
  void resume_later(std::coroutine_handle<> suspended) override;
  void post(std::function<void()> work) override;
  Task<> offload(std::function<void()> work) override;

  void run() override;
  void stop() override;
  Result<std::shared_ptr<ListenSocket>> adopt(int descriptor) override;
  void* native() override { return &loop_; }
  Result<> on_signal(int signal, std::function<void()> handler) override;

  uv_loop_t* loop() { return &loop_; }
  /// A stream or a listener keeps run() from returning until its close callback.
  void handle_opened() { ++open_; }
  void handle_closed();

 private:
  struct SignalHandler;
  void run_ready() noexcept;
  void run_posted() noexcept;
  void let_go();

  uv_loop_t loop_{};
  uv_async_t wake_{};  ///< a post, or stop(); holds the loop in run() until let_go()
  uv_idle_t turn_{};   ///< started while `ready_` holds something: the loop does not wait then
  std::vector<std::coroutine_handle<>> ready_;
  std::vector<std::coroutine_handle<>> resuming_;
  std::mutex mutex_;  ///< of posted_: other threads put in
  std::vector<std::function<void()>> posted_;
  std::atomic<bool> stop_requested_ = false;
  std::size_t open_ = 0;
  std::vector<std::unique_ptr<SignalHandler>> signals_;
  std::mt19937_64 chance_;
};

}  // namespace waypost::net
