// net/loop.h: the real Runtime: one thread, one libuv loop.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "net/runtime.h"

namespace waypost::net {

/// Makes a runtime whose loop runs on the thread that calls run(). Objects made from it belong to that thread.
class LoopRuntime : public Runtime {
 public:
  /// Ignores SIGPIPE in the whole process. Throws std::runtime_error when the system has no descriptor for a loop.
  static std::unique_ptr<LoopRuntime> create();

  /// Runs until stop() was called and no stream or listener is left open, no timer armed, no work offloaded. Call
  /// Scope::stop() and drain before. May be called again.
  virtual void run() = 0;
  /// From any thread: lets run() return when what is pending has been closed.
  virtual void stop() = 0;
  /// The uv_loop_t*, for the resolver's sockets. Not for sessions.
  virtual void* native() = 0;
  /// Takes over a TCP socket that listens already, as a service manager hands it on. Errors: invalid (it is none); then
  /// it stays the caller's.
  virtual Result<std::shared_ptr<ListenSocket>> adopt(int descriptor) = 0;
  /// On this loop: `handler` runs here for each such signal, until the runtime ends. For the main thread's loop.
  virtual Result<> on_signal(int signal, std::function<void()> handler) = 0;
};

}  // namespace waypost::net
