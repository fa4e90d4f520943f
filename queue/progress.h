// queue/progress.h: how far long work has come, for whoever watches it, and a way to stop it. Any thread.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <stop_token>

#include "base/result.h"

namespace waypost::queue {

class Progress {
 public:
  enum class Unit : std::uint8_t { messages, pages };
  struct Seen {
    Unit unit = Unit::messages;
    std::uint64_t done = 0, total = 0;  ///< total 0: not known yet
  };

  /// Of whoever does the work. `total` is not exact: the queue goes on meanwhile.
  void begin(Unit unit, std::uint64_t total) {
    unit_ = unit;
    done_ = 0;
    total_ = total;
  }
  void add(std::uint64_t more) { done_ += more; }
  bool is_stopped() const { return stop_.stop_requested(); }
  std::stop_token token() const { return stop_.get_token(); }

  /// Of whoever watches it.
  Seen seen() const { return {unit_, done_, total_}; }
  /// The work ends soon; what was done of it stays, where it is of use.
  void stop() { stop_.request_stop(); }

 private:
  std::atomic<Unit> unit_{Unit::messages};
  std::atomic<std::uint64_t> done_{0}, total_{0};
  std::stop_source stop_;
};

/// nullptr: nobody watches.
using Watched = std::shared_ptr<Progress>;
/// What somebody's stop() makes of work that is of no use in part.
inline Error stopped() {
  return {Errc::cancelled, "it was stopped: nothing is left of it"};
}
inline std::stop_token token_of(const Watched& progress) {
  return progress ? progress->token() : std::stop_token();
}

}  // namespace waypost::queue
