// tests/net/loop_fixture.h: runs a task on a real loop, and raw sockets to play its peer.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/loop.h"
#include "net/scope.h"

namespace waypost::tests {

inline net::Task<> then_stop(net::LoopRuntime& runtime, net::Task<> task) {
  co_await task;
  runtime.stop();
}

template <class T>
net::Task<> keep_result(net::Task<T> task, std::optional<T>& result) {
  T value = co_await task;
  result.emplace(std::move(value));
}

/// Runs the loop until the task has ended, and everything that it opened is closed.
inline void run_task(net::LoopRuntime& runtime, net::Task<> task) {
  net::Scope scope(runtime, [](std::string_view what) { FAIL_CHECK("exception: " << std::string(what)); });
  scope.spawn(then_stop(runtime, std::move(task)));
  runtime.run();
}

template <class T>
T run_task(net::LoopRuntime& runtime, net::Task<T> task) {
  std::optional<T> result;
  run_task(runtime, keep_result(std::move(task), result));
  return std::move(*result);
}

/// A blocking socket that is connected to a port of 127.0.0.1.
class RawPeer {
 public:
  explicit RawPeer(std::uint16_t port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer != 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  }
  ~RawPeer() { close(); }
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  void send(std::string_view data) {
    CHECK(::send(fd_, data.data(), data.size(), MSG_NOSIGNAL) == ssize_t(data.size()));
  }
  void end() { ::shutdown(fd_, SHUT_WR); }
  void reset() {
    linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  /// Everything up to the end of the stream; "(reset)" at its end if it was cut off.
  std::string read_all() {
    std::string all;
    char buffer[4096];
    for (;;) {
      ssize_t got = ::recv(fd_, buffer, sizeof buffer, 0);
      if (got < 0) return all + "(reset)";
      if (got == 0) return all;
      all.append(buffer, static_cast<std::size_t>(got));
    }
  }

 private:
  int fd_;
};

}  // namespace waypost::tests
