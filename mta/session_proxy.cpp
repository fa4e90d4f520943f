// Clients behind others: the PROXY protocol before a session, XCLIENT within it. Both from named networks alone.
#include <span>
#include <utility>

#include "base/event_log.h"
#include "base/text.h"
#include "mta/session.h"
#include "net/proxy_header.h"

namespace waypost::mta {

bool Session::is_behind_proxy() const {
  return conf::any_contains(listener_.proxy, stream_->remote().host());
}

/// All that is said and allowed is of this client from now on.
void Session::become(const net::Address& peer, const std::string& name) {
  peer_ = peer;
  set_peer_name(name);
  client_verdict_.reset();
  client_.address = peer.host();
  client_.trusted = is_trusted(*config_, client_.address);
  classify();
}

void Session::set_peer_name(const std::string& name) {
  peer_name_ = name;
  client_name_ = (name.empty() ? "unknown" : name) + "[" + peer_.host() + "]";
}

/// Takes exactly the header: what follows may be a handshake of TLS.
net::Task<Result<>> Session::read_proxy_header() {
  const net::TimePoint deadline = context_.runtime.now() + config_->limits.handshake_timeout;
  std::string header;
  std::string piece;
  while (const std::size_t lacks = net::proxy_header_lacks(header)) {
    piece.resize(lacks);
    waiting_ = Waiting::handshake;
    Result<std::size_t> got = co_await stream_->read(std::span<char>(piece), deadline);
    waiting_ = Waiting::nothing;
    if (!got) co_return fail(std::move(got.error()));
    if (*got == 0) co_return fail(Errc::closed, "closed before its PROXY header was whole");
    header.append(piece, 0, *got);
  }
  const Result<net::ProxyHeader> parsed = net::parse_proxy_header(header);
  if (!parsed) {
    log::warning("connection from " + client_name_ + " is closed: " + parsed.error().what +
                 "; its network is in listener.proxy");
    co_return fail(parsed.error());
  }
  if (!parsed->known) co_return Result<>();
  become(parsed->source, "");
  client_.local = parsed->destination.host();
  if (std::optional<smtp::Reply> refused = no_place()) {
    log_rejected(last_verb_, nullptr, "", *refused);
    closing_ = true;
    if (listener_.tls != conf::ListenerTls::implicit) say(*refused);
  }
  co_return Result<>();
}

/// Why the client that the balancer named has to come again, as Server::admit() would have said.
std::optional<smtp::Reply> Session::no_place() {
  const conf::Config::Limits& limits = config_->limits;
  const bool too_often = !client_.trusted && limits.connection_rate &&
                         context_.limits.too_often(peer_, *limits.connection_rate, context_.runtime.wall_now());
  if (too_often) return smtp::reply::connecting_too_often(config_->hostname);
  const bool full = !client_.trusted && context_.limits.kept_for_ours(static_cast<std::size_t>(limits.connections));
  if (!full && place_.move_to(peer_, static_cast<std::size_t>(limits.connections_per_client))) return std::nullopt;
  return smtp::reply::too_many_connections(config_->hostname);
}

/// Once a connection: what follows may be the client's own words, passed on.
smtp::Reply Session::on(const smtp::Xclient& xclient) {
  if (!rules_.offered.xclient) return smtp::reply::not_offered("XCLIENT");
  if (transaction_) return smtp::reply::bad_sequence("Not within a transaction");
  if (in_.buffered() > 0) return close_with(smtp::reply::protocol_error("Commands came before the reply to XCLIENT"));
  // Without it the client would be taken for its proxy.
  const std::optional<std::uint64_t> port = parse_decimal(xclient.port.value_or(""));
  const std::optional<net::Address> peer =
      net::Address::parse(xclient.address.value_or(""), static_cast<std::uint16_t>(port.value_or(0)));
  if (!peer) return smtp::reply::bad_parameter("ADDR has to be given");
  may_xclient_ = rules_.offered.xclient = false;
  if (xclient.local_address && !xclient.local_address->empty()) client_.local = *xclient.local_address;
  // As at the beginning of a connection, but for what the proxy said.
  client_.login = xclient.login.value_or("");
  client_.senders.clear();
  client_.certificates.clear();
  login_mechanism_ = client_.login.empty() ? "" : "XCLIENT";
  proof_.reset();
  become(*peer, xclient.name.value_or(""));
  log::connected(client_name_);
  helo_ = xclient.helo.value_or("");
  esmtp_ = xclient.protocol.value_or("ESMTP") == "ESMTP";
  errors_ = unknown_recipients_ = junk_ = failed_logins_ = 0;
  if (std::optional<smtp::Reply> refused = no_place()) return close_with(*std::move(refused));
  return smtp::reply::greeting(config_->hostname);
}

}  // namespace waypost::mta
