#include "mta/password_pool.h"

#include <algorithm>
#include <utility>

#include <sys/resource.h>
#include <unistd.h>

#include "base/thread_name.h"

namespace waypost::mta {
namespace {

constexpr int kNice = 5;

}  // namespace

PasswordPool::PasswordPool() {
  const unsigned threads = std::clamp(std::thread::hardware_concurrency() / 2, 2U, 4U);
  for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { serve(); });
}

PasswordPool::~PasswordPool() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool PasswordPool::submit(std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMostWaiting) return false;
    waiting_.push_back(std::move(work));
  }
  changed_.notify_one();
  return true;
}

void PasswordPool::serve() {
  name_thread("passwords");
  // On Linux this is the priority of the thread, not of the process. Without it mail still goes, a little later.
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    std::function<void()> work = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    work();
    work = nullptr;
    lock.lock();
  }
}

}  // namespace waypost::mta
