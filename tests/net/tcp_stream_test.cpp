#include "net/tcp_stream.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/un.h>

#include "net/listener.h"
#include "net/loop.h"
#include "tests/net/loop_fixture.h"
#include "tests/support/temporary_folder.h"

using namespace waypost;
using net::LoopRuntime;
using net::Stream;
using net::Task;
using tests::RawPeer;
using tests::run_task;
using namespace std::chrono_literals;

namespace {

using StreamPtr = std::unique_ptr<Stream>;

struct Server {
  explicit Server(const char* host = "127.0.0.1") {
    Result<std::shared_ptr<net::ListenSocket>> listening = runtime->listen(*net::Address::parse(host, 0));
    REQUIRE(listening.has_value());
    socket = *listening;
    Result<std::unique_ptr<net::Listener>> accepting = runtime->accept_on(socket);
    REQUIRE(accepting.has_value());
    listener = std::move(*accepting);
  }
  std::uint16_t port() const { return socket->local().port; }
  net::Address address() const { return *net::Address::parse("127.0.0.1", port()); }
  net::TimePoint in(net::Duration duration) const { return runtime->now() + duration; }
  /// Runs `task`, which ends with the listener.
  void run(Task<> task) { run_task(*runtime, close_after(std::move(task))); }
  Task<> close_after(Task<> task) {
    co_await task;
    listener->close();
  }

  std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
  std::shared_ptr<net::ListenSocket> socket;
  std::unique_ptr<net::Listener> listener;
  std::stop_token never;
  std::optional<net::Address> anywhere;
};

Task<StreamPtr> accepted(Server& server) {
  Result<StreamPtr> stream = co_await server.listener->accept();
  REQUIRE(stream.has_value());
  co_return std::move(*stream);
}

Task<StreamPtr> connected(Server& server) {
  Result<StreamPtr> stream =
      co_await server.runtime->connect(server.address(), server.anywhere, server.in(10s), server.never);
  REQUIRE(stream.has_value());
  co_return std::move(*stream);
}

Task<Errc> connect_error(LoopRuntime& runtime, net::Address to, std::optional<net::Address> source,
                         net::Duration timeout, std::stop_token stop) {
  Result<StreamPtr> stream = co_await runtime.connect(to, source, runtime.now() + timeout, stop);
  if (stream) co_return Errc::internal;
  MESSAGE(stream.error().what);
  co_return stream.error().code;
}

Task<Result<std::string>> read_some(Stream& stream, net::TimePoint deadline) {
  char buffer[4096];
  Result<std::size_t> got = co_await stream.read(buffer, deadline);
  if (!got) co_return fail(got.error());
  co_return std::string(buffer, *got);
}

Task<> read_and_note(Stream& stream, net::TimePoint deadline, std::optional<Result<std::string>>& result) {
  result = co_await read_some(stream, deadline);
}

Task<> write_and_note(Stream& stream, std::string data, net::TimePoint deadline, std::optional<Result<>>& result) {
  result = co_await stream.write(data, deadline);
}

Task<> echo(StreamPtr stream, net::TimePoint deadline) {
  char buffer[4096];
  for (;;) {
    Result<std::size_t> got = co_await stream->read(buffer, deadline);
    if (!got || *got == 0) co_return;
    Result<> sent = co_await stream->write(std::string_view(buffer, *got), deadline);
    if (!sent) co_return;
  }
}

Task<> round_trips(Server& server, int count) {
  net::Scope scope(*server.runtime, nullptr);
  StreamPtr client;
  {
    StreamPtr first = co_await connected(server);
    client = std::move(first);
    StreamPtr other = co_await accepted(server);
    CHECK(client->remote() == server.address());
    CHECK(other->remote() == client->local());
    CHECK(other->local() == server.address());
    scope.spawn(echo(std::move(other), server.in(1min)));
  }
  int right = 0;
  for (int i = 0; i < count; ++i) {
    std::string number = std::to_string(i);
    std::vector<std::string_view> pieces = {"RCPT TO:<", number, "", "@b.example>\r\n"};
    Result<> sent = co_await client->write(pieces, server.in(10s));
    if (!sent) break;
    Result<std::string> back = co_await read_some(*client, server.in(10s));
    if (!back) break;
    right += *back == "RCPT TO:<" + number + "@b.example>\r\n";
  }
  CHECK(right == count);
  client->close();
  co_await scope.drained();
}

Task<> large_both_ways(Server& server, std::size_t octets) {
  net::Scope scope(*server.runtime, nullptr);
  StreamPtr client = co_await connected(server);
  StreamPtr other = co_await accepted(server);
  scope.spawn(echo(std::move(other), server.in(1min)));
  std::string data(octets, '\0');
  for (std::size_t i = 0; i < octets; ++i) data[i] = char(i * 31 >> 3);
  std::optional<Result<>> sent;
  scope.spawn(write_and_note(*client, data, server.in(1min), sent));
  std::string back;
  while (back.size() < octets) {
    Result<std::string> got = co_await read_some(*client, server.in(1min));
    REQUIRE(got.has_value());
    back += *got;
  }
  CHECK(sent.has_value());
  CHECK((back == data));
  client->close();
  co_await scope.drained();
}

Task<> many_pieces(Server& server) {
  StreamPtr client = co_await connected(server);
  StreamPtr other = co_await accepted(server);
  std::vector<std::string_view> pieces(3000, "ab");
  Result<> sent = co_await client->write(pieces, server.in(10s));
  CHECK(sent.has_value());
  std::vector<std::string_view> nothing(3);
  Result<> empty = co_await client->write(nothing, server.in(10s));
  CHECK(empty.has_value());
  client->close();
  std::string all;
  for (;;) {
    Result<std::string> got = co_await read_some(*other, server.in(10s));
    REQUIRE(got.has_value());
    if (got->empty()) break;
    all += *got;
  }
  CHECK(all.size() == 6000);
}

Task<> read_deadline(Server& server) {
  RawPeer peer(server.port());
  StreamPtr stream = co_await accepted(server);
  net::TimePoint began = server.runtime->now();
  Result<std::string> got = co_await read_some(*stream, began + 30ms);
  REQUIRE_FALSE(got.has_value());
  CHECK(got.error().code == Errc::timed_out);
  CHECK(server.runtime->now() - began >= 30ms);
  got = co_await read_some(*stream, server.in(0ms));
  CHECK(got.error().code == Errc::timed_out);
  // It lives on, and the timer that was left armed harms nobody.
  peer.send("late");
  got = co_await read_some(*stream, server.in(10s));
  REQUIRE(got.has_value());
  CHECK(*got == "late");
  got = co_await read_some(*stream, server.in(20ms));
  CHECK(got.error().code == Errc::timed_out);
}

Task<> write_deadline(Server& server) {
  RawPeer peer(server.port(), 4096);
  StreamPtr stream = co_await accepted(server);
  net::Scope scope(*server.runtime, nullptr);
  std::optional<Result<std::string>> read;
  scope.spawn(read_and_note(*stream, server.in(1min), read));
  std::string data(32 << 20, 'x');
  net::TimePoint began = server.runtime->now();
  Result<> sent = co_await stream->write(data, began + 50ms);
  REQUIRE_FALSE(sent.has_value());
  CHECK(sent.error().code == Errc::timed_out);
  CHECK(server.runtime->now() - began >= 50ms);
  co_await scope.drained();
  REQUIRE(read.has_value());
  CHECK(read->error().code == Errc::cancelled);
  Result<> again = co_await stream->write(data, server.in(1s));
  CHECK(again.error().code == Errc::cancelled);
}

Task<> close_while_pending(Server& server, bool destroy) {
  RawPeer peer(server.port(), 4096);
  StreamPtr stream = co_await accepted(server);
  net::Scope scope(*server.runtime, nullptr);
  std::optional<Result<std::string>> read;
  std::optional<Result<>> written;
  scope.spawn(read_and_note(*stream, server.in(1min), read));
  scope.spawn(write_and_note(*stream, std::string(32 << 20, 'x'), server.in(1min), written));
  co_await server.runtime->sleep_for(5ms, server.never);
  CHECK_FALSE(read.has_value());
  CHECK_FALSE(written.has_value());
  stream->close();
  stream->close();
  CHECK_FALSE(read.has_value());
  CHECK_FALSE(written.has_value());
  co_await scope.drained();
  CHECK(read->error().code == Errc::cancelled);
  CHECK(written->error().code == Errc::cancelled);
  if (destroy) stream.reset();
  if (stream) {
    Result<std::string> after = co_await read_some(*stream, server.in(1s));
    CHECK(after.error().code == Errc::cancelled);
  }
}

Task<> close_and_destroy(Server& server, std::string& heard) {
  RawPeer peer(server.port());
  {
    StreamPtr stream = co_await accepted(server);
    Result<> sent = co_await stream->write("221 2.0.0 bye\r\n", server.in(1s));
    CHECK(sent.has_value());
    stream->close();
  }
  co_await server.runtime->sleep_for(1ms, server.never);
  heard = peer.read_all();
}

Task<> last_words(Server& server, std::string& heard) {
  RawPeer peer(server.port());
  {
    StreamPtr stream = co_await accepted(server);
    Result<> sent = co_await stream->write("221 2.0.0 ", server.in(1s));
    CHECK(sent.has_value());
    stream->try_write("bye\r\n");
    stream->close();
    stream->try_write("too late");
  }
  co_await server.runtime->sleep_for(1ms, server.never);
  heard = peer.read_all();
}

Task<> last_reply(Server& server, std::string& heard) {
  RawPeer peer(server.port());
  StreamPtr stream = co_await accepted(server);
  peer.send("EHLO c.example\r\n");
  Result<std::string> got = co_await read_some(*stream, server.in(1s));
  CHECK(got.has_value());
  // The peer pipelines on; nobody reads that. A plain close would be a reset.
  peer.send(std::string(100'000, 'x'));
  co_await server.runtime->sleep_for(5ms, server.never);
  Result<> sent = co_await stream->write("421 4.7.0 too much\r\n", server.in(1s));
  CHECK(sent.has_value());
  stream.reset();
  co_await server.runtime->sleep_for(20ms, server.never);
  peer.end();
  heard = peer.read_all();
}

Task<> unread_then_read(Server& server) {
  RawPeer peer(server.port());
  StreamPtr stream = co_await accepted(server);
  for (int round = 0; round < 3; ++round) {
    peer.send("one");
    Result<std::string> got = co_await read_some(*stream, server.in(1s));
    CHECK(*got == "one");
    // Comes while nobody reads.
    peer.send("two");
    co_await server.runtime->sleep_for(3ms, server.never);
    got = co_await read_some(*stream, server.in(1s));
    CHECK(*got == "two");
    got = co_await read_some(*stream, server.in(3ms));
    CHECK(got.error().code == Errc::timed_out);
  }
  peer.send("last");
  peer.close();
  co_await server.runtime->sleep_for(3ms, server.never);
  Result<std::string> got = co_await read_some(*stream, server.in(1s));
  CHECK(*got == "last");
  got = co_await read_some(*stream, server.in(1s));
  CHECK(*got == "");
  got = co_await read_some(*stream, server.in(1s));
  CHECK(*got == "");
}

Task<> half_close(Server& server, std::string& heard) {
  RawPeer peer(server.port());
  StreamPtr stream = co_await accepted(server);
  peer.send("QUIT\r\n");
  peer.end();
  Result<std::string> got = co_await read_some(*stream, server.in(1s));
  CHECK(*got == "QUIT\r\n");
  got = co_await read_some(*stream, server.in(1s));
  REQUIRE(got.has_value());
  CHECK(got->empty());
  Result<> sent = co_await stream->write("221 bye\r\n", server.in(1s));
  CHECK(sent.has_value());
  stream->close();
  heard = peer.read_all();
}

Task<> reset_by_peer(Server& server) {
  {
    RawPeer peer(server.port());
    StreamPtr stream = co_await accepted(server);
    net::Scope scope(*server.runtime, nullptr);
    std::optional<Result<std::string>> read;
    scope.spawn(read_and_note(*stream, server.in(1min), read));
    peer.reset();
    co_await scope.drained();
    REQUIRE(read.has_value());
    CHECK(read->error().code == Errc::closed);
    Result<std::string> again = co_await read_some(*stream, server.in(1s));
    CHECK(again.error().code == Errc::closed);
    Result<> sent = co_await stream->write("x", server.in(1s));
    CHECK(sent.error().code == Errc::closed);
  }
  RawPeer peer(server.port(), 4096);
  StreamPtr stream = co_await accepted(server);
  net::Scope scope(*server.runtime, nullptr);
  std::optional<Result<>> written;
  scope.spawn(write_and_note(*stream, std::string(32 << 20, 'x'), server.in(1min), written));
  peer.reset();
  co_await scope.drained();
  REQUIRE(written.has_value());
  CHECK(written->error().code == Errc::closed);
}

Task<> accept_and_note(net::Listener& listener, std::optional<Errc>& error) {
  Result<StreamPtr> stream = co_await listener.accept();
  if (!stream) error = stream.error().code;
}

Task<> close_listener(Server& server) {
  net::Scope scope(*server.runtime, nullptr);
  std::optional<Errc> error;
  scope.spawn(accept_and_note(*server.listener, error));
  server.listener->close();
  CHECK_FALSE(error.has_value());
  co_await scope.drained();
  CHECK(error == Errc::cancelled);
  Result<StreamPtr> after = co_await server.listener->accept();
  CHECK(after.error().code == Errc::cancelled);
}

Task<> out_of_descriptors(Server& server) {
  RawPeer peer(server.port());
  RawPeer other(server.port());
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  int next = ::dup(0);
  ::close(next);
  rlimit low = before;
  low.rlim_cur = static_cast<rlim_t>(next);
  ::setrlimit(RLIMIT_NOFILE, &low);
  Result<StreamPtr> stream = co_await server.listener->accept();
  Errc client = co_await connect_error(*server.runtime, server.address(), server.anywhere, 1s, server.never);
  co_await server.runtime->sleep_for(5ms, server.never);
  ::setrlimit(RLIMIT_NOFILE, &before);
  REQUIRE_FALSE(stream.has_value());
  CHECK(stream.error().code == Errc::busy);
  CHECK(client == Errc::busy);
  // The connections were not lost.
  stream = co_await server.listener->accept();
  CHECK(stream.has_value());
  Result<StreamPtr> second = co_await server.listener->accept();
  CHECK(second.has_value());
}

Task<> stop_soon(net::Runtime& runtime, std::stop_source& stop, bool& stopped) {
  std::stop_token never;
  co_await runtime.sleep_for(5ms, never);
  stopped = true;
  stop.request_stop();
}

Task<Errc> cancelled_connect(LoopRuntime& runtime, net::Address to, std::stop_source& stop) {
  net::Scope scope(runtime, nullptr);
  bool stopped = false;
  scope.spawn(stop_soon(runtime, stop, stopped));
  std::optional<net::Address> anywhere;
  Errc error = co_await connect_error(runtime, to, anywhere, 1min, stop.get_token());
  CHECK(stopped);
  co_await scope.drained();
  co_return error;
}

/// A port whose backlog is full: further connections hang.
class FullPort {
 public:
  FullPort() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&at), size) == 0);
    REQUIRE(::listen(fd_, 0) == 0);
    REQUIRE(::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size) == 0);
    address = *net::Address::parse("127.0.0.1", ntohs(at.sin_port));
    for (int i = 0; i < 4; ++i) {
      int filler = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
      (void)::connect(filler, reinterpret_cast<sockaddr*>(&at), size);
      fillers_.push_back(filler);
    }
  }
  ~FullPort() {
    for (int filler : fillers_) ::close(filler);
    ::close(fd_);
  }
  net::Address address;

 private:
  int fd_;
  std::vector<int> fillers_;
};

Task<> serve_rudely(Server& server, StreamPtr stream, int kind) {
  std::string greeting(kind % 3 == 0 ? 1 << 20 : 20, 'g');
  Result<> sent = co_await stream->write(greeting, server.in(net::Duration(kind % 7)));
  if (!sent) co_return;
  if (kind % 4 == 0) stream->close();
  Result<std::string> got = co_await read_some(*stream, server.in(net::Duration(kind % 5)));
  if (!got) co_return;
  co_await server.runtime->sleep_for(net::Duration(kind % 3), server.never);
  sent = co_await stream->write(greeting, server.in(net::Duration(kind % 7)));
  if (kind % 2 == 0) co_return;
  got = co_await read_some(*stream, server.in(net::Duration(kind % 5)));
}

Task<> rude_peers(Server& server, int count) {
  net::Scope scope(*server.runtime, nullptr);
  for (int i = 0; i < count; ++i) {
    RawPeer peer(server.port(), i % 2 == 0 ? 4096 : 0);
    StreamPtr stream = co_await accepted(server);
    if (i % 5 == 1) peer.send(std::string(50'000, 'x'));
    scope.spawn(serve_rudely(server, std::move(stream), i));
    if (i % 11 == 3) co_await server.runtime->sleep_for(1ms, server.never);
    if (i % 5 == 2) peer.end();
    if (i % 5 == 3) peer.reset();
  }
  co_await scope.drained();
  CHECK(scope.running() == 0);
}

/// One loop on a thread of its own that answers each connection with its name.
struct SharedAcceptor {
  SharedAcceptor(std::shared_ptr<net::ListenSocket> socket, std::string text) : name(std::move(text)) {
    listener = std::move(*runtime->accept_on(std::move(socket)));
    thread = std::thread([this] {
      net::Scope scope(*runtime, nullptr);
      scope.spawn(serve());
      runtime->run();
    });
  }
  ~SharedAcceptor() {
    runtime->post([this] {
      listener->close();
      runtime->stop();
    });
    thread.join();
  }
  Task<> serve() {
    for (;;) {
      Result<StreamPtr> stream = co_await listener->accept();
      if (!stream) co_return;
      ++taken;
      Result<> sent = co_await (*stream)->write(name, runtime->now() + 1s);
      CHECK(sent.has_value());
    }
  }
  std::string name;
  int taken = 0;
  std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
  std::unique_ptr<net::Listener> listener;
  std::thread thread;
};

/// A blocking server at a path that talks with one client.
struct LocalPeer {
  explicit LocalPeer(const std::string& path) : listening(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), at.sun_path);
    REQUIRE(::bind(listening, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    REQUIRE(::listen(listening, 0) == 0);
  }
  ~LocalPeer() {
    ::close(talking);
    ::close(listening);
  }
  int listening, talking = -1;
};

Task<> local_round_trip(LoopRuntime& runtime, net::Address at, LocalPeer& peer) {
  std::optional<net::Address> from;
  std::stop_token never;
  Result<StreamPtr> stream = co_await runtime.connect(at, from, runtime.now() + 1s, never);
  REQUIRE(stream.has_value());
  CHECK((*stream)->remote().text() == at.path);
  peer.talking = ::accept(peer.listening, nullptr, nullptr);
  std::string_view said = "LHLO\r\n";
  Result<> sent = co_await (*stream)->write(said, runtime.now() + 1s);
  CHECK(sent.has_value());
  char buffer[64];
  CHECK(::recv(peer.talking, buffer, sizeof buffer, 0) == 6);
  CHECK(::send(peer.talking, "250 ok\r\n", 8, 0) == 8);
  Result<std::size_t> got = co_await (*stream)->read(buffer, runtime.now() + 1s);
  REQUIRE(got.has_value());
  CHECK(std::string_view(buffer, *got) == "250 ok\r\n");
  ::shutdown(peer.talking, SHUT_WR);
  got = co_await (*stream)->read(buffer, runtime.now() + 1s);
  REQUIRE(got.has_value());
  CHECK(*got == 0);
  (*stream)->close();
}

Task<> accept_user(net::Listener& listener, net::Address at) {
  Result<StreamPtr> stream = co_await listener.accept();
  REQUIRE(stream.has_value());
  CHECK((*stream)->remote().user() == ::getuid());
  CHECK((*stream)->local() == at);
  listener.close();
  Result<StreamPtr> none = co_await listener.accept();
  CHECK(none.error().code == Errc::cancelled);
}

/// Connects until that takes too long.
Task<Errc> fill_line(LoopRuntime& runtime, net::Address at, std::vector<StreamPtr>& streams) {
  std::optional<net::Address> from;
  std::stop_token never;
  for (;;) {
    Result<StreamPtr> stream = co_await runtime.connect(at, from, runtime.now() + 120ms, never);
    if (!stream) {
      for (const StreamPtr& open : streams) open->close();
      co_return stream.error().code;
    }
    streams.push_back(std::move(*stream));
  }
}

}  // namespace

TEST_SUITE("net/tcp_stream") {
  TEST_CASE("ten thousand round trips") {
    Server server;
    auto began = std::chrono::steady_clock::now();
    server.run(round_trips(server, 10'000));
    MESSAGE("microseconds each: " << (std::chrono::steady_clock::now() - began) / 1us / 10'000.0);
  }

  TEST_CASE("16 MiB there and back: writes wait for room") {
    Server server;
    server.run(large_both_ways(server, 16 << 20));
  }

  TEST_CASE("three thousand pieces are one write; none are none") {
    Server server;
    server.run(many_pieces(server));
  }

  TEST_CASE("a read times out, and the stream lives on") {
    Server server;
    server.run(read_deadline(server));
  }

  TEST_CASE("a write to a peer that does not read times out, and closes the stream") {
    Server server;
    server.run(write_deadline(server));
  }

  TEST_CASE("close cancels what is pending, on a later turn") {
    Server server;
    server.run(close_while_pending(server, false));
  }

  TEST_CASE("a stream is destroyed when its awaits have returned") {
    Server server;
    server.run(close_while_pending(server, true));
  }

  TEST_CASE("what was written arrives although the stream was closed and destroyed at once") {
    Server server;
    std::string heard;
    server.run(close_and_destroy(server, heard));
    CHECK(heard == "221 2.0.0 bye\r\n");
  }

  TEST_CASE("last words by try_write arrive, and none after close") {
    Server server;
    std::string heard;
    server.run(last_words(server, heard));
    CHECK(heard == "221 2.0.0 bye\r\n");
  }

  TEST_CASE("the last reply arrives although the peer sent more than was read") {
    Server server;
    std::string heard;
    server.run(last_reply(server, heard));
    CHECK(heard == "421 4.7.0 too much\r\n");
  }

  TEST_CASE("what comes while nobody reads waits") {
    Server server;
    server.run(unread_then_read(server));
  }

  TEST_CASE("a peer that ends its direction is read to its end, and still answered") {
    Server server;
    std::string heard;
    server.run(half_close(server, heard));
    CHECK(heard == "221 bye\r\n");
  }

  TEST_CASE("a reset ends a pending read and a pending write as closed") {
    Server server;
    server.run(reset_by_peer(server));
  }

  TEST_CASE("peers and sessions that end anywhere leave nothing behind") {
    Server server;
    server.run(rude_peers(server, 400));
  }

  TEST_CASE("connect: refused, invalid source, no such source, cancelled before it began") {
    Server server;
    net::Address nobody = server.address();
    LoopRuntime& runtime = *server.runtime;
    server.listener.reset();
    server.socket.reset();
    runtime.stop();
    runtime.run();
    CHECK(run_task(runtime, connect_error(runtime, nobody, {}, 1s, {})) == Errc::refused);
    CHECK(run_task(runtime, connect_error(runtime, nobody, net::Address::parse("::1", 0), 1s, {})) == Errc::invalid);
    CHECK(run_task(runtime, connect_error(runtime, nobody, net::Address::parse("192.0.2.1", 0), 1s, {})) ==
          Errc::invalid);
    std::stop_source stop;
    stop.request_stop();
    CHECK(run_task(runtime, connect_error(runtime, nobody, {}, 1s, stop.get_token())) == Errc::cancelled);
  }

  TEST_CASE("connect from a source address") {
    Server server("0.0.0.0");
    server.anywhere = net::Address::parse("127.0.0.9", 0);
    server.run(round_trips(server, 1));
  }

  TEST_CASE("a local socket: there and back, nobody there, a full line") {
    tests::TemporaryFolder folder;
    const net::Address at = net::Address::local(folder.path() + "/s");
    std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
    CHECK(run_task(*runtime, connect_error(*runtime, at, {}, 1s, {})) == Errc::unreachable);
    CHECK(run_task(*runtime, connect_error(*runtime, net::Address::local(std::string(200, 'x')), {}, 1s, {})) ==
          Errc::unreachable);
    {
      LocalPeer peer(at.path);
      run_task(*runtime, local_round_trip(*runtime, at, peer));
      // Nobody takes these: the line holds one or two.
      std::vector<StreamPtr> waiting;
      CHECK(run_task(*runtime, fill_line(*runtime, at, waiting)) == Errc::timed_out);
      CHECK(waiting.size() < 4);
    }
    CHECK(run_task(*runtime, connect_error(*runtime, at, {}, 1s, {})) == Errc::refused);
  }

  TEST_CASE("a local socket tells who connects, and its name goes with its last listener") {
    tests::TemporaryFolder folder;
    const net::Address at = net::Address::local(folder.path() + "/socket");
    std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
    Result<std::shared_ptr<net::ListenSocket>> socket = runtime->listen(at);
    REQUIRE(socket.has_value());
    CHECK(runtime->listen(at).error().code == Errc::busy);
    Result<std::unique_ptr<net::Listener>> listener = runtime->accept_on(*socket);
    REQUIRE(listener.has_value());
    socket->reset();

    const int client = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::copy(at.path.begin(), at.path.end(), name.sun_path);
    REQUIRE(::connect(client, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
    run_task(*runtime, accept_user(**listener, at));
    ::close(client);
    CHECK(::access(at.path.c_str(), F_OK) != 0);
    // What a process that was killed leaves is in nobody's way.
    const int killed = ::socket(AF_UNIX, SOCK_STREAM, 0);
    REQUIRE(::bind(killed, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
    ::close(killed);
    CHECK(runtime->listen(at).has_value());
  }

  TEST_CASE("connect times out at its deadline, or is cancelled") {
    FullPort full;
    std::unique_ptr<LoopRuntime> runtime = LoopRuntime::create();
    CHECK(run_task(*runtime, connect_error(*runtime, full.address, {}, 30ms, {})) == Errc::timed_out);
    CHECK(run_task(*runtime, connect_error(*runtime, full.address, {}, 0ms, {})) == Errc::timed_out);
    std::stop_source stop;
    CHECK(run_task(*runtime, cancelled_connect(*runtime, full.address, stop)) == Errc::cancelled);
  }
}

TEST_SUITE("net/listener") {
  TEST_CASE("an address in use, one that is not ours, IPv6 alone") {
    Server server;
    CHECK(server.runtime->listen(server.address()).error().code == Errc::exists);
    CHECK(server.runtime->listen(*net::Address::parse("192.0.2.1", 0)).error().code == Errc::unreachable);
    Result<std::shared_ptr<net::ListenSocket>> six = server.runtime->listen(*net::Address::parse("::1", 0));
    if (six) CHECK((*six)->local().host() == "::1");
    server.listener->close();
  }

  TEST_CASE("a socket that listens already is taken over; nothing else is") {
    Server server;
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int given = ::socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(::bind(given, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0);
    CHECK(server.runtime->adopt(given).error().code == Errc::invalid);  // bound, but it does not listen
    REQUIRE(::listen(given, 8) == 0);
    Result<std::shared_ptr<net::ListenSocket>> adopted = server.runtime->adopt(given);
    REQUIRE(adopted.has_value());
    CHECK((*adopted)->local().host() == "127.0.0.1");
    CHECK((*adopted)->local().port != 0);
    CHECK((::fcntl(given, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(given, F_GETFD) & FD_CLOEXEC) != 0);
    {
      const SharedAcceptor acceptor(*adopted, "taken over");
      CHECK(RawPeer((*adopted)->local().port).read_all() == "taken over");
    }

    const tests::TemporaryFolder folder;
    const std::string path = folder.path() + "/socket";
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    path.copy(local.sun_path, path.size());
    const int unix_socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    REQUIRE(::bind(unix_socket, reinterpret_cast<const sockaddr*>(&local), sizeof local) == 0);
    REQUIRE(::listen(unix_socket, 8) == 0);
    CHECK(server.runtime->adopt(unix_socket).error().code == Errc::invalid);
    ::close(unix_socket);
    CHECK(server.runtime->adopt(unix_socket).error().code == Errc::invalid);  // nothing is there
    server.listener->close();
  }

  TEST_CASE("close cancels a pending accept on a later turn") {
    Server server;
    server.run(close_listener(server));
  }

  TEST_CASE("without a descriptor left accept and connect are busy; the connections wait") {
    Server server;
    server.run(out_of_descriptors(server));
  }

  TEST_CASE("two loops share a socket") {
    constexpr int kConnections = 200;
    Server server;
    int taken = 0;
    {
      SharedAcceptor one(server.socket, "one");
      SharedAcceptor two(server.socket, "two");
      for (int i = 0; i < kConnections; ++i) {
        RawPeer peer(server.port());
        std::string name = peer.read_all();
        bool known = name == "one" || name == "two";
        CHECK(known);
        ++taken;
      }
    }
    CHECK(taken == kConnections);
    server.listener->close();
  }
}
