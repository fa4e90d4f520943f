#include "delivery/pace.h"

#include <algorithm>

namespace waypost::delivery {
namespace {

// A timer fires some milliseconds late: as much is made up for, so that the rate holds on average.
constexpr std::int64_t kBlur = 20'000;

std::int64_t micros(net::TimePoint time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

}  // namespace

void Pace::set(const std::optional<conf::Rate>& rate) {
  if (!rate || rate->most == 0) return respace(0);
  const std::int64_t period = std::chrono::duration_cast<std::chrono::microseconds>(rate->period).count();
  respace(std::max<std::int64_t>(period / static_cast<std::int64_t>(rate->most), 1));
}

void Pace::set(net::Duration spacing) {
  respace(std::chrono::duration_cast<std::chrono::microseconds>(spacing).count());
}

void Pace::respace(std::int64_t spacing) {
  spacing_ = spacing;
  free_at_ = std::min(free_at_, taken_at_ + spacing);
}

net::TimePoint Pace::next(net::TimePoint now) const {
  if (spacing_ == 0 || free_at_ <= micros(now)) return now;
  return net::TimePoint(std::chrono::ceil<net::Duration>(std::chrono::microseconds(free_at_)));
}

void Pace::take(net::TimePoint now) {
  taken_at_ = micros(now);
  free_at_ = std::max(free_at_, micros(now) - kBlur) + spacing_;
}

}  // namespace waypost::delivery
