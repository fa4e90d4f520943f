#include "delivery/probe.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/event_log.h"
#include "delivery/open_session.h"
#include "delivery/route.h"
#include "net/scope.h"

namespace waypost::delivery {

std::vector<ProbedHost> hosts_of(const Dispatcher::Found& found) {
  std::vector<ProbedHost> out;
  for (std::size_t at = 0; at < found.plan.hops.size(); ++at) {
    const Plan::Hop& hop = found.plan.hops[at];
    for (const resolver::Exchanger& host : hop.hosts) {
      for (const net::Address& address : host.addresses) {
        ProbedHost one;
        one.preference = host.preference;
        one.peer = peer_at(hop, host, address, found.tls.at(at));
        one.peer.as = found.as;
        one.peer.given = found.given;
        for (const net::Address& source : found.plan.sources)
          if (source.family == address.family && !one.peer.source) one.peer.source = source;
        if (!one.peer.source && found.as != nullptr && !found.as->source.empty()) continue;
        out.push_back(std::move(one));
      }
    }
  }
  return out;
}

namespace {

net::Task<> probe_one(net::Runtime& runtime, ProbedHost& host, ClientSettings settings, SessionFor whom,
                      std::stop_token stop) {
  const net::TimePoint begin = runtime.now();
  auto transcript = std::make_shared<std::vector<dialogue::Line>>();
  settings.transcript = transcript;
  const TlsPolicy policy = policy_for(host.peer, whom, false);
  Connection::Opened opened = co_await Connection::open(runtime, host.peer, settings, policy, stop);
  if (may_go_in_clear(policy, opened)) {
    const TlsPolicy clear = policy_for(host.peer, whom, true);
    opened = co_await Connection::open(runtime, host.peer, std::move(settings), clear, stop);
  }
  host.took = runtime.now() - begin;
  host.failure = std::move(opened.failure);
  host.tls = std::move(opened.tls);
  if (opened.connection) {
    host.ready = true;
    host.offered = opened.connection->extensions();
    co_await opened.connection->quit();
    opened.connection.reset();
  }
  host.dialogue = std::move(*transcript);
}

}  // namespace

net::Task<Probe> probe(net::Runtime& runtime, std::string destination, Dispatcher::Found found, ClientSettings settings,
                       std::stop_token stop) {
  Probe out;
  out.found = std::move(found);
  out.hosts = hosts_of(out.found);
  if (out.hosts.size() > kMostProbed) {
    out.left_out = out.hosts.size() - kMostProbed;
    out.hosts.erase(out.hosts.begin() + kMostProbed, out.hosts.end());
  }
  settings.connect_timeout = std::min(settings.connect_timeout, kProbeStep);
  settings.command_timeout = std::min(settings.command_timeout, kProbeStep);
  const SessionFor whom{domain_of(destination), false};
  const auto on_exception = [](std::string_view what) { log::failure("probing: " + std::string(what)); };
  net::Scope scope(runtime, on_exception);
  for (ProbedHost& host : out.hosts) scope.spawn(probe_one(runtime, host, settings, whom, stop));
  co_await scope.drained();
  co_return out;
}

}  // namespace waypost::delivery
