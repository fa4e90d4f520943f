// net/runtime.h: time, chance, network and threads as an interface, so that the whole MTA also runs in a simulation.
#pragma once
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>

#include "base/result.h"
#include "net/address.h"
#include "net/clock.h"
#include "net/stream.h"
#include "net/task.h"

namespace waypost::net {

/// A socket that listens, without a loop: made once before privileges are dropped, then accepted from on several loops.
class ListenSocket {
 public:
  virtual ~ListenSocket() = default;
  virtual const Address& local() const = 0;  ///< with the port that the system chose where 0 was asked
  /// Of the system, for who takes connections without a loop, while this lives; -1: it has none.
  virtual int descriptor() const { return -1; }
};

/// Takes connections on one loop. Belongs to that loop.
class Listener {
 public:
  virtual ~Listener() = default;
  /// The next connection. Errors: cancelled after close(); busy when the process has no descriptor left (try again
  /// later).
  virtual Task<Result<std::unique_ptr<Stream>>> accept() = 0;
  virtual void close() = 0;  ///< idempotent; a pending accept() returns cancelled on a later turn
};

/// Calls back once at a point of its loop's time. Belongs to that loop; destroying it disarms it, also from its
/// callback.
class Timer {
 public:
  virtual ~Timer() = default;
  virtual void arm(TimePoint when) = 0;  ///< replaces what was armed; a time that has passed means the next turn
  virtual void disarm() = 0;
};

/// What a loop thread gives to what runs on it. LoopRuntime (net/loop.h) is the real one.
class Runtime {
 public:
  virtual ~Runtime() = default;

  virtual TimePoint now() const = 0;  ///< of this turn of the loop
  virtual WallTime wall_now() const = 0;
  virtual std::uint64_t random() = 0;  ///< 64 bits, not for secrets

  /// Returns true at the deadline, false as soon as a stop is requested (on a later turn of the loop, never inside
  /// request_stop(), which is called on this loop).
  virtual Task<bool> sleep_until(TimePoint deadline, std::stop_token stop) = 0;

  /// For awaiters that have a deadline; sessions sleep. `fired` runs on the loop, and must not throw.
  virtual std::unique_ptr<Timer> make_timer(std::function<void()> fired) = 0;

  /// Errors: timed_out, refused, unreachable, cancelled (stop was requested), busy (descriptors), invalid (`source`).
  virtual Task<Result<std::unique_ptr<Stream>>> connect(Address remote, std::optional<Address> source,
                                                        TimePoint deadline, std::stop_token stop) = 0;

  /// Binds and listens. A local address is a socket that any user may connect to; each is Stream::remote() then.
  /// Errors: exists (address in use), denied, unreachable (no such address here); of a local one those of LocalSocket.
  virtual Result<std::shared_ptr<ListenSocket>> listen(const Address& address) = 0;
  virtual Result<std::unique_ptr<Listener>> accept_on(std::shared_ptr<ListenSocket> socket) = 0;

  /// Resumes a coroutine of this loop on a later turn: how an awaiter is completed without running inside its
  /// completer.
  virtual void resume_later(std::coroutine_handle<> suspended) = 0;

  /// From any thread: runs `work` on this loop's thread soon. Its order with other posts from the same thread is kept.
  virtual void post(std::function<void()> work) = 0;

  /// Runs `work` where it may block (a small pool of threads), and resumes on this loop after it.
  virtual Task<> offload(std::function<void()> work) = 0;

  Task<bool> sleep_for(Duration duration, std::stop_token stop) {
    return sleep_until(now() + duration, std::move(stop));
  }
};

}  // namespace waypost::net
