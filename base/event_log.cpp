#include "base/event_log.h"

#include <string>

#include "base/log_writer.h"
#include "base/metrics.h"

namespace waypost::log {

void starting(std::string_view version, std::string_view config_file) {
  Event(Level::info, "master", "starting")
      .words("daemon started -- ", "")
      .add("version", version)
      .add("configuration", config_file)
      .write();
}
void confined(std::string_view by) {
  Event(Level::info, "master", "confined").words("confined: ", "").add("by", by, Form::alone).write();
}
void ready(std::string_view listeners) {
  Event(Level::info, "master", "ready")
      .words("ready, listening on ", "")
      .add("listeners", listeners, Form::alone)
      .write();
}
void stopping(std::string_view why) {
  Event(Level::info, "master", "stopping").words("stopping: ", "").add("why", why, Form::alone).write();
}
void stopped() {
  Event(Level::info, "master", "stopped").words("stopped").write();
}
void config_warning(std::string_view finding) {
  Event(Level::warning, "master", "config_warning").words("warning: ", "").add("finding", finding, Form::alone).write();
}
void config_error(std::string_view finding) {
  Event(Level::error, "master", "config_error").words("error: ", "").add("finding", finding, Form::alone).write();
}
void reloaded(std::string_view config_file) {
  Event(Level::info, "master", "reloaded").words("reload -- ", "").add("configuration", config_file).write();
}
void reload_failed(std::string_view why) {
  Event(Level::error, "master", "reload_failed")
      .words("error: reload refused, the old configuration stays: ", "")
      .add("why", why, Form::alone)
      .write();
}
void warning(std::string_view what) {
  Event(Level::warning, "master", "warning").words("warning: ", "").add("what", what, Form::alone).write();
}
void failure(std::string_view what) {
  Event(Level::error, "master", "failure").words("error: ", "").add("what", what, Form::alone).write();
}

void connected(std::string_view client) {
  Event(Level::debug, "smtpd", "connected").words("connect from ", "").add("client", client, Form::alone).write();
}
void disconnected(std::string_view client, std::string_view why) {
  Event(Level::debug, "smtpd", "disconnected")
      .words("disconnect from ", "")
      .add("client", client, Form::alone)
      .add("why", why, Form::parens)
      .write();
}
void session_failed(std::string_view client, std::string_view why) {
  Event(Level::error, "smtpd", "session_failed")
      .words("error: session with ", "")
      .add("client", client, Form::alone)
      .add("why", why, Form::parens)
      .write();
}
void requested(std::string_view client, std::string_view command, std::uint64_t recipients) {
  Event(Level::info, "smtpd", "requested")
      .add("client", client)
      .add("command", command)
      .number("recipients", recipients)
      .write();
}
void rejected(std::string_view client, std::string_view stage, std::string_view reply, std::string_view from,
              std::string_view to, std::string_view protocol, std::string_view helo) {
  const bool is_for_good = !reply.empty() && reply.front() == '5';
  metrics::events().rejected.at(metrics::reject_reason(reply), is_for_good ? "5" : "4").add();
  Event event(Level::info, "smtpd", "rejected");
  event.words("NOQUEUE: reject: ", "")
      .add("stage", stage, Form::alone)
      .words(" from ", "")
      .add("client", client, Form::alone);
  event.words(": ", "").add("reply", reply, Form::alone).words("; ", "").add("from", from, Form::angle).words("", " ");
  event.add("to", to, Form::angle)
      .words("", " ")
      .add("proto", protocol)
      .words("", " ")
      .add("helo", helo, Form::angle)
      .write();
}
void foreign_protocol(std::string_view client, std::string_view protocol) {
  Event(Level::info, "smtpd", "foreign_protocol")
      .words("warning: non-SMTP command from ", "")
      .add("client", client, Form::alone)
      .words(": ", "")
      .add("protocol", protocol, Form::alone)
      .write();
}
void tls_established(std::string_view client, std::string_view version, std::string_view cipher, int bits,
                     std::string_view server_name, std::string_view peer) {
  metrics::events().handshakes_in.at(version, "success").add();
  Event event(Level::info, "smtpd", "tls_established");
  event.words(peer.empty() ? "Anonymous TLS connection established from " : "TLS connection established from ", "")
      .add("client", client, Form::alone);
  if (!server_name.empty()) event.words(" to ", "").add("server_name", server_name, Form::alone);
  event.words(": ", "").add("version", version, Form::alone).words(" with cipher ", "");
  event.add("cipher", cipher, Form::alone).words(" (", "").number_alone("bits", bits);
  event.words(fmt::format("/{} bits)", bits));
  if (!peer.empty()) event.words(", ", "").add("subject", peer);
  event.write();
}
void tls_failed(std::string_view client, std::string_view why) {
  metrics::events().handshakes_in.at("none", "failure").add();
  Event(Level::info, "smtpd", "tls_failed")
      .words("SSL_accept error from ", "")
      .add("client", client, Form::alone)
      .words(": ", "")
      .add("why", why, Form::alone)
      .write();
}
void injected(std::string_view client, std::size_t octets) {
  Event(Level::warning, "smtpd", "injected")
      .words("warning: ", "")
      .add("client", client, Form::alone)
      .words(" sent commands in clear behind STARTTLS, an attack or a broken client: ", "")
      .number("octets", octets)
      .write();
}
void connection_lost(std::string_view client, std::string_view how, std::string_view after) {
  Event(Level::info, "smtpd", "connection_lost")
      .add("how", how, Form::alone)
      .words(" after ", "")
      .add("after", after, Form::alone)
      .words(" from ", "")
      .add("client", client, Form::alone)
      .write();
}
void storage_refused(std::string_view client, std::string_view why) {
  metrics::events().rejected.at("system", "4").add();
  Event(Level::warning, "smtpd", "storage_refused")
      .words("warning: a message from ", "")
      .add("client", client, Form::alone)
      .words(" was put off: ", "")
      .add("why", why, Form::alone)
      .write();
}
void accepted_from(std::string_view id, std::string_view client, std::string_view mechanism, std::string_view user) {
  metrics::events().accepted.add();
  Event event(Level::info, "smtpd", "accepted_from", id);
  event.add("client", client);
  if (!user.empty()) event.add("sasl_method", mechanism).add("sasl_username", user);
  event.write();
}
void logged_in(std::string_view client, std::string_view mechanism, std::string_view user) {
  metrics::events().logins.at(mechanism, "success").add();
  Event(Level::debug, "smtpd", "logged_in")
      .words("login from ", "")
      .add("client", client, Form::alone)
      .words("", ", ")
      .add("sasl_method", mechanism)
      .add("sasl_username", user)
      .write();
}
void login_failed(std::string_view client, std::string_view mechanism, std::string_view why, std::string_view user) {
  metrics::events().logins.at(mechanism, "failure").add();
  Event event(Level::warning, "smtpd", "login_failed");
  event.words("warning: ", "")
      .add("client", client, Form::alone)
      .words(": SASL ", "")
      .add("sasl_method", mechanism, Form::alone)
      .words(" authentication failed: ", "")
      .add("why", why, Form::alone);
  if (!user.empty()) event.words("", ", ").add("sasl_username", user);
  event.write();
}
void message_id(std::string_view id, std::string_view value) {
  Event(Level::info, "cleanup", "message_id", id).add("message-id", value).write();
}
void queued(std::string_view id, std::string_view from, std::uint64_t size, std::size_t recipients) {
  Event(Level::info, "qmgr", "queued", id)
      .add("from", from, Form::angle)
      .number("size", size)
      .number("nrcpt", recipients)
      .words(" (queue active)")
      .write();
}

void attempt(const Attempt& attempt) {
  const double delay = static_cast<double>(attempt.delay.count()) / 1000.0;
  metrics::Events& count = metrics::events();
  count.deliveries.at(attempt.status, attempt.dsn.substr(0, 1)).add();
  if (attempt.status == "sent") count.delivery_delay.observe(attempt.delay);
  Event event(Level::info, "smtp", "attempt", attempt.id);
  event.add("to", attempt.to, Form::angle).add("relay", attempt.relay.empty() ? "none" : attempt.relay);
  event.add("delay", delay < 10 ? fmt::format("{:.2f}", delay) : fmt::format("{:.0f}", delay));
  event.add("dsn", attempt.dsn).add("status", attempt.status).add("reply", attempt.reply, Form::parens);
  // At the end: pflogsumm wants what stands before it to be there and in this order.
  if (!attempt.tls.empty()) event.add("tls", attempt.tls);
  event.write();
}
void notified(std::string_view id, std::string_view notification, std::string_view kind) {
  metrics::events().notifications.at(kind, "").add();
  Event(Level::info, "bounce", "notified", id)
      .words("sender ", "")
      .add("kind", kind, Form::alone)
      .words(" notification: ", "")
      .add("notification", notification, Form::alone)
      .write();
}
void not_notified(std::string_view id, std::string_view to, std::string_view why) {
  Event(Level::warning, "bounce", "not_notified", id)
      .words("warning: no notification, ", "")
      .add("why", why, Form::alone)
      .words(": ", "")
      .add("to", to, Form::angle)
      .write();
}
void digest(std::string_view id, std::uint64_t messages) {
  metrics::events().notifications.at("digest", "").add();
  Event(Level::info, "bounce", "digest", id)
      .words("digest for the postmaster: ", "")
      .number("undelivered", messages)
      .write();
}
void left_queue(std::string_view id) {
  Event(Level::info, "qmgr", "left_queue", id).words("removed").write();
}
void destination_deferred(std::string_view destination, std::uint32_t failures, std::chrono::seconds wait,
                          std::string_view host, std::string_view dsn, std::string_view reason) {
  Event event(Level::info, "qmgr", "destination_deferred");
  event.add("destination", destination).add("host", host.empty() ? "none" : host).number("failures", failures);
  event.number("next", wait.count()).add("dsn", dsn).add("reason", reason, Form::parens).write();
}
void tls_given_up(std::string_view relay, std::string_view why, std::chrono::seconds time) {
  Event event(Level::warning, "smtp", "tls_given_up");
  event.words("warning: TLS failed, mail goes there in clear: ", "")
      .add("relay", relay)
      .number("seconds", time.count());
  event.add("reason", why, Form::parens).write();
}
void done_without(std::string_view relay, std::string_view extension, std::string_view why, std::chrono::seconds time) {
  Event event(Level::warning, "smtp", "done_without");
  event.words("warning: mail goes there without what it may have failed at: ", "")
      .add("relay", relay)
      .add("extension", extension)
      .number("seconds", time.count());
  event.add("reason", why, Form::parens).write();
}
void site_slowed(std::string_view site, std::chrono::milliseconds spacing, std::chrono::seconds time,
                 std::string_view reason) {
  Event event(Level::info, "qmgr", "site_slowed");
  event.add("site", site).number("spacing_ms", spacing.count()).number("seconds", time.count());
  event.add("reason", reason, Form::parens).write();
}
void destination_recovered(std::string_view destination) {
  Event(Level::info, "qmgr", "destination_recovered")
      .add("destination", destination)
      .words(" (reachable again)")
      .write();
}

void changed(std::string_view verb, std::string_view filter, std::uint64_t messages, std::string_view reason,
             std::uint32_t uid) {
  Event(Level::info, "postsuper", "changed")
      .add("verb", verb)
      .add("filter", filter)
      .number("messages", messages)
      .add("reason", reason)
      .number("uid", uid)
      .write();
}

}  // namespace waypost::log
