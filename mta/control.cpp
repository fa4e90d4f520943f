#include "mta/control.h"

#include <utility>

#include <microhttpd.h>
#include <sys/socket.h>

#include "base/event_log.h"
#include "base/thread_name.h"

namespace waypost::mta {

/// One request and its answer. The HTTP thread has it until it is suspended, then a worker until it is resumed.
struct Control::Exchange {
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
    Control& control = *static_cast<Control*>(of);
    auto* exchange = static_cast<Control::Exchange*>(*state);
    if (exchange == nullptr) {
      exchange = new Control::Exchange();
      *state = exchange;
      exchange->connection = connection;
      exchange->request.method = method;
      exchange->request.path = url;
      exchange->request.uid = peer_uid(connection);
      MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, take_parameter, &exchange->request);
      return MHD_YES;
    }
    if (*count > 0) {
      std::string& body = exchange->request.body;
      exchange->too_big = exchange->too_big || body.size() + *count > Control::kMaxBody;
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
      std::lock_guard lock(control.mutex_);
      // Nobody would resume it: the workers end with what waits now.
      if (control.stopping_) exchange->answer = answer_of(Error(Errc::cancelled, "the daemon stops"));
      exchange->handed_over = !control.stopping_;
      if (exchange->handed_over) {
        MHD_suspend_connection(connection);
        control.waiting_.push_back(exchange);
      }
    }
    if (!exchange->handed_over) return send(connection, exchange->answer);
    control.changed_.notify_one();
    return MHD_YES;
  }

  static void completed(void*, MHD_Connection*, void** state, MHD_RequestTerminationCode) {
    delete static_cast<Control::Exchange*>(*state);
    *state = nullptr;
  }
};

Result<std::unique_ptr<Control>> Control::open(const std::string& path) {
  Result<std::unique_ptr<net::LocalSocket>> socket = net::LocalSocket::open("control socket", path, 0660);
  if (!socket) return fail(socket.error());
  return std::unique_ptr<Control>(new Control(*std::move(socket)));
}

Result<> Control::start(ControlApi& api) {
  api_ = &api;
  for (unsigned i = 0; i < kWorkers; ++i)
    workers_.emplace_back([this] {
      name_thread("control");
      work();
    });
  http_ = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, 0,
                           nullptr, nullptr, &Callbacks::handle, this,                               //
                           MHD_OPTION_LISTEN_SOCKET, socket_->fd(),                                  //
                           MHD_OPTION_CONNECTION_LIMIT, kMaxConnections,                             //
                           MHD_OPTION_CONNECTION_MEMORY_LIMIT, static_cast<size_t>(2 * kMaxHeader),  //
                           MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds,                              //
                           MHD_OPTION_NOTIFY_COMPLETED, &Callbacks::completed, this,                 //
                           MHD_OPTION_END);
  if (http_ == nullptr) return fail(Errc::io, "control socket: the HTTP server does not start");
  return {};
}

void Control::work() {
  while (true) {
    Exchange* exchange = nullptr;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      exchange = waiting_.front();
      waiting_.pop_front();
    }
    exchange->answer = api_->handle(exchange->request);
    exchange->answered = true;
    MHD_resume_connection(exchange->connection);
  }
}

void Control::unlink() {
  const Result<> gone = socket_->unlink();
  if (!gone) log::warning(gone.error().what);
}

Control::~Control() {
  unlink();
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
