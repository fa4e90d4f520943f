// queue/retry.h: when to try again. Pure.
#pragma once
#include <chrono>
#include <cstdint>
#include <vector>

#include "net/clock.h"

namespace waypost::queue {

/// After the `attempts`-th failed attempt (1: the first): that step of the list, the last one repeats, moved by up to a
/// tenth either way as `chance` (64 random bits) says, so that what failed together does not come back together.
net::WallTime next_attempt(const std::vector<std::chrono::seconds>& schedule, std::uint32_t attempts, net::WallTime now,
                           std::uint64_t chance);

}  // namespace waypost::queue
