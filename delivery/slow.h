// delivery/slow.h: a site, or a destination, that gets less mail for a while, and then more by and by. Pure.
#pragma once
#include <chrono>
#include <string>

#include "queue/message.h"

namespace waypost::delivery {

/// Half of what it got in the last minute, or of what it is allowed already; at least one message a minute. More
/// replies of the same moment change nothing.
void slow_down(queue::DestinationState& state, int last_minute, std::chrono::seconds time, std::string reason,
               queue::WallTime now);

/// When the time is over: twice as much, each quarter of an hour, until it is as much as anybody wants. True if
/// something changed.
bool speed_up(queue::DestinationState& state, queue::WallTime now);

}  // namespace waypost::delivery
