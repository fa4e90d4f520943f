// mta/server.h: the inbound side of one loop: takes connections, runs their sessions, and lets them end.
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "base/result.h"
#include "conf/config.h"
#include "mta/session.h"
#include "net/runtime.h"
#include "net/scope.h"
#include "net/task.h"

namespace waypost::mta {

/// A socket that was bound for all loops, and the listener of the configuration that it is for.
struct Port {
  std::shared_ptr<net::ListenSocket> socket;
  conf::Listener listener;
};

/// What holds for users of this machine.
conf::Listener local_listener();

/// Belongs to the loop of its context, which outlives it. Destroyed only after drained().
class Server {
 public:
  static constexpr net::Duration kPause = std::chrono::milliseconds(100);  ///< when no descriptor is left
  static constexpr std::size_t kMaxRefusing = 100;  ///< clients that are told 421 at a time; more are just closed

  explicit Server(ServerContext& context);

  /// Takes connections from each port on this loop. Once. Errors: those of Runtime::accept_on; nothing is taken then.
  Result<> start(std::vector<Port> ports);

  /// A connection that came in by no port. `listener` says what it is for, and outlives the session.
  void admit(std::unique_ptr<net::Stream> stream, const conf::Listener& listener);

  /// Takes no more connections, and asks the sessions to end (Session::run). Idempotent.
  void stop();
  /// Returns when the last session is over. Does not stop them.
  net::Task<> drained() { return scope_.drained(); }

  std::size_t sessions() const { return sessions_; }

 private:
  struct Acceptor {
    std::unique_ptr<net::Listener> listener;
    conf::Listener config;
  };

  net::Task<> accept(Acceptor& acceptor);
  net::Task<> run_session(std::unique_ptr<net::Stream> stream, const conf::Listener& listener, Limits::Token place);
  void say_no(std::unique_ptr<net::Stream> stream, bool in_clear, smtp::Reply reply);
  net::Task<> refuse(std::unique_ptr<net::Stream> stream, bool in_clear, smtp::Reply reply);

  ServerContext& context_;
  net::Scope scope_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
  std::size_t sessions_ = 0;
  std::size_t refusing_ = 0;
};

}  // namespace waypost::mta
