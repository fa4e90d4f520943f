#include "delivery/disposition.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "base/escape.h"
#include "base/text.h"

namespace waypost::delivery {

namespace {

constexpr std::string_view kInDoubt = "in doubt: ";
constexpr std::string_view kLoginRefused = "login as ", kCannotLogIn = "cannot log in as ";
constexpr std::string_view kWantsLogin = "the host wants a login";
constexpr const char* kNotTheCertificate = "the certificate is not what TLS policy wants";
constexpr const char* kWantsTls = "TLS policy wants TLS";

constexpr std::size_t kMaxReply = 512;  // RELIABILITY, Hardening 8

/// What we were about when it happened, as in "lost connection while ...".
std::string_view doing(Stage stage) {
  switch (stage) {
    case Stage::connect:
      return "connecting";
    case Stage::banner:
      return "awaiting the greeting";
    case Stage::ehlo:
      return "awaiting the reply to EHLO";
    case Stage::starttls:
      return "awaiting the reply to STARTTLS";
    case Stage::handshake:
      return "shaking hands for TLS";
    case Stage::auth:
      return "awaiting the reply to AUTH";
    case Stage::mail:
      return "awaiting the reply to MAIL";
    case Stage::rcpt:
      return "awaiting the reply to RCPT";
    case Stage::data:
      return "awaiting the reply to DATA";
    case Stage::body:
      return "sending the message";
    case Stage::chunk:
      return "awaiting the reply to BDAT";
    case Stage::final_dot:
      return "awaiting the reply to the final dot";
    case Stage::rset:
      return "awaiting the reply to RSET";
  }
  return "";
}

/// Text that is fit for a log already, no longer than a reply may be.
std::string cut(std::string text) {
  return shortened(std::move(text), kMaxReply);
}

/// Of `mx1.b.example[192.0.2.7]:25` what a person wants to see: `mx1.b.example [192.0.2.7]`, the name alone where it is
/// the address, and a port that is another one.
std::string host_in_words(std::string_view host) {
  const std::size_t open = host.find('['), close = host.rfind(']');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return std::string(host);
  const std::string_view name = host.substr(0, open), address = host.substr(open + 1, close - open - 1);
  const std::string_view port = host.substr(close + 1);
  std::string out(name);
  if (name != address) out += " [" + std::string(address) + "]";
  return port == ":25" ? out : out + std::string(port);
}

std::string shown(const smtp::Reply& reply) {
  return escape(reply.text(), kMaxReply);
}

/// The reply's enhanced code if it is of that class: the reply code's class wins (RFC 3463 §2).
std::string status_of(int klass, const smtp::Reply& reply, std::string_view otherwise) {
  if (reply.enhanced && reply.enhanced->klass == klass) return reply.enhanced->text();
  return std::string(otherwise);
}

/// 552 to RCPT was RFC 821's "too many recipients", and is temporary (RFC 5321 §4.5.3.1.10).
Outcome no_room(const smtp::Reply& reply, Outcome outcome) {
  outcome.status = "4.5.3";
  if (reply.enhanced) {
    smtp::EnhancedCode code = *reply.enhanced;
    code.klass = 4;
    outcome.status = code.text();
  }
  outcome.try_next_host = true;
  return outcome;
}

/// The replies to a command that is not there (RFC 5321 §4.2.4). They say nothing of the message, which the host has
/// taken for further commands if it has read it.
bool knows_no_bdat(const smtp::Reply& reply) {
  return reply.code == 500 || reply.code == 502 || reply.code == 503 || reply.code == 504;
}

std::string_view status_of(Stage stage, Errc code) {
  if (is_ours(code)) return "4.3.0";
  if (stage == Stage::handshake) return "4.7.5";
  if (code == Errc::protocol) return "4.5.0";
  return stage == Stage::connect ? "4.4.1" : "4.4.2";
}

std::string reason_of(Stage stage, const Error& error) {
  std::string about(doing(stage));
  switch (error.code) {
    case Errc::timed_out:
      return "timed out while " + about;
    case Errc::closed:
      return "lost connection while " + about;
    case Errc::cancelled:
      return "stopped while " + about;
    case Errc::refused:
      return "connection refused";
    case Errc::protocol:
      return "protocol error while " + about + ": " + error.what;
    default:
      return "while " + about + ": " + error.what;
  }
}

}  // namespace

std::string shortened(std::string text, std::size_t max_octets) {
  if (text.size() <= max_octets) return text;
  std::size_t end = max_octets - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text + "...";
}

Outcome of_reply(Stage stage, const smtp::Reply& reply, const std::string& host) {
  if (is_host_failure(stage, reply)) return from_host_failure(host_failure(stage, reply, host));
  Outcome outcome;
  outcome.reply = shown(reply);
  outcome.host = host;
  if (stage == Stage::rcpt && reply.code == 552) return no_room(reply, outcome);
  if (reply.permanent()) {
    outcome.event = queue::Event::attempt_failed;
    outcome.status = status_of(5, reply, "5.0.0");
  } else if (reply.positive() && (stage == Stage::final_dot || stage == Stage::chunk)) {
    outcome.event = queue::Event::attempt_relayed;
    outcome.status = status_of(2, reply, "2.0.0");
  } else {
    outcome.status = status_of(4, reply, "4.0.0");
    outcome.try_next_host = true;
  }
  return outcome;
}

bool is_host_failure(Stage stage, const smtp::Reply& reply) {
  if (reply.code == 421) return true;
  switch (stage) {
    case Stage::connect:
    case Stage::banner:
    case Stage::ehlo:
      return !reply.positive();
    case Stage::mail:  // out of step: that says nothing of the message
      return reply.intermediate() || reply.code == 503;
    case Stage::data:
      return reply.positive();
    case Stage::chunk:
      return reply.intermediate() || knows_no_bdat(reply);
    default:
      return reply.intermediate();
  }
}

HostFailure host_failure(Stage stage, const smtp::Reply& reply, const std::string& host) {
  HostFailure failure;
  failure.host = host;
  failure.reason = shown(reply);
  if (stage == Stage::chunk && knows_no_bdat(reply)) {
    failure.status = "4.5.1";
    failure.reason = cut("the host offers CHUNKING, but to BDAT it says: " + failure.reason);
  } else if (reply.transient() || reply.permanent()) {
    failure.status = status_of(4, reply, "4.3.2");
  } else {
    failure.status = "4.5.0";
    failure.reason = cut("unexpected reply while " + std::string(doing(stage)) + ": " + failure.reason);
  }
  return failure;
}

bool is_ours(Errc code) {
  static constexpr std::array kPeers = {Errc::protocol, Errc::closed, Errc::timed_out, Errc::refused,
                                        Errc::unreachable};
  return std::find(kPeers.begin(), kPeers.end(), code) == kPeers.end();
}

HostFailure of_error(Stage stage, const Error& error, const std::string& host) {
  HostFailure failure;
  failure.host = host;
  failure.status = status_of(stage, error.code);
  failure.reason = cut(reason_of(stage, error));
  failure.ours = is_ours(error.code);
  failure.bad_source = stage == Stage::connect && error.code == Errc::invalid;
  const bool is_tls = stage == Stage::starttls || stage == Stage::handshake;
  if (is_tls && !failure.ours) failure.tls_trouble = HostFailure::Tls::handshake;
  return failure;
}

HostFailure in_doubt(const Error& error, const std::string& host) {
  HostFailure failure = of_error(Stage::final_dot, error, host);
  failure.status = "4.4.2";
  failure.reason = cut(std::string(kInDoubt) + failure.reason);
  return failure;
}

bool is_doubt(std::string_view reply) {
  return reply.starts_with(kInDoubt);
}

bool is_reply(std::string_view text) {
  const std::string_view code = text.substr(0, 3);
  const bool digits = code.size() == 3 && std::all_of(code.begin(), code.end(), [](char c) { return is_digit(c); });
  return digits && code.front() >= '2' && code.front() <= '5' && (text.size() == 3 || text[3] == ' ');
}

std::string in_words(std::string_view host, std::string_view status, std::string_view reply) {
  const std::string who = host_in_words(host), what(reply);
  if (is_reply(reply)) return who + " answered: " + what;
  if (is_doubt(reply)) return who + " did not confirm that it took it: " + what.substr(kInDoubt.size());
  if (status == "4.4.1") return who + " could not be reached: " + what;
  return who + " did not take it: " + what;
}

Outcome settled_by_hand(bool delivered, const std::string& reason, const std::string& host) {
  Outcome outcome;
  outcome.own_words = true;
  outcome.event = delivered ? queue::Event::attempt_relayed : queue::Event::attempt_failed;
  outcome.status = delivered ? "2.0.0" : "5.4.2";
  outcome.reply = cut(std::string("an administrator found that the host ") + (delivered ? "has it" : "has it not") +
                      (reason.empty() ? "" : ": " + escape(reason, kMaxReply)));
  outcome.host = host;
  return outcome;
}

Outcome bounced_by_hand(const std::string& reason) {
  Outcome outcome;
  outcome.own_words = true;
  outcome.event = queue::Event::attempt_failed;
  outcome.status = "5.0.0";
  outcome.reply =
      cut("an administrator of this relay returned it" + (reason.empty() ? "" : ": " + escape(reason, kMaxReply)));
  return outcome;
}

Outcome from_doubt(const HostFailure& failure) {
  Outcome outcome = from_host_failure(failure);
  outcome.try_next_host = false;
  return outcome;
}

HostFailure loops_back(const std::string& hostname, const std::string& host) {
  HostFailure failure;
  failure.host = host;
  failure.status = "5.4.6";
  failure.reason = cut("mail loops back to myself: the host greets as " + escape(hostname, kMaxReply));
  failure.loop = true;
  return failure;
}

HostFailure starttls_refused(const smtp::Reply& reply, const std::string& host) {
  HostFailure failure;
  failure.host = host;
  failure.status = status_of(4, reply, "4.7.4");
  failure.reason = cut("STARTTLS was refused: " + shown(reply));
  failure.tls_trouble = HostFailure::Tls::handshake;
  return failure;
}

HostFailure injected(std::size_t octets, const std::string& host) {
  HostFailure failure;
  failure.host = host;
  failure.status = "4.7.0";
  failure.reason = "behind STARTTLS came " + std::to_string(octets) + " octets in clear: somebody is in between";
  failure.tls_trouble = HostFailure::Tls::policy;
  return failure;
}

HostFailure too_little_tls(const TlsEvidence& evidence, const std::string& host) {
  HostFailure failure;
  failure.host = host;
  failure.status = evidence.is_encrypted() ? "4.7.5" : "4.7.4";
  failure.tls_trouble = HostFailure::Tls::policy;
  failure.reason = evidence.is_encrypted() ? kNotTheCertificate : kWantsTls;
  failure.reason += ", " + text(evidence.policy) + ": " + evidence.why;
  for (std::size_t i = 0; i < evidence.names.size(); ++i)
    failure.reason += (i == 0 ? "; it is for " : ", ") + evidence.names[i];
  failure.reason = cut(std::move(failure.reason));
  return failure;
}

HostFailure login_refused(const std::string& user, const smtp::Reply& reply, const std::string& host) {
  HostFailure failure;
  failure.host = host;
  failure.status = status_of(4, reply, reply.transient() ? "4.7.0" : "4.7.8");
  if (reply.permanent() && reply.enhanced) failure.status = "4" + reply.enhanced->text().substr(1);
  failure.reason = cut(std::string(kLoginRefused) + escape(user, kMaxReply) + " was refused: " + shown(reply));
  failure.login = !reply.transient();
  return failure;
}

HostFailure cannot_log_in(const std::string& user, const Error& error, const std::string& host) {
  HostFailure failure;
  failure.host = host;
  failure.status = "4.7.8";
  failure.reason = cut(std::string(kCannotLogIn) + escape(user, kMaxReply) + ": " + error.what);
  failure.login = true;
  return failure;
}

bool wants_login(const smtp::Reply& reply) {
  return reply.code == 530 || reply.code == 534 || reply.code == 535 || reply.code == 538;
}

HostFailure login_wanted(const smtp::Reply& reply, const std::string& host) {
  HostFailure failure;
  failure.host = host;
  failure.status = "4.7.0";
  failure.reason = cut(std::string(kWantsLogin) + ": " + shown(reply));
  failure.login = true;
  return failure;
}

Outcome from_host_failure(const HostFailure& failure) {
  Outcome outcome;
  outcome.event = failure.loop ? queue::Event::attempt_failed : queue::Event::attempt_deferred;
  outcome.status = failure.status;
  outcome.reply = failure.reason;
  outcome.host = failure.host;
  outcome.tls = failure.tls;
  outcome.try_next_host = !failure.ours && !failure.loop;
  return outcome;
}

std::string for_senders(std::string_view reason) {
  for (const std::string_view login : {kLoginRefused, kCannotLogIn, kWantsLogin})
    if (reason.starts_with(login)) return "the mail server does not let this relay in";
  for (const std::string_view tls : {kNotTheCertificate, kWantsTls})
    if (reason.starts_with(tls)) return std::string(tls);
  // "connect to 192.0.2.1:25 from 10.0.0.5:0: ...", and the like
  std::string out(reason);
  const std::size_t from = is_reply(reason) ? std::string::npos : out.find(" (from ");
  const std::size_t end = from == std::string::npos ? from : out.find(')', from);
  if (end != std::string::npos) out.erase(from, end + 1 - from);
  return out;
}

Outcome too_big(std::uint64_t octets, std::uint64_t limit, const std::string& host) {
  Outcome outcome;
  outcome.own_words = true;
  outcome.event = queue::Event::attempt_failed;
  outcome.status = "5.3.4";
  outcome.reply =
      "message of " + std::to_string(octets) + " octets is over the host's limit of " + std::to_string(limit);
  outcome.host = host;
  return outcome;
}

Outcome needs_smtputf8(const std::string& host) {
  Outcome outcome;
  outcome.own_words = true;
  outcome.event = queue::Event::attempt_failed;
  outcome.status = "5.6.7";
  outcome.reply = "the message needs SMTPUTF8, which the host does not offer";
  outcome.host = host;
  outcome.try_next_host = true;
  return outcome;
}

Outcome needs_conversion(const std::string& why, const std::string& host) {
  Outcome outcome;
  outcome.own_words = true;
  outcome.event = queue::Event::attempt_failed;
  outcome.status = "5.6.3";
  outcome.reply = why;
  outcome.host = host;
  outcome.try_next_host = true;
  return outcome;
}

Outcome needs_tls(bool verified, const std::string& host) {
  Outcome outcome;
  outcome.own_words = true;
  outcome.status = verified ? "4.7.30" : "4.7.10";
  outcome.reply = std::string("the message asks for REQUIRETLS, ") +
                  (verified ? "which the host does not offer" : "and the session has no TLS that is verified");
  outcome.host = host;
  outcome.try_next_host = true;
  return outcome;
}

Outcome of_local_error(const Error& error) {
  Outcome outcome;
  outcome.status = error.code == Errc::full ? "4.3.1" : "4.3.0";
  outcome.reply = cut(error.what);
  return outcome;
}

Outcome delivered(const std::string& host) {
  Outcome outcome;
  outcome.event = queue::Event::attempt_delivered;
  outcome.status = "2.0.0";
  outcome.reply = "delivered to " + host;
  outcome.host = host;
  return outcome;
}

Outcome delivery_loop(const std::string& mailbox, const std::string& host) {
  Outcome outcome;
  outcome.event = queue::Event::attempt_failed;
  outcome.status = "5.4.6";
  outcome.reply = cut("mail forwarding loop for " + escape(mailbox, kMaxReply));
  outcome.host = host;
  return outcome;
}

}  // namespace waypost::delivery
