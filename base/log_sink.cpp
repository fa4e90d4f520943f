// base/log_sink.cpp
#include "base/log_sink.h"

#include <cerrno>
#include <chrono>
#include <string_view>
#include <thread>
#include <utility>

#include <poll.h>
#include <unistd.h>

namespace waypost::log {
namespace {

constexpr std::size_t kLargestWrite = std::size_t{256} * 1024;
constexpr std::chrono::milliseconds kGather{1};
constexpr int kPatience = 10'000;  // ms, for a pipe that is full and does not block

/// As much of the text as the file takes; returns what it did not.
std::string_view write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t done = write(fd, text.data(), text.size());
    if (done > 0) {
      text.remove_prefix(static_cast<std::size_t>(done));
    } else if (errno == EAGAIN) {
      pollfd room{.fd = fd, .events = POLLOUT, .revents = 0};
      if (poll(&room, 1, kPatience) <= 0) break;
    } else if (errno != EINTR) {
      break;
    }
  }
  return text;
}

}  // namespace

LogSink::LogSink(int fd, bool owned, std::function<std::size_t()> waiting)
    : fd_(fd), owned_(owned), waiting_(std::move(waiting)) {}

LogSink::~LogSink() {
  write_out();
  if (owned_) close(fd_);
}

void LogSink::sink_it_(const spdlog::details::log_msg& message) {
  if (std::exchange(torn_, false)) buffer_ += '\n';
  buffer_.append(message.payload.data(), message.payload.size());
  buffer_ += '\n';
  if (buffer_.size() < kLargestWrite && waiting_() > 0) return;
  write_out();
  if (waiting_() == 0) std::this_thread::sleep_for(kGather);
}

void LogSink::write_out() {
  const std::size_t rest = write_all(fd_, buffer_).size();
  if (rest > 0) {
    const std::string_view unwritten = std::string_view(buffer_).substr(buffer_.size() - rest);
    std::size_t lost = 0;
    for (const char c : unwritten) lost += c == '\n';
    lost_.fetch_add(lost, std::memory_order_relaxed);
    torn_ = rest < buffer_.size() && buffer_[buffer_.size() - rest - 1] != '\n';
  }
  buffer_.clear();
}

}  // namespace waypost::log
