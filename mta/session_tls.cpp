// TLS from the first octet, or by STARTTLS (RFC 3207): nothing that came in clear is known after it.
#include <algorithm>
#include <utility>

#include "base/event_log.h"
#include "mta/client_class.h"
#include "mta/session.h"

namespace waypost::mta {

std::shared_ptr<const net::TlsServer> Session::tls_server() const {
  return context_.tls ? context_.tls(listener_.role) : nullptr;
}

bool Session::can_start_tls() const {
  return listener_.tls == conf::ListenerTls::starttls && !tls_ && tls_server() != nullptr;
}

smtp::Reply Session::on(const smtp::StartTls&) {
  if (tls_) return smtp::reply::bad_sequence("TLS is active already");
  if (listener_.tls != conf::ListenerTls::starttls) {
    look_for_tls_ = true;  // some go on as if it had been offered
    return smtp::reply::not_offered("STARTTLS");
  }
  // What came behind it in clear would be taken for the client's own, said under TLS (CVE-2011-0411).
  if (in_.buffered() > 0) {
    log::injected(client_name_, in_.buffered());
    in_.discard_all();
    return close_with(smtp::reply::injected(config_->hostname));
  }
  ++junk_;
  starting_tls_ = tls_server();
  return starting_tls_ ? smtp::reply::start_tls() : smtp::reply::tls_unavailable();
}

/// Says what waits to be said, the last that goes in clear, and then nothing until the handshake is done.
net::Task<Result<>> Session::secure(std::shared_ptr<const net::TlsServer> server) {
  Result<> sent = co_await flush();
  if (!sent) co_return sent;
  if (!server) {
    log::tls_failed(client_name_, "no certificate is loaded");
    co_return fail(Errc::internal, "TLS without a certificate");
  }
  Result<std::unique_ptr<net::TlsStream>> tls =
      net::tls_accept(std::move(stream_), std::move(server), context_.runtime.now());
  if (!tls) co_return fail(std::move(tls.error()));
  tls_stream_ = tls->get();
  stream_ = *std::move(tls);
  in_.attach(*stream_);

  net::TimePoint deadline = context_.runtime.now() + config_->limits.handshake_timeout;
  waiting_ = Waiting::handshake;
  Result<> shaken = co_await tls_stream_->handshake(deadline);
  waiting_ = Waiting::nothing;
  if (!shaken) {
    if (shaken.error().code != Errc::cancelled) log::tls_failed(client_name_, shaken.error().what);
    if (dialogue::is_watched()) note(dialogue::Voice::event, "TLS: " + shaken.error().what);
    co_return shaken;
  }
  tls_ = tls_stream_->info();
  log::tls_established(client_name_, tls_->version, tls_->cipher, tls_->bits, tls_->server_name,
                       tls_->peer ? tls_->peer->subject : "");
  if (dialogue::is_watched()) note(dialogue::Voice::event, tls_->version + " " + tls_->cipher);

  helo_.clear();  // RFC 3207 §4.2
  esmtp_ = false;
  transaction_.reset();
  client_.login.clear();
  client_.senders.clear();
  login_mechanism_.clear();
  proof_.reset();
  if (tls_->peer) client_.certificates = certificate_marks(*tls_->peer);
  classify();
  rules_.offered.starttls = false;
  rules_.offered.auth.clear();
  look_for_tls_ = false;
  co_return Result<>();
}

}  // namespace waypost::mta
