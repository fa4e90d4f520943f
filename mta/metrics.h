// mta/metrics.h: what /metrics says, in Prometheus' text format 0.0.4. Pure; waypost-metrics(7) is its page.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "base/metrics.h"
#include "delivery/dispatcher.h"
#include "mta/alerts.h"
#include "mta/control_api.h"
#include "net/clock.h"
#include "queue/totals.h"

namespace waypost::mta {

/// What there is of everything at one moment.
struct Measures {
  static constexpr std::size_t kMostDestinations = 10;  ///< that are named: each new name is a series of its own
  DaemonFacts facts;
  delivery::Dispatcher::Failing failing;
  std::optional<queue::Totals> totals;  ///< nullopt: the rows are being counted, or cannot be
  Disk disk;
  std::uint64_t log_dropped = 0;
  net::WallTime now;
};

/// `events`: what was counted since the start. What is not known is left out.
std::string metrics_text(const Measures& measures, const metrics::Events& events);

}  // namespace waypost::mta
