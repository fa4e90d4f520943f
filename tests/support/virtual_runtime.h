// tests/support/virtual_runtime.h: a Runtime in virtual time, on the thread of the test. Nothing sleeps.
#pragma once
#include <coroutine>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "net/runtime.h"

namespace waypost::tests {

/// connect() reaches what accept_on() listens to at that address, over memory streams; to others it is refused.
/// Time stands still while anything can run; when nothing can, run_until_idle() stops, and advance() moves the clock.
class VirtualRuntime : public net::Runtime, public net::Clock {
 public:
  explicit VirtualRuntime(std::uint64_t seed = 1);
  ~VirtualRuntime() override;

  net::TimePoint now() const override { return now_; }
  net::WallTime wall_now() const override { return wall_; }
  std::uint64_t random() override { return chance_(); }
  net::Task<bool> sleep_until(net::TimePoint deadline, std::stop_token stop) override;
  std::unique_ptr<net::Timer> make_timer(std::function<void()> fired) override;
  net::Task<Result<std::unique_ptr<net::Stream>>> connect(net::Address remote, std::optional<net::Address> source,
                                                          net::TimePoint deadline, std::stop_token stop) override;
  Result<std::shared_ptr<net::ListenSocket>> listen(const net::Address& address) override;
  Result<std::unique_ptr<net::Listener>> accept_on(std::shared_ptr<net::ListenSocket> socket) override;
  void resume_later(std::coroutine_handle<> suspended) override;
  void post(std::function<void()> work) override;
  net::Task<> offload(std::function<void()> work) override;  ///< runs it on a later turn, on this thread

  /// Runs one thing that can run without time passing; false if there is none.
  bool step();
  /// From now on step() takes what can run in an order of `seed`; posts keep theirs.
  void scramble(std::uint64_t seed) { order_.emplace(seed); }
  /// The next moment at which something can run that cannot now; nullopt: none.
  std::optional<net::TimePoint> next_timer() const;
  /// Lets time pass to `when`, without running anything.
  void set_now(net::TimePoint when);
  /// Runs everything that can run without time passing.
  void run_until_idle();
  /// Lets time pass, stopping at each timer on the way to run what it wakes.
  void advance(net::Duration by);
  /// Runs, with time passing from timer to timer, until `done` holds or no timer is left or `limit` has passed.
  /// Returns what `done` says at the end.
  bool run_until(const std::function<bool()>& done, net::Duration limit = std::chrono::hours(24 * 30));
  /// Runs `task` to its end, with time passing as in run_until(), and returns its result. Throws what came out of it as
  /// a std::runtime_error; ends the test program if it waits for what nobody will do.
  template <class T>
  T complete(net::Task<T> task) {
    std::optional<T> result;
    complete(keep(std::move(task), result));
    return std::move(*result);
  }
  void complete(net::Task<> task);
  void jump_wall(net::Duration by) { wall_ += by; }

  /// From now on connect() to this host and port hangs until its deadline, as if packets were dropped.
  void black_hole(const net::Address& address) { black_holes_.insert(address); }
  /// From now on connect() to this host and port takes so long, as over a satellite.
  void slow(const net::Address& address, net::Duration time) { slow_[address] = time; }
  /// From now on connect() to this host and port is `unreachable`.
  void unreachable(const net::Address& address) { unreachable_.insert(address); }

 private:
  template <class T>
  static net::Task<> keep(net::Task<T> task, std::optional<T>& result) {
    T value = co_await task;
    result.emplace(std::move(value));
  }

  struct Endpoint;
  class VirtualTimer;
  class VirtualSocket;
  class VirtualListener;
  std::shared_ptr<Endpoint> find_endpoint(const net::Address& address) const;

  net::TimePoint now_{};
  net::WallTime wall_;
  std::mt19937_64 chance_;
  std::optional<std::mt19937_64> order_;
  std::mutex mutex_;  // post() alone comes from other threads
  std::deque<std::function<void()>> posted_;
  std::deque<std::coroutine_handle<>> ready_;
  std::multimap<net::TimePoint, VirtualTimer*> timers_;
  std::map<net::Address, std::weak_ptr<Endpoint>> listening_;
  std::set<net::Address> black_holes_;
  std::map<net::Address, net::Duration> slow_;
  std::set<net::Address> unreachable_;
  std::uint16_t next_port_ = 40000;
};

}  // namespace waypost::tests
