// delivery/open_session.h: a session with a host, with the TLS that policy wants of it.
#pragma once
#include <optional>
#include <stop_token>
#include <string>

#include "delivery/connection.h"
#include "delivery/host_memory.h"
#include "delivery/tls_policy.h"
#include "net/runtime.h"
#include "net/task.h"

namespace waypost::delivery {

/// For whom a session is.
struct SessionFor {
  std::string destination;
  bool require_tls = false;  ///< the message asks for it (RFC 8689)
};

/// For so long a host whose TLS has failed gets mail in clear, where the policy lets it.
constexpr net::Duration kTlsGivenUp = std::chrono::hours(72);

/// What is demanded of a session with this host. `given_up`: as in TlsQuestion.
TlsPolicy policy_for(const Peer& peer, const SessionFor& whom, bool given_up);

/// True if a host was asked for TLS that has failed, and may have mail in clear all the same.
bool may_go_in_clear(const TlsPolicy& policy, const Connection::Opened& opened);

/// Connection::open() by the policy of peer.tls. Where opportunistic TLS fails as often as settings.tls_retry says, the
/// host is remembered and opened again in clear, at once; so it is from then on until the memory ends. `memory` and
/// `runtime` outlive the await.
net::Task<Connection::Opened> open_session(net::Runtime& runtime, Peer peer, ClientSettings settings, SessionFor whom,
                                           HostMemory& memory, std::stop_token stop);

/// The same with the peer or its rival, whichever takes a connection first (delivery/connect_either.h).
net::Task<Connection::Opened> open_session(net::Runtime& runtime, Peer peer, std::optional<Peer> rival,
                                           ClientSettings settings, SessionFor whom, HostMemory& memory,
                                           std::stop_token stop);

}  // namespace waypost::delivery
