// base/log_sink.h: lines of the log on their way to a file, many in one write. The log's thread alone, but for lost().
#pragma once
#include <atomic>
#include <cstddef>
#include <functional>
#include <string>

#include <spdlog/details/null_mutex.h>
#include <spdlog/sinks/base_sink.h>

namespace waypost::log {

/// Writes when nothing more waits, and then pauses for a millisecond: who logs meanwhile need not wake this thread.
class LogSink : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  /// `waiting`: how many lines wait behind the one that is handed over. The file is closed in the end if it is `owned`.
  LogSink(int fd, bool owned, std::function<std::size_t()> waiting);
  ~LogSink() override;

  /// Lines that the file did not take. Any thread.
  std::size_t lost() const { return lost_.load(std::memory_order_relaxed); }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override;
  void flush_() override { write_out(); }

 private:
  void write_out();

  int fd_;
  bool owned_;
  std::function<std::size_t()> waiting_;
  std::string buffer_;
  bool torn_ = false;  // the last line in the file has no end
  std::atomic<std::size_t> lost_ = 0;
};

}  // namespace waypost::log
