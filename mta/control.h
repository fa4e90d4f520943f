// mta/control.h: the control socket: HTTP on a Unix socket, for the tool. Threads of its own; nothing here is a loop's.
#pragma once
#include <memory>
#include <string>

#include "base/result.h"
#include "mta/control_api.h"
#include "mta/http_server.h"
#include "net/local_socket.h"

namespace waypost::mta {

class Control {
 public:
  static constexpr unsigned kMaxConnections = 100;
  static constexpr std::size_t kMaxBody = 1 << 20;
  static constexpr std::size_t kMaxHeader = 64 * 1024;  ///< a filter stands there

  /// Listens at `path` with mode 0660. What a daemon that was killed left there is removed.
  /// Errors: busy (somebody answers there), exists (it is no socket), invalid (too long a path), not_found, denied, io.
  static Result<std::unique_ptr<Control>> open(const std::string& path);
  /// Blocks until the requests under way are answered. Their backend must not wait for the thread that does this.
  ~Control();

  /// Begins to answer; `api` outlives it. Once. Errors: io.
  Result<> start(ControlApi& api);

  /// Takes the name away, so that no new client comes; those that are connected are answered on. Does not block.
  void unlink();

 private:
  explicit Control(std::unique_ptr<net::LocalSocket> socket) : socket_(std::move(socket)) {}

  std::unique_ptr<net::LocalSocket> socket_;
  HttpServer http_{"control", {.connections = kMaxConnections, .body = kMaxBody, .header = kMaxHeader}};
};

}  // namespace waypost::mta
