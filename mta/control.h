// mta/control.h: the control socket: HTTP on a Unix socket, for the tool. Threads of its own; nothing here is a loop's.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "mta/control_api.h"
#include "net/local_socket.h"

struct MHD_Daemon;

namespace waypost::mta {

/// One thread speaks HTTP with all clients, so that half a request holds nothing but its descriptor; few workers run
/// the requests that are whole. What a client may hold is bounded: connections, header and body octets, idle time.
class Control {
 public:
  static constexpr unsigned kMaxConnections = 100;
  static constexpr std::size_t kMaxBody = 1 << 20;
  static constexpr std::size_t kMaxHeader = 64 * 1024;  ///< request line and header together; a filter stands there
  /// Of a client that is not waiting for an answer: so that those who hold all places with half requests hold them
  /// briefly.
  static constexpr unsigned kIdleSeconds = 10;
  static constexpr unsigned kWorkers = 4;

  /// Listens at `path` with mode 0660. What a daemon that was killed left there is removed.
  /// Errors: busy (somebody answers there), exists (it is no socket), invalid (too long a path), not_found, denied, io.
  static Result<std::unique_ptr<Control>> open(const std::string& path);
  /// Blocks until the requests under way are answered. Their backend must not wait for the thread that does this.
  ~Control();

  /// Begins to answer; `api` outlives it. Once. Errors: io.
  Result<> start(ControlApi& api);

  /// Takes the name away, so that no new client comes; those that are connected are answered on. Does not block.
  void unlink();

  struct Exchange;

 private:
  explicit Control(std::unique_ptr<net::LocalSocket> socket) : socket_(std::move(socket)) {}
  void work();
  friend struct Callbacks;

  std::unique_ptr<net::LocalSocket> socket_;
  ControlApi* api_ = nullptr;
  MHD_Daemon* http_ = nullptr;
  std::mutex mutex_;  ///< of waiting_ and stopping_: the HTTP thread puts in, workers take out
  std::condition_variable changed_;
  std::deque<Exchange*> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace waypost::mta
