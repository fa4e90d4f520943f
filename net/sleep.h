// net/sleep.h: a sleep out of a timer and a stop token. What every Runtime's sleep_until() is made of.
#pragma once
#include <stop_token>

#include "net/runtime.h"

namespace waypost::net {

/// As Runtime::sleep_until.
Task<bool> sleep_on(Runtime& runtime, TimePoint deadline, std::stop_token stop);

}  // namespace waypost::net
