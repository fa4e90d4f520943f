#include "mta/http_server.h"

#include <utility>

#include <microhttpd.h>
#include <sys/socket.h>

#include "base/thread_name.h"

namespace waypost::mta {

/// One request and its answer. The HTTP thread has it until it is suspended, then a worker until it is resumed.
struct HttpServer::Exchange {
  MHD_Connection* connection = nullptr;
  ControlRequest request;
  ControlAnswer answer;
  bool too_big = false;
  bool handed_over = false;
  bool answered = false;
};

namespace {

MHD_Result take_parameter(void* request, MHD_ValueKind, const char* key, const char* value) {
  static_cast<ControlRequest*>(request)->query[key] = value == nullptr ? "" : value;
  return MHD_YES;
}

std::uint32_t peer_uid(MHD_Connection* connection) {
  const MHD_ConnectionInfo* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (info == nullptr || ::getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return ControlRequest().uid;
  return credentials.uid;
}

MHD_Result send(MHD_Connection* connection, ControlAnswer& answer) {
  MHD_Response* response =
      MHD_create_response_from_buffer(answer.body.size(), answer.body.data(), MHD_RESPMEM_MUST_COPY);
  if (response == nullptr) return MHD_NO;
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer.type.c_str());
  const MHD_Result queued = MHD_queue_response(connection, static_cast<unsigned>(answer.status), response);
  MHD_destroy_response(response);
  answer.body.clear();
  return queued;
}

}  // namespace

/// What libmicrohttpd calls, on its thread.
struct Callbacks {
  static MHD_Result handle(void* of, MHD_Connection* connection, const char* url, const char* method, const char*,
                           const char* octets, size_t* count, void** state) {
    HttpServer& server = *static_cast<HttpServer*>(of);
    auto* exchange = static_cast<HttpServer::Exchange*>(*state);
    if (exchange == nullptr) {
      exchange = new HttpServer::Exchange();
      *state = exchange;
      exchange->connection = connection;
      exchange->request.method = method;
      exchange->request.path = url;
      exchange->request.uid = peer_uid(connection);
      MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, take_parameter, &exchange->request);
      const bool reads =
          exchange->request.method == MHD_HTTP_METHOD_GET || exchange->request.method == MHD_HTTP_METHOD_HEAD;
      if (server.bounds_.body > 0 || reads) return MHD_YES;
      exchange->answer = {MHD_HTTP_METHOD_NOT_ALLOWED, "GET is meant\n", "text/plain"};
      return send(connection, exchange->answer);
    }
    if (*count > 0) {
      if (server.bounds_.body == 0) return MHD_NO;
      std::string& body = exchange->request.body;
      exchange->too_big = exchange->too_big || body.size() + *count > server.bounds_.body;
      if (exchange->too_big)
        body.clear();  // the rest is read and thrown away, so that the client hears why
      else
        body.append(octets, *count);
      *count = 0;
      return MHD_YES;
    }
    if (exchange->answered) return send(connection, exchange->answer);
    if (exchange->too_big) {
      exchange->answer = answer_of(Error(Errc::too_big, "a request may have 1 MiB"));
      return send(connection, exchange->answer);
    }
    if (exchange->handed_over) return MHD_YES;
    {
      std::lock_guard lock(server.mutex_);
      // Nobody would resume it: the workers end with what waits now.
      if (server.stopping_) exchange->answer = answer_of(Error(Errc::cancelled, "the daemon stops"));
      exchange->handed_over = !server.stopping_;
      if (exchange->handed_over) {
        MHD_suspend_connection(connection);
        server.waiting_.push_back(exchange);
      }
    }
    if (!exchange->handed_over) return send(connection, exchange->answer);
    server.changed_.notify_one();
    return MHD_YES;
  }

  static void completed(void*, MHD_Connection*, void** state, MHD_RequestTerminationCode) {
    delete static_cast<HttpServer::Exchange*>(*state);
    *state = nullptr;
  }
};

Result<> HttpServer::start(int socket, Handler handler) {
  handler_ = std::move(handler);
  for (unsigned i = 0; i < bounds_.workers; ++i)
    workers_.emplace_back([this] {
      name_thread(name_.c_str());
      work();
    });
  http_ = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, 0,
                           nullptr, nullptr, &Callbacks::handle, this,                                   //
                           MHD_OPTION_LISTEN_SOCKET, socket,                                             //
                           MHD_OPTION_CONNECTION_LIMIT, bounds_.connections,                             //
                           MHD_OPTION_CONNECTION_MEMORY_LIMIT, static_cast<size_t>(2 * bounds_.header),  //
                           MHD_OPTION_CONNECTION_TIMEOUT, bounds_.idle_seconds,                          //
                           MHD_OPTION_NOTIFY_COMPLETED, &Callbacks::completed, this,                     //
                           MHD_OPTION_END);
  if (http_ == nullptr) return fail(Errc::io, name_ + ": the HTTP server does not start");
  return {};
}

void HttpServer::work() {
  while (true) {
    Exchange* exchange = nullptr;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      exchange = waiting_.front();
      waiting_.pop_front();
    }
    exchange->answer = handler_(exchange->request);
    exchange->answered = true;
    MHD_resume_connection(exchange->connection);
  }
}

HttpServer::~HttpServer() {
  // No new request is read from here on; a suspended one has to be resumed before the server may end.
  if (http_ != nullptr) (void)MHD_quiesce_daemon(http_);
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  if (http_ != nullptr) MHD_stop_daemon(http_);
}

}  // namespace waypost::mta
