#include "net/memory_stream.h"

#include <algorithm>
#include <array>
#include <string>

namespace waypost::net {

namespace {

/// One direction. What the writer has put in and the reader has not yet taken out.
struct Pipe {
  std::string octets;
  std::size_t begin = 0;
  bool ended = false;      ///< the writer has closed
  bool abandoned = false;  ///< the reader has closed

  std::size_t size() const { return octets.size() - begin; }
  void put(std::string_view data) { octets += data; }
  std::size_t take(std::span<char> into) {
    std::size_t count = std::min(into.size(), size());
    std::copy_n(octets.data() + begin, count, into.data());
    begin += count;
    if (begin == octets.size()) {
      octets.clear();
      begin = 0;
    }
    return count;
  }
};

/// A coroutine that looks again when it is woken: something came, something closed, or its deadline passed.
struct Sleeper {
  std::coroutine_handle<> handle;
  TimePoint deadline = TimePoint::max();
};

struct Wait {
  explicit Wait(Sleeper& place) : sleeper(place) {}
  Sleeper& sleeper;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) const noexcept { sleeper.handle = waiting; }
  void await_resume() const noexcept {}
};

class MemoryStream;

struct Wire {
  std::size_t capacity = 0;
  std::array<Pipe, 2> pipes;  ///< end 0 writes to the first and reads from the second
  std::array<MemoryStream*, 2> ends{};
};

class MemoryStream : public Stream {
 public:
  MemoryStream(Runtime& runtime, std::shared_ptr<Wire> wire, std::size_t end, const Address& local,
               const Address& remote)
      : runtime_(runtime), wire_(std::move(wire)), end_(end), local_(local), remote_(remote) {
    wire_->ends[end_] = this;
  }
  ~MemoryStream() override {
    close();
    wire_->ends[end_] = nullptr;
  }

  Task<Result<std::size_t>> read(std::span<char> into, TimePoint deadline) override {
    Pipe& pipe = incoming();
    for (;;) {
      if (closed_) co_return fail(Errc::cancelled, "read from " + remote_.text() + ": closed here");
      if (pipe.size() != 0) {
        wake_peer_writer();
        co_return pipe.take(into);
      }
      if (pipe.ended) co_return std::size_t{0};
      if (deadline <= runtime_.now()) co_return fail(Errc::timed_out, "read from " + remote_.text() + ": timed out");
      reader_.deadline = deadline;
      arm(deadline);
      Wait wait(reader_);
      co_await wait;
    }
  }

  Task<Result<>> write(std::span<const std::string_view> pieces, TimePoint deadline) override {
    Pipe& pipe = outgoing();
    for (std::string_view piece : pieces) {
      while (!piece.empty()) {
        if (closed_) co_return fail(Errc::cancelled, "write to " + remote_.text() + ": closed here");
        if (pipe.abandoned) co_return fail(Errc::closed, "write to " + remote_.text() + ": connection reset by peer");
        std::size_t count = std::min(piece.size(), wire_->capacity - pipe.size());
        if (count != 0) {
          pipe.put(piece.substr(0, count));
          piece.remove_prefix(count);
          wake_peer_reader();
          continue;
        }
        if (deadline <= runtime_.now()) {
          close();  // as over TCP: nobody can tell what went out
          co_return fail(Errc::timed_out, "write to " + remote_.text() + ": timed out");
        }
        writer_.deadline = deadline;
        arm(deadline);
        Wait wait(writer_);
        co_await wait;
      }
    }
    co_return Result<>();
  }

  void try_write(std::string_view octets) override {
    Pipe& pipe = outgoing();
    if (closed_ || pipe.abandoned || writer_.handle) return;
    pipe.put(octets.substr(0, wire_->capacity - pipe.size()));
    wake_peer_reader();
  }

  void close() override {
    if (closed_) return;
    closed_ = true;
    outgoing().ended = true;
    incoming().abandoned = true;
    timer_.reset();
    wake(reader_);
    wake(writer_);
    wake_peer_reader();
    wake_peer_writer();
  }

  const Address& local() const override { return local_; }
  const Address& remote() const override { return remote_; }

 private:
  Pipe& outgoing() { return wire_->pipes[end_]; }
  Pipe& incoming() { return wire_->pipes[1 - end_]; }
  MemoryStream* peer() { return wire_->ends[1 - end_]; }
  void wake_peer_reader() {
    if (peer() != nullptr) peer()->wake(peer()->reader_);
  }
  void wake_peer_writer() {
    if (peer() != nullptr) peer()->wake(peer()->writer_);
  }
  void wake(Sleeper& sleeper) {
    if (sleeper.handle) runtime_.resume_later(std::exchange(sleeper.handle, {}));
  }

  /// The timer is left armed when an operation is done before its deadline: the next deadline is mostly a later one.
  void arm(TimePoint deadline) {
    if (deadline >= armed_) return;
    if (!timer_) timer_ = runtime_.make_timer([this] { on_timer(); });
    armed_ = deadline;
    timer_->arm(deadline);
  }
  void on_timer() {
    armed_ = TimePoint::max();
    for (Sleeper* sleeper : {&reader_, &writer_}) {
      if (!sleeper->handle) continue;
      if (sleeper->deadline <= runtime_.now()) {
        wake(*sleeper);
      } else {
        arm(sleeper->deadline);
      }
    }
  }

  Runtime& runtime_;
  std::shared_ptr<Wire> wire_;
  std::size_t end_;
  Address local_;
  Address remote_;
  Sleeper reader_;
  Sleeper writer_;
  std::unique_ptr<Timer> timer_;
  TimePoint armed_ = TimePoint::max();
  bool closed_ = false;
};

}  // namespace

std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>> memory_pair(Runtime& runtime, MemoryPairOptions options) {
  auto wire = std::make_shared<Wire>();
  wire->capacity = options.capacity;
  auto first = std::make_unique<MemoryStream>(runtime, wire, 0, options.first_address, options.second_address);
  auto second = std::make_unique<MemoryStream>(runtime, wire, 1, options.second_address, options.first_address);
  return {std::move(first), std::move(second)};
}

}  // namespace waypost::net
