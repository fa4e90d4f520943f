#include "resolver/ares_channel.h"

// Newer versions of c-ares have other names for what version 1.18 offers; the old ones stay.
#define CARES_NO_DEPRECATED
#include <algorithm>
#include <map>
#include <mutex>

#include <ares.h>
#include <arpa/nameser.h>
#include <sys/time.h>
#include <uv.h>

namespace waypost::resolver {

namespace {

constexpr int kUdpOctets = 1232;  // fits any path unfragmented (dnsflagday.net/2020)

uv_handle_t* as_handle(uv_poll_t* poll) {
  return reinterpret_cast<uv_handle_t*>(poll);
}
uv_handle_t* as_handle(uv_timer_t* timer) {
  return reinterpret_cast<uv_handle_t*>(timer);
}

/// libuv has a handle until this is called.
template <class Handle>
void free_closed(uv_handle_t* handle) {
  delete reinterpret_cast<Handle*>(handle);
}

bool init_library() {
  static std::once_flag once;
  static int status = ARES_SUCCESS;
  std::call_once(once, [] { status = ares_library_init(ARES_LIB_INIT_ALL); });
  return status == ARES_SUCCESS;
}

Heard heard_without_message(int status) {
  Heard heard;
  switch (status) {
    case ARES_ENOTFOUND:  // c-ares sends no question for some names (RFC 7686)
    case ARES_EBADNAME:
      heard.kind = Heard::Kind::no_name;
      break;
    case ARES_ECONNREFUSED:
      heard.kind = Heard::Kind::refused;
      heard.trouble = "could not reach";
      break;
    case ARES_ETIMEOUT:
      heard.kind = Heard::Kind::silent;
      heard.trouble = "no answer from";
      break;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
      heard.kind = Heard::Kind::stopped;
      break;
    default:
      heard.kind = Heard::Kind::failed;
      heard.trouble = std::string(ares_strerror(status)) + ", asking";
  }
  return heard;
}

}  // namespace

/// The c-ares channel with the handles that drive it. No exception goes through C code: out of memory here ends the
/// process.
struct AresChannel::Impl {
  uv_loop_t* loop = nullptr;
  ares_channel channel = nullptr;
  uv_timer_t* timer = nullptr;
  std::map<ares_socket_t, uv_poll_t*> polls;

  ~Impl() {
    if (channel != nullptr) ares_destroy(channel);  // calls on_answer() and on_socket_state() for what is open
    if (timer != nullptr) uv_close(as_handle(timer), free_closed<uv_timer_t>);
  }

  /// c-ares counts its timeouts only when it is called.
  void set_timer() {
    timeval left{};
    timeval* next = ares_timeout(channel, nullptr, &left);
    if (next == nullptr) {
      uv_timer_stop(timer);
      return;
    }
    auto milliseconds =
        static_cast<std::uint64_t>(next->tv_sec) * 1000 + static_cast<std::uint64_t>(next->tv_usec) / 1000;
    uv_timer_start(timer, on_timer, milliseconds + 1, 0);
  }

  void process(ares_socket_t readable, ares_socket_t writable) {
    ares_process_fd(channel, readable, writable);
    set_timer();
  }

  static void on_timer(uv_timer_t* timer) noexcept {
    static_cast<Impl*>(timer->data)->process(ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  }

  static void on_poll(uv_poll_t* poll, int status, int events) noexcept {
    auto* self = static_cast<Impl*>(poll->data);
    auto found = std::find_if(self->polls.begin(), self->polls.end(),
                              [poll](const auto& entry) { return entry.second == poll; });
    if (found == self->polls.end()) return;
    ares_socket_t socket = found->first;
    // An error of the socket is what c-ares finds when it reads or writes.
    bool readable = status < 0 || (events & UV_READABLE) != 0;
    bool writable = status < 0 || (events & UV_WRITABLE) != 0;
    self->process(readable ? socket : ARES_SOCKET_BAD, writable ? socket : ARES_SOCKET_BAD);
  }

  /// c-ares says what it waits for on a socket; neither: it closes it right after this.
  static void on_socket_state(void* data, ares_socket_t socket, int readable, int writable) noexcept {
    auto* self = static_cast<Impl*>(data);
    auto found = self->polls.find(socket);
    if (readable == 0 && writable == 0) {
      if (found == self->polls.end()) return;
      uv_close(as_handle(found->second), free_closed<uv_poll_t>);
      self->polls.erase(found);
      return;
    }
    if (found == self->polls.end()) {
      auto* poll = new uv_poll_t{};
      if (uv_poll_init(self->loop, poll, socket) != 0) {
        delete poll;  // the question then ends by its timeout
        return;
      }
      poll->data = self;
      found = self->polls.emplace(socket, poll).first;
    }
    int events = (readable != 0 ? UV_READABLE : 0) | (writable != 0 ? UV_WRITABLE : 0);
    uv_poll_start(found->second, events, on_poll);
  }
};

/// The awaiter of one question. It lives in the frame of ask() until c-ares has called back.
struct AresChannel::Asking {
  AresChannel& owner;
  std::string name;
  RecordType type;
  Heard heard;
  std::coroutine_handle<> waiting;

  bool await_ready() const noexcept { return owner.impl_ == nullptr; }
  void await_suspend(std::coroutine_handle<> suspended) {
    waiting = suspended;
    Impl& impl = *owner.impl_;
    ares_query(impl.channel, name.c_str(), ns_c_in, static_cast<int>(type), on_answer, this);
    impl.set_timer();  // this frame stands even if on_answer() was called: it is resumed later
  }
  Heard await_resume() { return std::move(heard); }

  static void on_answer(void* data, int status, int /*timeouts*/, unsigned char* octets, int count) noexcept {
    auto* self = static_cast<Asking*>(data);
    if (octets != nullptr && count > 0) {
      self->heard.kind = Heard::Kind::message;
      self->heard.message.assign(octets, octets + count);
    } else {
      self->heard = heard_without_message(status);
    }
    self->owner.runtime_.resume_later(self->waiting);
  }
};

AresChannel::AresChannel(net::LoopRuntime& runtime, const net::Address& server) : runtime_(runtime), server_(server) {}

AresChannel::~AresChannel() {
  close();
}

Result<std::unique_ptr<AresChannel>> AresChannel::create(net::LoopRuntime& runtime, const net::Address& server,
                                                         net::Duration timeout) {
  if (!init_library()) return fail(Errc::internal, "could not set c-ares up");
  auto impl = std::make_unique<Impl>();
  impl->loop = static_cast<uv_loop_t*>(runtime.native());

  ares_options options{};
  // NOCHECKRESP: SERVFAIL and REFUSED are answers, and come to us. NOSEARCH, NOALIASES: the name as given.
  options.flags = ARES_FLAG_NOCHECKRESP | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS;
  options.ednspsz = kUdpOctets;
  options.timeout = static_cast<int>(std::clamp<std::int64_t>(timeout.count(), 1, 60'000));
  options.tries = 1;
  options.ndots = 0;
  options.sock_state_cb = Impl::on_socket_state;
  options.sock_state_cb_data = impl.get();
  std::string no_file = "/dev/null";  // the servers come from us, and so does all else
  options.resolvconf_path = no_file.data();
  int mask = ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
             ARES_OPT_DOMAINS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_NOROTATE | ARES_OPT_RESOLVCONF;
  int status = ares_init_options(&impl->channel, &options, mask);
  if (status != ARES_SUCCESS) {
    impl->channel = nullptr;
    return fail(Errc::internal, std::string("c-ares: ") + ares_strerror(status));
  }
  status = ares_set_servers_ports_csv(impl->channel, server.text().c_str());
  if (status != ARES_SUCCESS) return fail(Errc::invalid, "name server " + server.text() + ": " + ares_strerror(status));

  impl->timer = new uv_timer_t{};
  if (uv_timer_init(impl->loop, impl->timer) != 0) {
    delete impl->timer;
    impl->timer = nullptr;
    return fail(Errc::internal, "could not make a timer");
  }
  impl->timer->data = impl.get();
  std::unique_ptr<AresChannel> channel(new AresChannel(runtime, server));
  channel->impl_ = std::move(impl);
  return channel;
}

net::Task<Heard> AresChannel::ask(std::string name, RecordType type) {
  Asking asking{*this, std::move(name), type, Heard(), {}};
  co_return co_await asking;
}

void AresChannel::close() {
  // Out of sight first: whoever is told that it was stopped and asks again is stopped at once.
  std::unique_ptr<Impl> closing = std::move(impl_);
}

}  // namespace waypost::resolver
