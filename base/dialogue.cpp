#include "base/dialogue.h"

#include <atomic>
#include <mutex>
#include <utility>

namespace waypost::dialogue {
namespace {

using Clock = std::chrono::steady_clock;

/// What is kept. Leaked: threads note to the end of the process.
struct Kept {
  std::atomic<Clock::rep> watched_until{0};  // 0: nobody watches
  std::atomic<std::uint64_t> connections{0};
  std::mutex mutex;  // whoever begins to watch, and whoever finds that nobody does
  LineRing<Line> lines{kKept};
};

Kept& kept() {
  static Kept* const all = new Kept;
  return *all;
}

}  // namespace

std::uint64_t new_connection() {
  return kept().connections.fetch_add(1, std::memory_order_relaxed) + 1;
}

bool is_watched() {
  Kept& all = kept();
  const Clock::rep until = all.watched_until.load(std::memory_order_relaxed);
  if (until == 0) return false;
  if (Clock::now().time_since_epoch().count() < until) return true;
  std::lock_guard lock(all.mutex);
  if (all.watched_until.load(std::memory_order_relaxed) != until) return true;  // somebody began meanwhile
  all.watched_until.store(0, std::memory_order_relaxed);
  all.lines.clear();
  return false;
}

void note(Line line) {
  if (line.text.size() > kMaxText) line.text.resize(kMaxText);
  line.time = std::chrono::system_clock::now();
  kept().lines.add(std::move(line));
}

Page read(std::uint64_t from, std::size_t most, const std::function<bool(const Line&)>& wanted) {
  Kept& all = kept();
  {
    std::lock_guard lock(all.mutex);
    all.watched_until.store((Clock::now() + kWatched).time_since_epoch().count(), std::memory_order_relaxed);
  }
  return all.lines.read(from, most, wanted);
}

}  // namespace waypost::dialogue
