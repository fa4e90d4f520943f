#include "delivery/recipient_check.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/text.h"
#include "delivery/disposition.h"
#include "smtp/parameters.h"

namespace waypost::delivery {
namespace {

struct Step {
  Stage stage = Stage::mail;
  std::string line;
};

/// The command is not understood, comes out of order, or asks for a login.
bool is_about_command(const smtp::Reply& reply) {
  static constexpr std::array kCodes = {500, 502, 503, 504, 530, 555};
  if (std::find(kCodes.begin(), kCodes.end(), reply.code) != kCodes.end()) return true;
  return reply.enhanced && reply.enhanced->subject == 5;
}

/// The host does not take such mail of us: it may not even have looked who is there. One that is set up wrongly says
/// so for every address, and mail is not to be refused for that.
bool is_about_us(const smtp::Reply& reply) {
  if (!reply.enhanced) return false;
  const auto [klass, subject, detail] = *reply.enhanced;
  const bool is_sender = subject == 1 && (detail == 7 || detail == 8);
  return is_sender || subject == 3 || subject == 7;
}

std::vector<Step> steps(const Connection& connection, const smtp::Path& path, bool utf8) {
  std::vector<Step> steps;
  if (connection.transactions() > 0) steps.push_back({Stage::rset, "RSET"});
  smtp::MailParameters parameters;
  parameters.smtputf8 = utf8;
  steps.push_back({Stage::mail, "MAIL FROM:<>" + smtp::text(parameters)});
  steps.push_back({Stage::rcpt, "RCPT TO:" + path.bracketed()});
  return steps;
}

}  // namespace

Standing standing_of(const smtp::Reply& reply, const std::string& host) {
  if (is_host_failure(Stage::rcpt, reply)) return standing_of(host_failure(Stage::rcpt, reply, host));
  Standing standing;
  if (reply.positive()) {
    standing.kind = Standing::Kind::known;
    return standing;
  }
  const Outcome outcome = of_reply(Stage::rcpt, reply, host);
  const bool refused = outcome.event == queue::Event::attempt_failed;
  if (refused && !is_about_command(reply) && !is_about_us(reply)) standing.kind = Standing::Kind::unknown;
  standing.why = host + ": " + outcome.reply;
  return standing;
}

Standing standing_of(const HostFailure& failure) {
  Standing standing;
  standing.host_failed = true;
  standing.why = failure.host + ": " + failure.reason;
  return standing;
}

net::Task<Hosts> find_hosts(resolver::Resolver& resolver, net::Runtime& runtime, const conf::Config& config,
                            std::string domain, conf::NextHop next_hop, const resolver::Self& self) {
  using Kind = conf::NextHop::Kind;
  Hosts out;
  if (next_hop.kind == Kind::lmtp_socket) {
    out.peers.push_back({"localhost", net::Address::local(next_hop.value), Protocol::lmtp, {}});
    co_return out;
  }
  const bool smtp = next_hop.kind == Kind::smtp;
  resolver::LookUp look_up;
  look_up.port = next_hop.host.port != 0 ? next_hop.host.port : config.delivery.port;
  look_up.configured = true;
  resolver::Exchangers found;
  if (next_hop.look_up_mx) {
    found = co_await resolver::find_exchangers(resolver, runtime, next_hop.host.host, look_up, self);
  } else {
    found = co_await resolver::find_host(resolver, runtime, next_hop.host.host, look_up, self);
  }
  if (found.status != resolver::Exchangers::Status::found) {
    out.trouble = found.reason;
    co_return out;
  }
  const TlsTerms terms = smtp ? tls_terms(config, domain, next_hop) : TlsTerms();
  for (const resolver::Exchanger& host : found.hosts) {
    for (const net::Address& address : host.addresses) {
      if (out.peers.size() == Hosts::kMostPeers) co_return out;
      const std::string name = host.name.starts_with("[") ? address.host() : host.name;
      out.peers.push_back({name, address, smtp ? Protocol::smtp : Protocol::lmtp, terms});
    }
  }
  co_return out;
}

net::Task<Standing> check_recipient(Connection& connection, smtp::Path path) {
  const std::string host = connection.peer().text();
  const bool utf8 = !is_ascii(path.text());
  if (utf8 && !connection.extensions().smtputf8) {
    Standing standing;
    standing.kind = Standing::Kind::unknown;  // no mailbox there has such a name (RFC 6531 §3.1)
    standing.why = host + ": does not offer SMTPUTF8, which the address needs";
    co_return standing;
  }
  const std::vector<Step> all = steps(connection, path, utf8);
  connection.began_transaction();
  smtp::Reply last;
  for (const Step& step : all) {
    connection.queue_command(step.line);
    const Result<smtp::Reply> reply = co_await connection.next_reply(connection.settings().command_timeout);
    if (!reply) co_return standing_of(of_error(step.stage, reply.error(), host));
    last = *reply;
    if (step.stage == Stage::rcpt || last.positive()) continue;
    connection.give_up();
    co_return standing_of(host_failure(step.stage, last, host));
  }
  co_return standing_of(last, host);
}

}  // namespace waypost::delivery
