// mta/password_pool.h: threads of their own for what is slow by intent, so that a flood of logins leaves those of disk
// and names alone (RELIABILITY F46). Any thread.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace waypost::mta {

class PasswordPool {
 public:
  static constexpr std::size_t kMostWaiting = 64;  ///< a second's work or two; who comes after these is sent away

  /// Two to four threads, as many as half of the cores, at a low priority: mail goes first.
  PasswordPool();
  /// What waits is still done.
  ~PasswordPool();
  PasswordPool(const PasswordPool&) = delete;
  PasswordPool& operator=(const PasswordPool&) = delete;

  /// Runs `work` on a thread of the pool soon; it must not throw. False: too much waits, and it will not run.
  bool submit(std::function<void()> work);

 private:
  void serve();
  std::mutex mutex_;  // held for a push or a pop
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace waypost::mta
