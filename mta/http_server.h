// mta/http_server.h: HTTP on a socket that listens already, for the control socket and the admin address. Threads of
// its own; nothing here is a loop's.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "mta/control_api.h"

struct MHD_Daemon;

namespace waypost::mta {

/// One thread speaks HTTP with all clients, so that half a request holds nothing but its descriptor; few workers run
/// the requests that are whole. What a client may hold is bounded: connections, header and body octets, idle time.
class HttpServer {
 public:
  struct Bounds {
    unsigned connections = 100;
    std::size_t body = 1 << 20;      ///< 0: requests have none, and only GET and HEAD are answered
    std::size_t header = 64 * 1024;  ///< request line and header together
    /// Of a client that is not waiting for an answer: so that those who hold all places with half requests hold them
    /// briefly.
    unsigned idle_seconds = 10;
    unsigned workers = 4;
  };
  /// Called by the workers, several at once. Must not throw.
  using Handler = std::function<ControlAnswer(const ControlRequest&)>;

  /// `name`: of threads, and in errors.
  HttpServer(std::string name, Bounds bounds) : name_(std::move(name)), bounds_(bounds) {}
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  /// Blocks until the requests under way are answered. What they wait for must not wait for the thread that does this.
  ~HttpServer();

  /// Begins to answer who connects to the socket, which outlives it. Once. Errors: io.
  Result<> start(int socket, Handler handler);

  struct Exchange;

 private:
  void work();
  friend struct Callbacks;

  const std::string name_;
  const Bounds bounds_;
  Handler handler_;
  MHD_Daemon* http_ = nullptr;
  std::mutex mutex_;  ///< of waiting_ and stopping_: the HTTP thread puts in, workers take out
  std::condition_variable changed_;
  std::deque<Exchange*> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace waypost::mta
