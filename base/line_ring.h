// base/line_ring.h: the last lines of something, numbered, for those who read on where they were. Any thread.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

namespace waypost {

/// `Line` has a `std::uint64_t number`, which it gets here: 1, 2 and so on.
template <class Line>
class LineRing {
 public:
  /// The oldest of `most` lines makes room.
  explicit LineRing(std::size_t most) : most_(most) {}

  void add(Line line) {
    // What made room is freed with the argument, when the lock is open again.
    std::lock_guard lock(mutex_);
    if (lines_.empty()) lines_.resize(most_);
    line.number = next_++;
    std::swap(at(line.number), line);
    if (next_ - first_ > most_) ++first_;
  }

  struct Page {
    std::vector<Line> lines;
    std::uint64_t next = 0;    ///< to ask for what comes after
    std::uint64_t missed = 0;  ///< lines, wanted or not, that had to make room before they were read
    bool more = false;         ///< there are more already
  };
  /// The lines from `from` on that `wanted(line)` is true for, at most `most` of them. 0: none, but `next`.
  template <class Wanted>
  Page read(std::uint64_t from, std::size_t most, const Wanted& wanted) const {
    std::lock_guard lock(mutex_);
    Page page;
    page.next = next_;
    if (from == 0 || from >= next_) return page;
    if (from < first_) page.missed = first_ - from;
    for (std::uint64_t number = std::max(from, first_); number < next_; ++number) {
      const Line& line = at(number);
      if (!wanted(line)) continue;
      if (page.lines.size() == most) {
        page.next = number;
        page.more = true;
        break;
      }
      page.lines.push_back(line);
    }
    return page;
  }
  /// The last ones that are wanted, in order, at most `most`.
  template <class Wanted>
  Page last(std::size_t most, const Wanted& wanted) const {
    std::lock_guard lock(mutex_);
    Page page;
    page.next = next_;
    std::uint64_t begin = next_;
    for (std::size_t found = 0; begin > first_ && found < most;) found += wanted(at(--begin)) ? 1 : 0;
    for (std::uint64_t number = begin; number < next_; ++number)
      if (wanted(at(number))) page.lines.push_back(at(number));
    return page;
  }

  /// The numbers go on.
  void clear() {
    std::vector<Line> gone;
    std::lock_guard lock(mutex_);
    gone.swap(lines_);
    first_ = next_;
  }

 private:
  Line& at(std::uint64_t number) { return lines_[number % most_]; }
  const Line& at(std::uint64_t number) const { return lines_[number % most_]; }

  const std::size_t most_;
  mutable std::mutex mutex_;
  std::vector<Line> lines_;             // all of them, once there is one
  std::uint64_t first_ = 1, next_ = 1;  // of those that are kept, and the next one
};

}  // namespace waypost
