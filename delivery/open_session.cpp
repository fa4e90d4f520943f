#include "delivery/open_session.h"

#include <utility>

#include "base/event_log.h"

namespace waypost::delivery {

TlsPolicy policy_for(const Peer& peer, const SessionFor& whom, bool given_up) {
  if (peer.protocol == Protocol::lmtp) return {};
  TlsQuestion question;
  question.terms = peer.tls;
  question.destination = whom.destination;
  question.host = peer.name;
  question.require_tls = whom.require_tls;
  question.given_up = given_up;
  return tls_policy(question);
}

bool may_go_in_clear(const TlsPolicy& policy, const Connection::Opened& opened) {
  const bool failed = !opened.connection && opened.failure.tls_trouble == HostFailure::Tls::handshake;
  return failed && policy.level == conf::TlsLevel::opportunistic && !policy.given_up;
}

net::Task<Connection::Opened> open_session(net::Runtime& runtime, Peer peer, ClientSettings settings, SessionFor whom,
                                           HostMemory& memory, std::stop_token stop) {
  return open_session(runtime, std::move(peer), std::nullopt, std::move(settings), std::move(whom), memory, stop);
}

net::Task<Connection::Opened> open_session(net::Runtime& runtime, Peer peer, std::optional<Peer> rival,
                                           ClientSettings settings, SessionFor whom, HostMemory& memory,
                                           std::stop_token stop) {
  const int retry = settings.tls_retry;
  Connection::Reached reached = co_await Connection::reach(runtime, std::move(peer), std::move(rival), settings, stop);
  const Connection::Raced raced = reached.raced;
  peer = reached.peer;
  bool given_up = memory.failures(peer.address, runtime.now()) >= retry;
  for (;;) {
    const TlsPolicy policy = policy_for(peer, whom, given_up);
    Connection::Opened opened = co_await Connection::open(runtime, std::move(reached), settings, policy, stop);
    opened.raced = raced;
    if (opened.connection && opened.connection->tls().is_encrypted()) memory.succeeded(peer.address);
    if (!may_go_in_clear(policy, opened)) co_return opened;
    given_up = memory.failed(peer.address, runtime.now()) >= retry;
    if (!given_up || stop.stop_requested()) co_return opened;
    const std::string host = peer.text();
    log::tls_given_up(host, opened.failure.reason, std::chrono::duration_cast<std::chrono::seconds>(memory.kept()));
    reached = co_await Connection::reach(runtime, peer, std::nullopt, settings, stop);
  }
}

}  // namespace waypost::delivery
