// mta/service_manager.h: what systemd hands to the daemon, and what it is told. Without systemd: nothing. Any thread.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "net/clock.h"

namespace waypost::mta {

/// Tells it `READY=1`, `RELOADING=1`, `STOPPING=1`, `WATCHDOG=1` (sd_notify(3)). Without NOTIFY_SOCKET in the
/// environment it does nothing.
void notify_service_manager(const std::string& state);

/// How often it is to hear `WATCHDOG=1`: twice in the time after which it takes us for dead (sd_watchdog_enabled(3)).
/// nullopt: it does not wait for that.
std::optional<net::Duration> watchdog_interval();

/// The descriptors that are passed to this process (sd_listen_fds(3)), mostly listening sockets; at most 1,000.
std::vector<int> passed_descriptors();

}  // namespace waypost::mta
