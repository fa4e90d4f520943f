// mta/lately.h: what the counts of base/metrics.h came to lately: rates, and how long commits took. Pure.
#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <optional>

#include "base/metrics.h"
#include "net/clock.h"

namespace waypost::mta {

struct Lately {
  std::uint64_t accepted = 0, rejected = 0, login_failures = 0;  ///< since the start
  std::uint64_t login_failures_hour = 0;                         ///< in the last hour
  double accepted_rate = 0, sent_rate = 0;  ///< messages, and recipients, a second: of the last minute
  /// Half, and 99 of 100, of the commits of the last hour took at most so many seconds: a bound of the histogram;
  /// infinity above all. nullopt: there was none.
  std::optional<double> commit_p50, commit_p99;
  std::uint64_t dns_unanswered = 0;  ///< questions in a row that no name server answered, up to now
  net::Duration dns_silence{0};      ///< since the first of these
};

/// Notes the counts from time to time, for an hour.
class LatelyNotes {
 public:
  static constexpr net::Duration kEvery = std::chrono::seconds(10);  ///< how often note() is to be called

  void note(const metrics::Events& events, net::TimePoint now);
  /// What they came to since. Before the first note all is 0, but what is since the start.
  Lately until(const metrics::Events& events, net::TimePoint now) const;

 private:
  using Commits = std::array<std::uint64_t, 14>;  ///< by bound, and those above
  struct Counts {
    net::TimePoint at;
    std::uint64_t accepted, rejected, login_failures, sent, dns_answered, dns_unanswered;
    Commits commits;
  };
  static Counts counts(const metrics::Events& events, net::TimePoint now);
  /// The last one that is so old, else the oldest.
  const Counts& before(net::Duration age, net::TimePoint now) const;

  /// Questions in a row that had no answer, and since when.
  struct Silence {
    std::uint64_t questions = 0;
    net::TimePoint since{};
  };
  Silence silence(const Counts& present) const;

  std::deque<Counts> notes_;
  Silence silence_;  ///< at the last note
};

}  // namespace waypost::mta
