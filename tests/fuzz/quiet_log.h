// tests/fuzz/quiet_log.h: lines are written as always, for the sake of sanitizers, and read by nobody.
#pragma once
#include "base/event_log.h"

namespace waypost::fuzz {

inline void quiet_log() {
  static const bool once = [] {
    log::Options options;
    options.target = "/dev/null";
    return log::open(options).has_value();
  }();
  (void)once;
}

}  // namespace waypost::fuzz
