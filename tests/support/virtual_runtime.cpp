#include "tests/support/virtual_runtime.h"

#include <algorithm>
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "net/memory_stream.h"
#include "net/scope.h"
#include "net/sleep.h"

namespace waypost::tests {

namespace {

constexpr std::size_t kBacklog = 1024;
constexpr std::uint16_t kFirstEphemeralPort = 40000;
/// 2026-01-05 12:00:00 UTC, a Monday.
constexpr std::chrono::seconds kStart{1767614400};

/// Goes on when somebody resumes what `slot` then holds.
struct Wait {
  explicit Wait(std::coroutine_handle<>& place) : slot(place) {}
  std::coroutine_handle<>& slot;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) const noexcept { slot = waiting; }
  void await_resume() const noexcept {}
};

/// Goes on on a later turn.
struct Yield {
  explicit Yield(net::Runtime& on) : runtime(on) {}
  net::Runtime& runtime;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) const { runtime.resume_later(waiting); }
  void await_resume() const noexcept {}
};

net::Address loopback(std::uint8_t family, std::uint16_t port) {
  return *net::Address::parse(family == 4 ? "127.0.0.1" : "::1", port);
}

}  // namespace

/// What listens at an address: several listeners may take from it, as several loops share one socket.
struct VirtualRuntime::Endpoint {
  net::Address address;
  std::size_t listeners = 0;
  std::deque<std::unique_ptr<net::Stream>> waiting;
  std::deque<VirtualListener*> idle;  ///< those with an accept() pending
};

class VirtualRuntime::VirtualSocket : public net::ListenSocket {
 public:
  explicit VirtualSocket(std::shared_ptr<Endpoint> at) : endpoint(std::move(at)) {}
  const net::Address& local() const override { return endpoint->address; }
  const std::shared_ptr<Endpoint> endpoint;
};

class VirtualRuntime::VirtualListener : public net::Listener {
 public:
  VirtualListener(VirtualRuntime& runtime, std::shared_ptr<VirtualSocket> socket)
      : runtime_(runtime), socket_(std::move(socket)) {
    ++endpoint().listeners;
  }
  ~VirtualListener() override { close(); }

  net::Task<Result<std::unique_ptr<net::Stream>>> accept() override {
    for (;;) {
      if (closed_) co_return fail(Errc::cancelled, "accept on " + endpoint().address.text() + ": closed here");
      if (!endpoint().waiting.empty()) {
        std::unique_ptr<net::Stream> stream = std::move(endpoint().waiting.front());
        endpoint().waiting.pop_front();
        co_return stream;
      }
      endpoint().idle.push_back(this);
      Wait wait(acceptor_);
      co_await wait;
    }
  }

  void close() override {
    if (closed_) return;
    closed_ = true;
    --endpoint().listeners;
    std::erase(endpoint().idle, this);
    wake();
  }

  void wake() {
    if (acceptor_) runtime_.resume_later(std::exchange(acceptor_, {}));
  }

 private:
  Endpoint& endpoint() { return *socket_->endpoint; }
  VirtualRuntime& runtime_;
  std::shared_ptr<VirtualSocket> socket_;
  std::coroutine_handle<> acceptor_;
  bool closed_ = false;
};

class VirtualRuntime::VirtualTimer : public net::Timer {
 public:
  VirtualTimer(VirtualRuntime& runtime, std::function<void()> fired)
      : runtime_(runtime), fired_(std::make_shared<std::function<void()>>(std::move(fired))) {}
  ~VirtualTimer() override { disarm(); }
  void arm(net::TimePoint when) override {
    disarm();
    place_ = runtime_.timers_.emplace(when, this);
  }
  void disarm() override {
    if (place_) runtime_.timers_.erase(*place_);
    place_.reset();
  }
  void fire() {
    disarm();
    std::shared_ptr<std::function<void()>> keep = fired_;  // it may destroy this timer
    (*keep)();
  }

 private:
  VirtualRuntime& runtime_;
  std::shared_ptr<std::function<void()>> fired_;
  std::optional<std::multimap<net::TimePoint, VirtualTimer*>::iterator> place_;
};

VirtualRuntime::VirtualRuntime(std::uint64_t seed) : wall_(kStart), chance_(seed), next_port_(kFirstEphemeralPort) {}

VirtualRuntime::~VirtualRuntime() {
  assert(timers_.empty());
}

net::Task<bool> VirtualRuntime::sleep_until(net::TimePoint deadline, std::stop_token stop) {
  return net::sleep_on(*this, deadline, std::move(stop));
}

std::unique_ptr<net::Timer> VirtualRuntime::make_timer(std::function<void()> fired) {
  return std::make_unique<VirtualTimer>(*this, std::move(fired));
}

std::shared_ptr<VirtualRuntime::Endpoint> VirtualRuntime::find_endpoint(const net::Address& address) const {
  net::Address wildcard;
  wildcard.family = address.family;
  wildcard.port = address.port;
  for (const net::Address& name : {address, wildcard}) {
    auto found = listening_.find(name);
    if (found == listening_.end()) continue;
    std::shared_ptr<Endpoint> endpoint = found->second.lock();
    if (endpoint) return endpoint;
  }
  return nullptr;
}

net::Task<Result<std::unique_ptr<net::Stream>>> VirtualRuntime::connect(net::Address remote,
                                                                        std::optional<net::Address> source,
                                                                        net::TimePoint deadline, std::stop_token stop) {
  std::string what = "connect to " + remote.text() + ": ";
  if (source && source->family != remote.family) co_return fail(Errc::invalid, what + "source of another family");
  const auto slow = slow_.find(remote);
  net::TimePoint through = slow == slow_.end() ? now_ : now_ + slow->second;
  if (black_holes_.contains(remote)) through = deadline;
  if (through > now_) {
    bool waited = co_await sleep_until(std::min(through, deadline), stop);
    if (!waited) co_return fail(Errc::cancelled, what + "stopped");
    if (through >= deadline) co_return fail(Errc::timed_out, what + "timed out");
  }

  Yield yield(*this);
  co_await yield;
  if (stop.stop_requested()) co_return fail(Errc::cancelled, what + "stopped");
  if (unreachable_.contains(remote)) co_return fail(Errc::unreachable, what + "network is unreachable");
  std::shared_ptr<Endpoint> endpoint = find_endpoint(remote);
  if (!endpoint || endpoint->listeners == 0 || endpoint->waiting.size() >= kBacklog) {
    co_return fail(Errc::refused, what + "connection refused");
  }

  net::MemoryPairOptions options;
  options.first_address = source.value_or(loopback(remote.family, 0));
  options.first_address.port = next_port_;
  next_port_ = next_port_ == 65535 ? kFirstEphemeralPort : static_cast<std::uint16_t>(next_port_ + 1);
  options.second_address = remote;
  std::pair<std::unique_ptr<net::Stream>, std::unique_ptr<net::Stream>> ends = net::memory_pair(*this, options);
  endpoint->waiting.push_back(std::move(ends.second));
  if (!endpoint->idle.empty()) {
    endpoint->idle.front()->wake();
    endpoint->idle.pop_front();
  }
  co_return std::move(ends.first);
}

Result<std::shared_ptr<net::ListenSocket>> VirtualRuntime::listen(const net::Address& address) {
  auto endpoint = std::make_shared<Endpoint>();
  endpoint->address = address;
  if (address.port == 0 && !address.is_local()) endpoint->address.port = next_port_++;
  std::weak_ptr<Endpoint>& place = listening_[endpoint->address];
  if (!place.expired()) return fail(Errc::exists, "listen on " + address.text() + ": address already in use");
  place = endpoint;
  return std::make_shared<VirtualSocket>(std::move(endpoint));
}

Result<std::unique_ptr<net::Listener>> VirtualRuntime::accept_on(std::shared_ptr<net::ListenSocket> socket) {
  return std::make_unique<VirtualListener>(*this, std::dynamic_pointer_cast<VirtualSocket>(std::move(socket)));
}

void VirtualRuntime::resume_later(std::coroutine_handle<> suspended) {
  ready_.push_back(suspended);
}

void VirtualRuntime::post(std::function<void()> work) {
  std::lock_guard lock(mutex_);
  posted_.push_back(std::move(work));
}

net::Task<> VirtualRuntime::offload(std::function<void()> work) {
  Yield yield(*this);
  co_await yield;
  work();
}

bool VirtualRuntime::step() {
  const bool timer = !timers_.empty() && timers_.begin()->first <= now_;
  std::function<void()> work;
  {
    std::lock_guard lock(mutex_);
    // In turn: posts, coroutines, timers; or whichever chance names.
    const std::uint64_t choice = order_ ? (*order_)() % 4 : 0;
    const bool others = (choice == 1 && timer) || (choice >= 2 && !ready_.empty());
    if (!posted_.empty() && !others) {
      work = std::move(posted_.front());
      posted_.pop_front();
    }
  }
  if (work) {
    work();
    return true;
  }
  const bool timer_first = order_ && timer && (*order_)() % 4 == 0;
  if (!ready_.empty() && !timer_first) {
    const std::size_t at = order_ ? (*order_)() % ready_.size() : 0;
    std::coroutine_handle<> next = ready_[at];
    ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(at));
    next.resume();
    return true;
  }
  if (!timer) return false;
  timers_.begin()->second->fire();
  return true;
}

std::optional<net::TimePoint> VirtualRuntime::next_timer() const {
  if (timers_.empty()) return std::nullopt;
  return timers_.begin()->first;
}

void VirtualRuntime::run_until_idle() {
  while (step()) continue;
}

void VirtualRuntime::set_now(net::TimePoint now) {
  wall_ += now - now_;
  now_ = now;
}

void VirtualRuntime::advance(net::Duration by) {
  net::TimePoint until = now_ + by;
  run_until_idle();
  while (!timers_.empty() && timers_.begin()->first <= until) {
    set_now(timers_.begin()->first);
    run_until_idle();
  }
  set_now(until);
}

bool VirtualRuntime::run_until(const std::function<bool()>& done, net::Duration limit) {
  net::TimePoint until = now_ + limit;
  run_until_idle();
  while (!done()) {
    if (timers_.empty() || timers_.begin()->first > until) return false;
    set_now(timers_.begin()->first);
    run_until_idle();
  }
  return true;
}

void VirtualRuntime::complete(net::Task<> task) {
  std::string thrown;
  net::Scope scope(*this, [&thrown](std::string_view what) { thrown = what; });
  scope.spawn(std::move(task));
  if (!run_until([&scope] { return scope.running() == 0; })) {
    // Its frame cannot be destroyed while it waits, so there is no going on.
    std::fputs("VirtualRuntime::complete: the task waits for what nobody will do\n", stderr);
    std::abort();
  }
  if (!thrown.empty()) throw std::runtime_error(thrown);
}

}  // namespace waypost::tests
