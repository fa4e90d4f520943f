// resolver/ares_channel.h: one name server, asked by c-ares over the sockets of one libuv loop. Private to the
// resolver.
//
// A channel has one server and one try. Which server is asked when, and how often, is decided in ares_resolver.cpp:
// c-ares alone reports a SERVFAIL of the last server as a refused connection, and lets the wait grow with each round.
#pragma once
#include <coroutine>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/clock.h"
#include "net/loop.h"
#include "net/task.h"
#include "resolver/dns_answer.h"

namespace waypost::resolver {

/// What came of asking one server once.
struct Heard {
  enum class Kind : std::uint8_t {
    message,  ///< it answered; what it said is to be read yet
    no_name,  ///< there can be no such name: it does not go out
    refused,  ///< nothing listens there, or no way leads there
    silent,   ///< nothing within the timeout
    failed,   ///< c-ares made nothing of it, or had no memory
    stopped,  ///< close() was called
  };
  Kind kind = Kind::stopped;
  std::vector<std::uint8_t> message;
  std::string trouble;  ///< for people, where there is no message
};

class AresChannel {
 public:
  /// Errors: invalid (c-ares does not take the server), internal.
  static Result<std::unique_ptr<AresChannel>> create(net::LoopRuntime& runtime, const net::Address& server,
                                                     net::Duration timeout);
  AresChannel(const AresChannel&) = delete;
  AresChannel& operator=(const AresChannel&) = delete;
  ~AresChannel();  ///< closes; not while an ask() is awaited

  /// One question, by UDP, then by TCP if the answer was truncated: each at most the timeout.
  net::Task<Heard> ask(std::string name, RecordType type);
  /// What is asked ends as stopped on a later turn. The loop runs on until the handles are closed. Idempotent.
  void close();
  const net::Address& server() const { return server_; }

 private:
  struct Impl;
  struct Asking;
  AresChannel(net::LoopRuntime& runtime, const net::Address& server);
  net::LoopRuntime& runtime_;
  net::Address server_;
  std::unique_ptr<Impl> impl_;  // null once closed
};

}  // namespace waypost::resolver
