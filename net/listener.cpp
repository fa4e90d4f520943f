#include "net/listener.h"

#include <cassert>
#include <cerrno>
#include <limits>
#include <string>
#include <utility>

#include <fcntl.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "net/local_socket.h"
#include "net/sockaddr.h"
#include "net/tcp_stream.h"
#include "net/uv_runtime.h"

namespace waypost::net {

namespace {

constexpr int kBacklog = 1024;  // the system caps it at net.core.somaxconn

class TcpListenSocket : public ListenSocket {
 public:
  explicit TcpListenSocket(int fd) : fd_(fd) {}
  explicit TcpListenSocket(std::unique_ptr<LocalSocket> named)
      : named_(std::move(named)), fd_(named_->fd()), local_(Address::local(named_->path())) {}
  ~TcpListenSocket() override {
    if (!named_) ::close(fd_);
  }
  TcpListenSocket(const TcpListenSocket&) = delete;
  TcpListenSocket& operator=(const TcpListenSocket&) = delete;
  const Address& local() const override { return local_; }
  void set_local(const Address& local) { local_ = local; }
  int descriptor() const override { return fd_; }

 private:
  std::unique_ptr<LocalSocket> named_;  // of a local one: the descriptor is its
  int fd_;
  Address local_;
};

/// Who is at the other end of what was accepted from a local socket: who it was when it connected, whatever it became.
Address peer_of(int fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  const bool known = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0;
  return Address::of_user(known ? credentials.uid : std::numeric_limits<std::uint32_t>::max());
}

/// An accept() that waits. Lives in its frame.
struct Accepting {
  int fd = -1;
  int error = 0;
  SocketAddress from;
  std::coroutine_handle<> waiting;
};

/// Watches a duplicate of the socket. One connection is taken for each event, so that of several loops that share the
/// socket the one that is idle takes the next. Freed by the close callback.
struct Watch {
  explicit Watch(UvRuntime& on) : runtime(on) { runtime.handle_opened(); }
  ~Watch() {
    ::close(fd);
    runtime.handle_closed();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  static void on_event(uv_poll_t* poll, int, int) noexcept { static_cast<Watch*>(poll->data)->take(); }

  void take() {
    if (accepting == nullptr) {
      // Nobody waits: the connection stays with the kernel, or goes to another loop.
      uv_poll_stop(&poll);
      watching = false;
      return;
    }
    accepting->from = SocketAddress();
    int accepted = ::accept4(fd, accepting->from.get(), &accepting->from.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted < 0) {
      bool ours = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
      // Another loop was faster, or the peer has gone, or the network told of an old error (accept(2)): wait on.
      if (!ours) return;
      accepting->error = errno;
    }
    accepting->fd = accepted;
    Accepting* done = std::exchange(accepting, nullptr);
    done->waiting.resume();
  }

  void await(Accepting& next) {
    accepting = &next;
    if (watching) return;
    int status = uv_poll_start(&poll, UV_READABLE, on_event);
    assert(status == 0);
    watching = status == 0;
  }

  UvRuntime& runtime;
  uv_poll_t poll{};
  int fd = -1;
  bool watching = false;
  Accepting* accepting = nullptr;
};

struct Wait {
  Wait(Watch& on, Accepting& what) : watch(on), accepting(what) {}
  Watch& watch;
  Accepting& accepting;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> suspended) const noexcept {
    accepting.waiting = suspended;
    watch.await(accepting);
  }
  void await_resume() const noexcept {}
};

class TcpListener : public Listener {
 public:
  TcpListener(UvRuntime& runtime, std::shared_ptr<TcpListenSocket> socket, Watch* watch)
      : runtime_(runtime), socket_(std::move(socket)), name_(socket_->local()), watch_(watch) {
    // Connections to the wildcard have a local address each, which is asked for only when somebody wants it.
    if (!name_.is_wildcard()) local_ = name_;
  }
  ~TcpListener() override { close(); }

  Task<Result<std::unique_ptr<Stream>>> accept() override {
    if (watch_ == nullptr) co_return fail(socket_error("accept on", name_, ECANCELED));
    assert(watch_->accepting == nullptr);
    Accepting accepting;
    Wait wait(*watch_, accepting);
    co_await wait;
    if (accepting.error != 0) co_return fail(socket_error("accept on", name_, accepting.error));
    const Address from = name_.is_local() ? peer_of(accepting.fd) : from_socket_address(accepting.from);
    co_return adopt_tcp(runtime_, accepting.fd, from, local_);
  }

  void close() override {
    if (watch_ == nullptr) return;
    Watch* watch = std::exchange(watch_, nullptr);
    socket_.reset();  // the last one of all loops that share it takes away the name of a local one
    if (watch->accepting != nullptr) {
      watch->accepting->error = ECANCELED;
      runtime_.resume_later(std::exchange(watch->accepting, nullptr)->waiting);
    }
    auto freed = [](uv_handle_t* handle) { delete static_cast<Watch*>(handle->data); };
    uv_close(reinterpret_cast<uv_handle_t*>(&watch->poll), freed);
  }

 private:
  UvRuntime& runtime_;
  std::shared_ptr<TcpListenSocket> socket_;
  const Address name_;
  std::optional<Address> local_;
  Watch* watch_;
};

}  // namespace

Result<std::shared_ptr<ListenSocket>> listen_tcp(const Address& address) {
  if (address.is_local()) {
    Result<std::unique_ptr<LocalSocket>> named = LocalSocket::open("socket", address.path, 0666);
    if (!named) return fail(named.error());
    return std::make_shared<TcpListenSocket>(*std::move(named));
  }
  const char* what = "listen on";
  int fd = stream_socket(address);
  if (fd < 0) return fail(socket_error(what, address, errno));
  auto socket = std::make_shared<TcpListenSocket>(fd);

  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.family == 6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // what is accepted inherits it: no call per connection
  SocketAddress name = to_socket_address(address);
  if (::bind(fd, name.get(), name.size) != 0) return fail(socket_error(what, address, errno));
  if (::listen(fd, kBacklog) != 0) return fail(socket_error(what, address, errno));

  SocketAddress bound;
  if (::getsockname(fd, bound.get(), &bound.size) != 0) return fail(socket_error(what, address, errno));
  socket->set_local(from_socket_address(bound));
  return socket;
}

Result<std::shared_ptr<ListenSocket>> adopt_listening_tcp(int descriptor) {
  int listens = 0;
  socklen_t size = sizeof listens;
  SocketAddress bound;
  const bool is_listening = ::getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0 &&
                            ::getsockname(descriptor, bound.get(), &bound.size) == 0 &&
                            (bound.storage.ss_family == AF_INET || bound.storage.ss_family == AF_INET6);
  if (!is_listening)
    return fail(Errc::invalid, "descriptor " + std::to_string(descriptor) + " is no TCP socket that listens");

  const int on = 1;
  ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK);
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  auto socket = std::make_shared<TcpListenSocket>(descriptor);
  socket->set_local(from_socket_address(bound));
  return socket;
}

Result<std::unique_ptr<Listener>> accept_tcp(UvRuntime& runtime, std::shared_ptr<ListenSocket> socket) {
  auto own = std::dynamic_pointer_cast<TcpListenSocket>(std::move(socket));
  if (!own) return fail(Errc::internal, "accept on a socket of another runtime");

  auto watch = std::make_unique<Watch>(runtime);
  watch->fd = ::fcntl(own->descriptor(), F_DUPFD_CLOEXEC, 0);
  if (watch->fd < 0) return fail(socket_error("accept on", own->local(), errno));
  watch->poll.data = watch.get();
  int status = uv_poll_init(runtime.loop(), &watch->poll, watch->fd);
  if (status != 0) return fail(socket_error("accept on", own->local(), status));
  return std::make_unique<TcpListener>(runtime, std::move(own), watch.release());
}

}  // namespace waypost::net
