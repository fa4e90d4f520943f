// base/log_sink.cpp
#include "base/log_sink.h"

#include <algorithm>
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
    } else if (done < 0 && errno == EAGAIN) {
      pollfd room{.fd = fd, .events = POLLOUT, .revents = 0};
      if (poll(&room, 1, kPatience) <= 0) break;
    } else if (done == 0 || errno != EINTR) {
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
  if (torn_ && buffer_.empty()) buffer_ += '\n';
  buffer_.append(message.payload.data(), message.payload.size());
  buffer_ += '\n';
  if (buffer_.size() < kLargestWrite && waiting_() > 0) return;
  write_out();
  if (waiting_() == 0) std::this_thread::sleep_for(kGather);
}

void LogSink::write_out() {
  const std::string_view rest = write_all(fd_, buffer_);
  const std::size_t written = buffer_.size() - rest.size();
  auto lost = static_cast<std::size_t>(std::count(rest.begin(), rest.end(), '\n'));
  if (written == 0 && torn_ && lost > 0) --lost;  // what was to end the torn line
  lost_.fetch_add(lost, std::memory_order_relaxed);
  if (written > 0) torn_ = buffer_[written - 1] != '\n';
  buffer_.clear();
}

}  // namespace waypost::log
