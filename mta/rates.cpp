#include "mta/rates.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace waypost::mta {
namespace {

using std::chrono::seconds;

seconds since_1970(net::WallTime now) {
  return std::max(std::chrono::duration_cast<seconds>(now.time_since_epoch()), seconds(0));
}

std::uint64_t divided_up(std::uint64_t number, std::uint64_t by) {
  return (number + by - 1) / by;
}

std::string_view name_of(Rates::Kind kind) {
  return kind == Rates::Kind::messages ? "messages" : "recipients";
}

}  // namespace

void Rates::move_on(Count& count, std::int64_t period) {
  if (period == count.period + 1) {
    count.previous = std::exchange(count.current, 0);
  } else if (period != count.period && period != count.period - 1) {
    count.previous = count.current = 0;
  } else {
    return;  // the clock was set back a little: what was counted counts
  }
  count.period = period;
}

/// Numbers are at most 10^9, and periods a year: the products fit.
std::uint64_t Rates::used(const Count& count, seconds elapsed) {
  const auto whole = static_cast<std::uint64_t>(count.rate.period.count());
  const auto left = static_cast<std::uint64_t>((count.rate.period - elapsed).count());
  return count.current + divided_up(count.previous * left, whole);
}

/// Until one more fits, if nothing else comes.
seconds Rates::wait(const Count& count, seconds elapsed) {
  const auto whole = static_cast<std::uint64_t>(count.rate.period.count());
  const std::uint64_t room = count.rate.most - 1;  // for what is there already
  if (count.current <= room) {
    const std::uint64_t kept = (room - count.current) * whole / std::max<std::uint64_t>(count.previous, 1);
    return std::max(count.rate.period - seconds(std::min(kept, whole)) - elapsed, seconds(1));
  }
  const std::uint64_t kept = room * whole / count.current;
  return count.rate.period - elapsed + count.rate.period - seconds(kept);
}

Rates::Taken Rates::take(const Key& key, Kind kind, const conf::Rate& rate, net::WallTime now) {
  const seconds time = since_1970(now);
  const std::int64_t period = time / rate.period;
  std::lock_guard lock(guard_);
  if (counts_.size() >= kMostCounts && !counts_.contains({key, kind})) make_room(key, time);
  Count& count = counts_[{key, kind}];
  if (count.rate.period != rate.period) count = Count{0, 0, period, rate};  // its numbers say nothing of this one
  count.rate = rate;
  move_on(count, period);
  const seconds elapsed = std::max(time - rate.period * count.period, seconds(0));
  if (used(count, elapsed) >= rate.most) return {wait(count, elapsed), count.period};
  ++count.current;
  changed_ = true;
  return {std::nullopt, count.period};
}

void Rates::give_back(const Key& key, Kind kind, std::int64_t period, std::uint64_t number) {
  std::lock_guard lock(guard_);
  const auto found = counts_.find({key, kind});
  if (found == counts_.end()) return;
  Count& count = found->second;
  if (period != count.period && period != count.period - 1) return;
  std::uint64_t& of = period == count.period ? count.current : count.previous;
  of -= std::min(of, number);
  changed_ = true;
}

void Rates::make_room(const Key& key, seconds now) {
  std::erase_if(counts_, [now](const auto& each) {
    const Count& count = each.second;
    return now / count.rate.period > count.period + 1 || count.current + count.previous == 0;
  });
  // Not one by one: each time means to look at all.
  constexpr std::size_t kRoom = kMostCounts - kMostCounts / 100;
  auto next = counts_.lower_bound({Key{key.client_class, ""}, Kind::messages});
  while (counts_.size() > kRoom && next != counts_.end() && next->first.first.client_class == key.client_class) {
    next = counts_.erase(next);
  }
  while (counts_.size() >= kMostCounts) counts_.erase(counts_.begin());
}

void Rates::mark_changed() {
  std::lock_guard lock(guard_);
  changed_ = true;
}

std::vector<Rates::Row> Rates::rows(net::WallTime now) const {
  const seconds time = since_1970(now);
  std::vector<Row> out;
  std::lock_guard lock(guard_);
  for (const auto& [place, counted] : counts_) {
    Count count = counted;
    move_on(count, time / count.rate.period);
    const std::uint64_t number = used(count, std::max(time - count.rate.period * count.period, seconds(0)));
    if (number > 0) out.push_back({place.first, place.second, number, count.rate});
  }
  return out;
}

std::optional<std::string> Rates::changed_text() {
  std::lock_guard lock(guard_);
  if (!std::exchange(changed_, false)) return std::nullopt;
  std::string out;
  for (const auto& [place, count] : counts_) {
    for (const std::uint64_t number : {count.rate.most, static_cast<std::uint64_t>(count.rate.period.count()),
                                       static_cast<std::uint64_t>(count.period), count.current, count.previous}) {
      out += std::to_string(number) + ' ';
    }
    out += std::string(name_of(place.second)) + ' ' + place.first.client_class + ' ' + place.first.client + '\n';
  }
  return out;
}

void Rates::restore(std::string_view text) {
  std::lock_guard lock(guard_);
  for (std::string_view line : split(text, '\n')) {
    std::uint64_t numbers[5] = {};
    bool good = true;
    for (std::uint64_t& number : numbers) {
      const std::optional<std::uint64_t> read = parse_decimal(take_word(line));
      good = good && read && *read <= 1'000'000'000'000;
      if (good) number = *read;
    }
    const std::string_view kind = take_word(line);
    const auto [client_class, client] = split_once(trim_front(line), ' ');
    good = good && numbers[0] > 0 && numbers[1] > 0 && !client_class.empty();
    if (!good || counts_.size() >= kMostCounts) continue;
    Count count;
    count.rate = {numbers[0], seconds(numbers[1])};
    count.period = static_cast<std::int64_t>(numbers[2]);
    count.current = std::min<std::uint64_t>(numbers[3], 1'000'000'000);
    count.previous = std::min<std::uint64_t>(numbers[4], 1'000'000'000);
    if (kind != name_of(Kind::messages) && kind != name_of(Kind::recipients)) continue;
    const Kind known = kind == name_of(Kind::messages) ? Kind::messages : Kind::recipients;
    counts_[{Key{std::string(client_class), std::string(client)}, known}] = count;
  }
}

RateHold::RateHold(RateHold&& other) noexcept
    : rates_(other.rates_), key_(std::move(other.key_)), taken_(std::move(other.taken_)) {
  other.taken_.clear();
}

RateHold::~RateHold() {
  for (const auto& [place, number] : taken_) rates_->give_back(key_, place.first, place.second, number);
}

std::optional<std::chrono::seconds> RateHold::take(Rates::Kind kind, const conf::Rate& rate, net::WallTime now) {
  const Rates::Taken taken = rates_->take(key_, kind, rate, now);
  if (!taken.wait) ++taken_[{kind, taken.period}];
  return taken.wait;
}

}  // namespace waypost::mta
