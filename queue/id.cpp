// queue/id.cpp
#include "queue/id.h"

#include <algorithm>

#include "base/text.h"

namespace waypost::queue {
namespace {

// Crockford's base 32: no I, L, O, U, so that an id can be read out over a telephone.
constexpr std::string_view kDigits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr int kLength = 12;
constexpr int kCountBits = 18;
constexpr std::uint64_t kMillisMax = (std::uint64_t{1} << 42) - 1;

/// Where the count of a millisecond begins. Not at 0: the last characters name the folder of a spool file, and are to
/// be spread on a server that takes one message a second too. The upper two bits of the count stay free.
std::uint64_t first_count(std::uint64_t millis) {
  return (millis * 0x9E3779B97F4A7C15u) >> 48;
}

}  // namespace

std::string Id::text() const {
  std::string out(kLength, '0');
  std::uint64_t rest = value;
  for (int i = kLength - 1; i >= 0; --i) {
    out[static_cast<std::size_t>(i)] = kDigits[rest & 31];
    rest >>= 5;
  }
  return out;
}

std::optional<Id> Id::parse(std::string_view text) {
  if (text.size() != kLength) return std::nullopt;
  Id id;
  for (char c : text) {
    std::size_t digit = kDigits.find(upper(c));
    if (digit == std::string_view::npos) return std::nullopt;
    id.value = id.value << 5 | digit;
  }
  return id;
}

Id IdSource::next(net::WallTime now) {
  std::int64_t since = std::max<std::int64_t>(now.time_since_epoch().count(), 0);
  std::uint64_t millis = std::min(static_cast<std::uint64_t>(since), kMillisMax);
  std::uint64_t wanted = millis << kCountBits | first_count(millis);
  std::uint64_t last = last_.load(std::memory_order_relaxed);
  while (true) {
    // A clock that was set back, or a millisecond that goes on: the next number after the last one.
    std::uint64_t value = std::max(wanted, last + 1);
    if (last_.compare_exchange_weak(last, value, std::memory_order_relaxed)) return Id{value};
  }
}

}  // namespace waypost::queue
