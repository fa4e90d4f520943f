// delivery/connect_either.h: a connection to one of two addresses, whichever is through first (RFC 8305 in small).
#pragma once
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>

#include "base/result.h"
#include "net/address.h"
#include "net/runtime.h"
#include "net/stream.h"
#include "net/task.h"

namespace waypost::delivery {

/// For so long the first of two has the net for itself; for half of the time to the deadline, where that is less.
constexpr net::Duration kHeadStart = std::chrono::milliseconds(300);

/// Where to connect, and from where.
struct Way {
  net::Address to;
  std::optional<net::Address> from;
};

/// What became of one of two ways.
enum class WayEnd : std::uint8_t {
  unused,      ///< it was never begun
  connected,   ///< it is the one
  failed,      ///< refused, unreachable, not in time
  overtaken,   ///< begun first, and the other was through before it
  called_off,  ///< begun later and not needed, or ended by trouble of ours: says nothing about it
};

struct Either {
  Result<std::unique_ptr<net::Stream>> stream;  ///< else the error of `used`
  std::size_t used = 0;                         ///< 0 or 1: the one that is connected; if none is, who failed last
  std::array<WayEnd, 2> ends{};
};

/// TCP alone. The second way is begun after the head start, or at once when the first has failed, unless for want of
/// something of ours (busy, cancelled). The first that is connected is taken; a connection of the other is closed. When
/// this returns nothing of either is left. `runtime` outlives the await.
/// Errors: those of Runtime::connect().
net::Task<Either> connect_either(net::Runtime& runtime, Way first, Way second, net::TimePoint deadline,
                                 std::stop_token stop);

}  // namespace waypost::delivery
