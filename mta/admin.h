// mta/admin.h: the admin address: metrics and health by HTTP over TCP, for monitoring. It shows; it changes nothing,
// and nothing of any message is seen there. Threads of its own.
#pragma once
#include <functional>
#include <memory>
#include <utility>

#include "base/result.h"
#include "mta/http_server.h"
#include "mta/metrics.h"
#include "net/runtime.h"

namespace waypost::mta {

/// Both are called on threads of the server, and may block for as long as the daemon's loop takes to answer.
struct AdminSources {
  std::function<Result<DaemonFacts>()> facts;  ///< quick whatever the queue holds
  std::function<Result<Measures>()> measures;  ///< without what admin itself asks: the disk, the log
};

/// GET /metrics, GET /health: 200 "ok", or 503 with what has to be looked at, a line each. 404, 405 otherwise; 503
/// where the daemon does not answer.
ControlAnswer answer_admin(const ControlRequest& request, const AdminSources& sources);

class Admin {
 public:
  static constexpr unsigned kMaxConnections = 20;
  static constexpr std::size_t kMaxHeader = 8 * 1024;

  /// `socket`: one of net::LoopRuntime::listen().
  explicit Admin(std::shared_ptr<net::ListenSocket> socket) : socket_(std::move(socket)) {}

  /// Begins to answer. Once. Errors: io.
  Result<> start(AdminSources sources);

 private:
  std::shared_ptr<net::ListenSocket> socket_;
  HttpServer http_{"admin", {.connections = kMaxConnections, .body = 0, .header = kMaxHeader, .workers = 2}};
};

}  // namespace waypost::mta
