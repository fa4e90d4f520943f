#include "net/tcp_stream.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <utility>
#include <vector>

#include <netinet/tcp.h>
#include <unistd.h>

#include "net/sockaddr.h"
#include "net/uv_runtime.h"

namespace waypost::net {

namespace {

constexpr Duration kLingerTime = std::chrono::seconds(1);
constexpr std::size_t kLingerOctets = 1 << 20;
constexpr std::size_t kFewPieces = 16;
constexpr Duration kLocalPause = std::chrono::milliseconds(50);

struct Reading;
struct Writing;
struct Connecting;

/// What libuv holds until its close callbacks: a stream may be destroyed right after close(). Statuses are libuv's
/// (-errno).
struct Connection {
  explicit Connection(UvRuntime& on) : runtime(on) {
    runtime.handle_opened();
    uv_tcp_init(runtime.loop(), &tcp);
    uv_timer_init(runtime.loop(), &timer);
    tcp.data = timer.data = this;
  }
  ~Connection() { runtime.handle_closed(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  uv_stream_t* stream() { return reinterpret_cast<uv_stream_t*>(&tcp); }
  int fd() const {
    uv_os_fd_t descriptor = -1;
    uv_fileno(reinterpret_cast<const uv_handle_t*>(&tcp), &descriptor);
    return descriptor;
  }

  bool read_now(Reading& next);
  bool read_later(Reading& next);
  void finish_read(ssize_t result);
  bool write_now(std::span<const std::string_view> pieces, Writing& next);
  void cancel_connect();
  void arm(TimePoint deadline);
  void on_timer();
  void on_read(ssize_t count);
  void close();
  void linger();
  void shut();

  UvRuntime& runtime;
  uv_tcp_t tcp{};
  uv_timer_t timer{};
  TimePoint armed = TimePoint::max();
  Reading* reading = nullptr;
  Writing* writing = nullptr;
  Connecting* connecting = nullptr;
  int handles = 2;
  int broken = 0;         ///< the status that ended reading
  bool watching = false;  ///< uv_read_start() is in force; it stays so from one read to the next
  bool unread = false;    ///< octets wait in the kernel, and we do not watch
  bool ended = false;     ///< the peer has ended its stream
  bool closed = false;    ///< by us
  bool lingering = false;
  bool shutting = false;  ///< uv_close() was called
  std::size_t lingered = 0;
};

/// A read that is awaited. It lives in the frame of read(), as what follows does in its own.
struct Reading {
  Reading(Connection& of, std::span<char> space, TimePoint until) : connection(of), into(space), deadline(until) {}
  Connection& connection;
  std::span<char> into;
  TimePoint deadline;
  ssize_t result = 0;
  std::coroutine_handle<> waiting;

  bool await_ready() { return connection.read_now(*this); }
  bool await_suspend(std::coroutine_handle<> suspended) {
    waiting = suspended;
    return connection.read_later(*this);
  }
  void await_resume() const noexcept {}
};

struct Writing {
  Writing(Connection& of, std::span<const std::string_view> what, TimePoint until)
      : connection(of), pieces(what), deadline(until) {
    request.data = this;
  }
  Connection& connection;
  std::span<const std::string_view> pieces;
  TimePoint deadline;
  int status = 0;
  uv_write_t request{};
  std::coroutine_handle<> waiting;

  bool await_ready() { return connection.write_now(pieces, *this); }
  void await_suspend(std::coroutine_handle<> suspended) {
    waiting = suspended;
    connection.writing = this;
    connection.arm(deadline);
  }
  void await_resume() const noexcept {}

  static void on_written(uv_write_t* request, int status) noexcept {
    auto* self = static_cast<Writing*>(request->data);
    self->connection.writing = nullptr;
    if (self->status == 0) self->status = status;
    self->waiting.resume();
  }
};

struct Connecting {
  Connecting(Connection& of, const Address& remote, TimePoint until)
      : connection(of), to(to_socket_address(remote)), deadline(until) {
    request.data = this;
  }
  Connection& connection;
  SocketAddress to;
  TimePoint deadline;
  int status = 0;
  uv_connect_t request{};
  std::coroutine_handle<> waiting;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> suspended) {
    waiting = suspended;
    status = uv_tcp_connect(&request, &connection.tcp, to.get(), on_connected);
    if (status != 0) return false;
    connection.connecting = this;
    connection.arm(deadline);
    return true;
  }
  void await_resume() const noexcept {}

  static void on_connected(uv_connect_t* request, int status) noexcept {
    auto* self = static_cast<Connecting*>(request->data);
    self->connection.connecting = nullptr;
    if (self->status == 0) self->status = status;
    self->waiting.resume();
  }
};

/// A read without a system call that could find nothing: we ask the kernel only where it has told of octets.
/// True if `next` is done.
bool Connection::read_now(Reading& next) {
  assert(reading == nullptr && !next.into.empty());
  if (closed) {
    next.result = UV_ECANCELED;
    return true;
  }
  if (unread) {
    ssize_t count = ::recv(fd(), next.into.data(), next.into.size(), MSG_DONTWAIT);
    unread = count == static_cast<ssize_t>(next.into.size());
    if (count > 0) {
      next.result = count;
      return true;
    }
    if (count == 0) ended = true;
    if (count < 0 && errno != EAGAIN && errno != EINTR) broken = -errno;
  }
  next.result = broken;
  if (ended || broken != 0) return true;
  if (next.deadline > runtime.now()) return false;
  next.result = UV_ETIMEDOUT;
  return true;
}

/// False if it cannot be waited for.
bool Connection::read_later(Reading& next) {
  if (!watching) {
    auto alloc = [](uv_handle_t* handle, std::size_t, uv_buf_t* into) noexcept {
      static thread_local std::array<char, 16384> thrown_away;
      auto* self = static_cast<Connection*>(handle->data);
      if (self->lingering) {
        *into = uv_buf_init(thrown_away.data(), thrown_away.size());
      } else if (self->reading != nullptr) {
        *into = uv_buf_init(self->reading->into.data(), static_cast<unsigned>(self->reading->into.size()));
      } else {
        *into = uv_buf_init(nullptr, 0);  // comes back as UV_ENOBUFS
      }
    };
    auto on_read = [](uv_stream_t* stream, ssize_t count, const uv_buf_t*) noexcept {
      static_cast<Connection*>(stream->data)->on_read(count);
    };
    int status = uv_read_start(stream(), alloc, on_read);
    if (status != 0) {
      next.result = broken = status;
      return false;
    }
    watching = true;
  }
  reading = &next;
  arm(next.deadline);
  return true;
}

void Connection::on_read(ssize_t count) {
  if (count == 0) return;
  if (lingering) {
    lingered += static_cast<std::size_t>(std::max<ssize_t>(count, 0));
    if (count < 0 || lingered > kLingerOctets) shut();
    return;
  }
  if (count == UV_ENOBUFS) {
    // Nobody waits. What has come stays with the kernel, which is what slows the peer down.
    uv_read_stop(stream());
    watching = false;
    unread = true;
    return;
  }
  if (count < 0) {
    watching = false;
    uv_read_stop(stream());
    if (count == UV_EOF) {
      ended = true;
      count = 0;
    } else {
      broken = static_cast<int>(count);
    }
  }
  if (reading != nullptr) finish_read(count);
}

/// The coroutine may close or destroy the stream: nothing is touched after this.
void Connection::finish_read(ssize_t result) {
  Reading* done = std::exchange(reading, nullptr);
  done->result = result;
  done->waiting.resume();
}

/// Most writes fit into the socket's buffer: one system call, no request. True if `next` is done.
bool Connection::write_now(std::span<const std::string_view> pieces, Writing& next) {
  assert(writing == nullptr);
  if (closed) {
    next.status = UV_ECANCELED;
    return true;
  }
  std::array<uv_buf_t, kFewPieces> few;
  std::vector<uv_buf_t> many(pieces.size() > few.size() ? pieces.size() : 0);
  uv_buf_t* rest = many.empty() ? few.data() : many.data();
  unsigned count = 0;
  for (std::string_view piece : pieces) {
    if (piece.empty()) continue;
    rest[count++] = uv_buf_init(const_cast<char*>(piece.data()), static_cast<unsigned>(piece.size()));
  }
  if (count == 0) return true;

  int sent = uv_try_write(stream(), rest, count);
  if (sent < 0 && sent != UV_EAGAIN) {
    next.status = sent;
    return true;
  }
  auto octets = static_cast<std::size_t>(std::max(sent, 0));
  while (count != 0 && octets >= rest->len) {
    octets -= rest->len;
    ++rest;
    --count;
  }
  if (count == 0) return true;
  rest->base += octets;
  rest->len -= octets;
  next.status = uv_write(&next.request, stream(), rest, count, Writing::on_written);
  return next.status != 0;
}

/// Also from inside request_stop(): the coroutine goes on when libuv calls back, on a later turn.
void Connection::cancel_connect() {
  if (connecting == nullptr || connecting->status != 0) return;
  connecting->status = UV_ECANCELED;
  shut();
}

/// One timer for all deadlines. It is left armed when an operation is done in time: the next deadline is mostly later,
/// and when the timer fires it is armed again for what is pending then.
void Connection::arm(TimePoint deadline) {
  if (deadline >= armed || shutting) return;
  armed = deadline;
  auto fired = [](uv_timer_t* fired_timer) noexcept { static_cast<Connection*>(fired_timer->data)->on_timer(); };
  Duration wait = std::max(deadline - runtime.now(), Duration(0));
  uv_timer_start(&timer, fired, static_cast<std::uint64_t>(wait.count()), 0);
}

void Connection::on_timer() {
  armed = TimePoint::max();
  TimePoint now = runtime.now();
  if (lingering) {
    shut();
  } else if (connecting != nullptr) {
    connecting->status = UV_ETIMEDOUT;
    shut();
  } else if (writing != nullptr && writing->deadline <= now) {
    // libuv has the octets until it calls back, and gives them up only for a close.
    writing->status = UV_ETIMEDOUT;
    close();
  } else {
    if (writing != nullptr) arm(writing->deadline);
    if (reading == nullptr) return;
    if (reading->deadline > now) {
      arm(reading->deadline);
    } else {
      finish_read(UV_ETIMEDOUT);
    }
  }
}

void Connection::close() {
  if (closed) return;
  closed = true;
  if (reading != nullptr) {
    reading->result = UV_ECANCELED;
    runtime.resume_later(std::exchange(reading, nullptr)->waiting);
  }
  // A close with octets unread is a reset, and destroys our last reply on its way (RFC 1122 §4.2.2.13).
  if (unread && !ended && broken == 0 && writing == nullptr) {
    linger();
  } else {
    shut();
  }
}

/// Ends our direction, and throws away what the peer still sends, for a while.
void Connection::linger() {
  ::shutdown(fd(), SHUT_WR);
  lingering = true;
  armed = TimePoint::max();
  Reading nothing(*this, {}, runtime.now() + kLingerTime);
  bool watched = read_later(nothing);
  reading = nullptr;
  if (!watched) shut();
}

void Connection::shut() {
  if (shutting) return;
  shutting = true;
  closed = true;
  auto freed = [](uv_handle_t* handle) noexcept {
    auto* self = static_cast<Connection*>(handle->data);
    if (--self->handles == 0) delete self;
  };
  uv_close(reinterpret_cast<uv_handle_t*>(&tcp), freed);  // calls back a pending write or connect first
  uv_close(reinterpret_cast<uv_handle_t*>(&timer), freed);
}

class TcpStream : public Stream {
 public:
  TcpStream(Connection* connection, const Address& remote, std::optional<Address> local)
      : connection_(connection), remote_(remote), local_(local) {}
  ~TcpStream() override { close(); }

  Task<Result<std::size_t>> read(std::span<char> into, TimePoint deadline) override {
    if (connection_ == nullptr) co_return fail(socket_error("read from", remote_, ECANCELED));
    Reading reading(*connection_, into, deadline);
    co_await reading;
    if (reading.result < 0) co_return fail(socket_error("read from", remote_, static_cast<int>(reading.result)));
    co_return static_cast<std::size_t>(reading.result);
  }

  Task<Result<>> write(std::span<const std::string_view> pieces, TimePoint deadline) override {
    if (connection_ == nullptr) co_return fail(socket_error("write to", remote_, ECANCELED));
    Writing writing(*connection_, pieces, deadline);
    co_await writing;
    if (writing.status == UV_ETIMEDOUT) close();
    if (writing.status != 0) co_return fail(socket_error("write to", remote_, writing.status));
    co_return Result<>();
  }

  void try_write(std::string_view octets) override {
    if (connection_ == nullptr || connection_->writing != nullptr || octets.empty()) return;
    uv_buf_t piece = uv_buf_init(const_cast<char*>(octets.data()), static_cast<unsigned>(octets.size()));
    int sent = uv_try_write(connection_->stream(), &piece, 1);
    (void)sent;  // as Stream says
  }

  void close() override {
    if (connection_ != nullptr) std::exchange(connection_, nullptr)->close();
  }

  const Address& local() const override {
    if (!local_) {
      SocketAddress name;
      bool known = connection_ != nullptr && ::getsockname(connection_->fd(), name.get(), &name.size) == 0;
      local_ = known ? from_socket_address(name) : Address();
    }
    return *local_;
  }
  const Address& remote() const override { return remote_; }

 private:
  Connection* connection_;  ///< null once it is closed: it frees itself
  Address remote_;
  mutable std::optional<Address> local_;  ///< a call to the kernel that few sessions need
};

Result<Connection*> open_connection(UvRuntime& runtime, int fd, const Address& remote) {
  auto* connection = new Connection(runtime);
  int status = uv_tcp_open(&connection->tcp, fd);
  if (status == 0) return connection;
  ::close(fd);
  connection->shut();
  return fail(socket_error("open connection to", remote, status));
}

/// The codes that Runtime::connect promises. What is not known here is a peer that cannot be reached.
Error connect_error(const Address& remote, int status) {
  Error error = socket_error("connect to", remote, status);
  if (error.code == Errc::exists) error.code = Errc::busy;  // no local port is left
  if (error.code == Errc::closed) error.code = Errc::refused;
  if (error.code == Errc::denied || error.code == Errc::io) error.code = Errc::unreachable;  // a packet filter of ours
  return error;
}

/// A local socket connects at once, or never, or its line is full: then it is tried again.
Task<Result<int>> connect_local(UvRuntime& runtime, Address remote, TimePoint deadline, std::stop_token stop) {
  const std::optional<sockaddr_un> to = to_local_address(remote);
  if (!to) co_return fail(connect_error(remote, ENAMETOOLONG));
  int fd = stream_socket(remote);
  if (fd < 0) co_return fail(connect_error(remote, errno));
  for (;;) {
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&*to), sizeof *to) == 0) co_return fd;
    int why = errno;
    bool waits = why == EAGAIN && runtime.now() < deadline;
    if (waits) {
      waits = co_await runtime.sleep_for(kLocalPause, stop);
      if (!waits) why = ECANCELED;
    } else if (why == EAGAIN) {
      why = ETIMEDOUT;
    }
    if (waits) continue;
    ::close(fd);
    co_return fail(connect_error(remote, why));
  }
}

Result<int> socket_from(const Address& remote, const std::optional<Address>& source) {
  if (source && source->family != remote.family) {
    return fail(Errc::invalid, "connect to " + remote.text() + " from " + source->text() + ": not of the same family");
  }
  int fd = stream_socket(remote);
  if (fd < 0) return fail(connect_error(remote, errno));
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (!source) return fd;

  // The port is then chosen at connect(), when the peer is known too: more than 64,000 connections from one address.
  if (source->port == 0) ::setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  SocketAddress from = to_socket_address(*source);
  if (::bind(fd, from.get(), from.size) == 0) return fd;
  const bool is_not_here = errno == EADDRNOTAVAIL;
  Error error = connect_error(remote, errno);
  if (is_not_here) error.code = Errc::invalid;
  ::close(fd);
  error.what += " (from " + source->text() + ")";
  return fail(std::move(error));
}

}  // namespace

Result<std::unique_ptr<Stream>> adopt_tcp(UvRuntime& runtime, int fd, const Address& remote,
                                          std::optional<Address> local) {
  Result<Connection*> connection = open_connection(runtime, fd, remote);
  if (!connection) return fail(std::move(connection.error()));
  return std::make_unique<TcpStream>(*connection, remote, local);
}

Task<Result<std::unique_ptr<Stream>>> connect_tcp(UvRuntime& runtime, Address remote, std::optional<Address> source,
                                                  TimePoint deadline, std::stop_token stop) {
  if (stop.stop_requested()) co_return fail(connect_error(remote, ECANCELED));
  if (remote.is_local()) {
    Result<int> local = co_await connect_local(runtime, remote, deadline, stop);
    if (!local) co_return fail(std::move(local.error()));
    co_return adopt_tcp(runtime, *local, remote, std::nullopt);
  }
  Result<int> fd = socket_from(remote, source);
  if (!fd) co_return fail(std::move(fd.error()));
  Result<Connection*> opened = open_connection(runtime, *fd, remote);
  if (!opened) co_return fail(std::move(opened.error()));
  Connection& connection = **opened;

  Connecting connecting(connection, remote, deadline);
  {
    auto cancel = [&connection] { connection.cancel_connect(); };
    std::stop_callback on_stop(stop, cancel);
    co_await connecting;
  }
  if (connecting.status != 0) {
    connection.shut();
    co_return fail(connect_error(remote, connecting.status));
  }
  std::optional<Address> local;
  co_return std::make_unique<TcpStream>(&connection, remote, local);
}

}  // namespace waypost::net
