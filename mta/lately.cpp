#include "mta/lately.h"

#include <limits>
#include <numeric>
#include <string_view>

namespace waypost::mta {
namespace {

constexpr net::Duration kMinute = std::chrono::minutes(1);
constexpr net::Duration kHour = std::chrono::hours(1);

template <class Table, class Wanted>
std::uint64_t sum(const Table& table, const Wanted& wanted) {
  std::uint64_t all = 0;
  table.each([&](std::string_view row, std::string_view column, std::uint64_t value) {
    if (wanted(row, column)) all += value;
  });
  return all;
}

double rate(std::uint64_t count, net::Duration time) {
  const double seconds = std::chrono::duration<double>(time).count();
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

/// The least bound that `share` of what was counted is not above.
template <class Counts, class Bounds>
std::optional<double> quantile(const Counts& counts, const Bounds& bounds, double share) {
  const auto all = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  if (all == 0) return std::nullopt;
  std::uint64_t below = 0;
  for (std::size_t at = 0; at < bounds.size(); ++at) {
    below += counts[at];
    if (static_cast<double>(below) >= share * static_cast<double>(all)) return bounds[at];
  }
  return std::numeric_limits<double>::infinity();
}

}  // namespace

LatelyNotes::Counts LatelyNotes::counts(const metrics::Events& events, net::TimePoint now) {
  Counts counts{};
  counts.at = now;
  counts.accepted = events.accepted.value();
  counts.rejected = sum(events.rejected, [](auto, auto) { return true; });
  counts.login_failures = sum(events.logins, [](auto, std::string_view result) { return result == "failure"; });
  counts.sent = sum(events.deliveries, [](std::string_view result, auto) { return result == "sent"; });
  counts.dns_answered = sum(events.dns_questions, [](std::string_view result, auto) { return result == "answered"; });
  counts.dns_unanswered =
      sum(events.dns_questions, [](std::string_view result, auto) { return result == "unanswered"; });
  for (std::size_t at = 0; at < counts.commits.size(); ++at) counts.commits[at] = events.commit.count(at);
  return counts;
}

void LatelyNotes::note(const metrics::Events& events, net::TimePoint now) {
  const Counts present = counts(events, now);
  silence_ = silence(present);
  notes_.push_back(present);
  // The first one that is an hour old is what the last hour is measured from.
  while (notes_.size() > 1 && now - notes_[1].at >= kHour) notes_.pop_front();
}

const LatelyNotes::Counts& LatelyNotes::before(net::Duration age, net::TimePoint now) const {
  auto note = notes_.rbegin();
  while (std::next(note) != notes_.rend() && now - note->at < age) ++note;
  return *note;
}

LatelyNotes::Silence LatelyNotes::silence(const Counts& present) const {
  const Counts last = notes_.empty() ? Counts{} : notes_.back();
  if (present.dns_answered > last.dns_answered) return {};
  Silence out = silence_;
  if (out.questions == 0) out.since = present.at;
  out.questions += present.dns_unanswered - last.dns_unanswered;
  return out;
}

Lately LatelyNotes::until(const metrics::Events& events, net::TimePoint now) const {
  const Counts present = counts(events, now);
  Lately lately;
  lately.accepted = present.accepted;
  lately.rejected = present.rejected;
  lately.login_failures = present.login_failures;
  const Silence unheard = silence(present);
  lately.dns_unanswered = unheard.questions;
  if (unheard.questions > 0) lately.dns_silence = now - unheard.since;
  if (notes_.empty()) return lately;
  const Counts& minute = before(kMinute, now);
  const Counts& hour = before(kHour, now);
  lately.accepted_rate = rate(present.accepted - minute.accepted, now - minute.at);
  lately.sent_rate = rate(present.sent - minute.sent, now - minute.at);
  lately.login_failures_hour = present.login_failures - hour.login_failures;
  Commits commits{};
  for (std::size_t at = 0; at < commits.size(); ++at) commits[at] = present.commits[at] - hour.commits[at];
  lately.commit_p50 = quantile(commits, events.commit.bounds(), 0.5);
  lately.commit_p99 = quantile(commits, events.commit.bounds(), 0.99);
  return lately;
}

}  // namespace waypost::mta
