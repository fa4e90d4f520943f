// delivery/probe.h: a session with each host that mail for a destination would be given to, and no mail. `waypost
// probe`, `waypost explain --probe`. The dispatcher's loop.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/dialogue.h"
#include "delivery/connection.h"
#include "delivery/dispatcher.h"
#include "net/runtime.h"
#include "net/task.h"

namespace waypost::delivery {

/// One address of a host.
struct ProbedHost {
  std::uint16_t preference = 0;
  Peer peer;
  bool ready = false;   ///< it would get a message now
  HostFailure failure;  ///< where it would not
  smtp::Extensions offered;
  TlsEvidence tls;
  std::vector<dialogue::Line> dialogue;
  net::Duration took{};
};

struct Probe {
  Dispatcher::Found found;
  std::vector<ProbedHost> hosts;  ///< in order
  std::size_t left_out = 0;       ///< addresses over kMostProbed
};
constexpr std::size_t kMostProbed = 20;
/// For each step of a session at most, since somebody waits for the answer.
constexpr net::Duration kProbeStep = std::chrono::seconds(10);

/// Each address of its hosts, in the order of hops and preferences. None that a route with source addresses of its own
/// does not go to.
std::vector<ProbedHost> hosts_of(const Dispatcher::Found& found);

/// All of them at once, as mail for `destination` would be given to them: its TLS policy, its login, its source
/// address. Nothing that is learnt is remembered. `runtime` outlives it.
net::Task<Probe> probe(net::Runtime& runtime, std::string destination, Dispatcher::Found found, ClientSettings settings,
                       std::stop_token stop);

}  // namespace waypost::delivery
