#include "mta/server.h"

#include <string>
#include <string_view>
#include <utility>

#include "base/event_log.h"
#include "smtp/reply.h"

namespace waypost::mta {
namespace {

constexpr net::Duration kRefusalTimeout = std::chrono::seconds(5);

void on_exception(std::string_view what) {
  log::failure("an exception came out of the inbound side: " + std::string(what));
}

}  // namespace

conf::Listener local_listener() {
  conf::Listener listener;
  listener.role = conf::Role::submission;
  listener.tls = conf::ListenerTls::none;
  return listener;
}

Server::Server(ServerContext& context) : context_(context), scope_(context.runtime, on_exception) {}

Result<> Server::start(std::vector<Port> ports) {
  for (Port& port : ports) {
    Result<std::unique_ptr<net::Listener>> listener = context_.runtime.accept_on(std::move(port.socket));
    if (!listener) {
      acceptors_.clear();
      return fail(std::move(listener.error()));
    }
    auto acceptor = std::make_unique<Acceptor>();
    acceptor->listener = *std::move(listener);
    acceptor->config = std::move(port.listener);
    acceptors_.push_back(std::move(acceptor));
  }
  for (const std::unique_ptr<Acceptor>& acceptor : acceptors_) scope_.spawn(accept(*acceptor));
  return {};
}

void Server::stop() {
  for (const std::unique_ptr<Acceptor>& acceptor : acceptors_) acceptor->listener->close();
  scope_.stop();
}

net::Task<> Server::accept(Acceptor& acceptor) {
  bool was_busy = false;
  while (!scope_.stopping()) {
    Result<std::unique_ptr<net::Stream>> stream = co_await acceptor.listener->accept();
    if (stream) {
      was_busy = false;
      admit(*std::move(stream), acceptor.config);
      continue;
    }
    if (stream.error().code == Errc::cancelled) co_return;
    // Out of descriptors, mostly: clients wait in the system's queue, and the sessions there are free some.
    if (!was_busy) log::warning("no connections are taken for now: " + stream.error().what);
    was_busy = true;
    bool slept = co_await context_.runtime.sleep_for(kPause, scope_.stop_token());
    (void)slept;  // the loop sees a stop
  }
}

void Server::admit(std::unique_ptr<net::Stream> stream, const conf::Listener& listener) {
  std::shared_ptr<const conf::Config> config = context_.config();
  const conf::Config::Limits& limits = config->limits;
  const std::string client = stream->remote().host();
  // Of a balancer's or proxy's connections each is counted for its own client, once that is known.
  const bool is_balancer = conf::any_contains(listener.proxy, client);
  const bool is_proxy = is_balancer || conf::any_contains(listener.xclient, client);
  const bool is_ours = is_proxy || stream->remote().user() || is_trusted(*config, client);
  const int per_client = is_proxy ? limits.connections : limits.connections_per_client;
  // A handshake only to say no would cost more than the session.
  const bool in_clear = listener.tls != conf::ListenerTls::implicit && !is_balancer;
  const bool too_often =
      !is_ours && limits.connection_rate &&
      context_.limits.too_often(stream->remote(), *limits.connection_rate, context_.runtime.wall_now());
  if (too_often) return say_no(std::move(stream), in_clear, smtp::reply::connecting_too_often(config->hostname));
  std::optional<Limits::Token> place = context_.limits.acquire(
      stream->remote(), static_cast<std::size_t>(limits.connections), static_cast<std::size_t>(per_client), is_ours);
  if (!place) return say_no(std::move(stream), in_clear, smtp::reply::too_many_connections(config->hostname));
  scope_.spawn(run_session(std::move(stream), listener, *std::move(place)));
}

/// Or closes it without a word, where many are being told already.
void Server::say_no(std::unique_ptr<net::Stream> stream, bool in_clear, smtp::Reply reply) {
  if (refusing_ < kMaxRefusing) scope_.spawn(refuse(std::move(stream), in_clear, std::move(reply)));
}

net::Task<> Server::run_session(std::unique_ptr<net::Stream> stream, const conf::Listener& listener,
                                Limits::Token place) {
  ++sessions_;
  co_await serve(std::move(stream), context_, listener, std::move(place), scope_.stop_token());
  --sessions_;
}

net::Task<> Server::refuse(std::unique_ptr<net::Stream> stream, bool in_clear, smtp::Reply reply) {
  ++refusing_;
  log::rejected("unknown[" + stream->remote().host() + "]", "CONNECT", reply.text(), "", "", "SMTP", "");
  std::string wire = reply.wire();
  std::string_view whole = in_clear ? std::string_view(wire) : std::string_view();
  std::span<const std::string_view> pieces(&whole, 1);
  net::TimePoint deadline = context_.runtime.now() + kRefusalTimeout;
  Result<> told = co_await stream->write(pieces, deadline);
  (void)told;
  stream->close();
  --refusing_;
}

}  // namespace waypost::mta
