#include "net/clock.h"

namespace waypost::net {
namespace {

class SystemClock : public Clock {
 public:
  TimePoint now() const override { return std::chrono::floor<Duration>(std::chrono::steady_clock::now()); }
  WallTime wall_now() const override { return std::chrono::floor<Duration>(std::chrono::system_clock::now()); }
};

}  // namespace

const Clock& system_clock() {
  static const SystemClock clock;
  return clock;
}

}  // namespace waypost::net
