// MAIL and RCPT: whether this client may send this, and to whom it goes.
#include <utility>

#include "base/event_log.h"
#include "base/text.h"
#include "conf/units.h"
#include "mta/aliases.h"
#include "mta/client_class.h"
#include "mta/session.h"
#include "smtp/parameters.h"

namespace waypost::mta {
namespace {

/// To what a person reads at a glance.
std::chrono::seconds rounded_up(std::chrono::seconds wait) {
  using namespace std::chrono_literals;
  const std::chrono::seconds unit = wait > 2h ? 3600s : wait > 2min ? 60s : 1s;
  return (wait + unit - 1s) / unit * unit;
}

/// As recipients are compared (smtp::Mailbox): so that each is stored once.
std::string recipient_key(const smtp::Mailbox& mailbox) {
  std::string local = smtp::is_postmaster(mailbox) ? "postmaster" : mailbox.local;
  return local + '@' + smtp::domain_key(mailbox.domain);
}

/// What an alias became: its sender knows the alias, and hears of nobody else (RFC 3461 §4.2, §5.2.7).
void by_alias(smtp::EnvelopeRecipient& recipient, const smtp::Path& alias) {
  recipient.notify.bits |= smtp::Notify::kByAlias;
  const bool is_given =
      starts_with_no_case(recipient.orcpt, "rfc822;") || starts_with_no_case(recipient.orcpt, "utf-8;");
  if (!is_given) recipient.orcpt = smtp::orcpt_of(alias.text());
}

/// Of those whom an alias of several became: the report that it was expanded is all that tells of success (RFC 3461
/// §5.2.7.3).
smtp::Notify without_success(smtp::Notify notify) {
  notify.bits &= static_cast<std::uint8_t>(~smtp::Notify::kSuccess);
  if (notify.asked() == 0) notify.bits |= smtp::Notify::kNever;
  return notify;
}

/// Somebody whom an alias has brought already: what is asked for him himself counts.
void name_directly(std::vector<smtp::EnvelopeRecipient>& recipients, const smtp::EnvelopeRecipient& named) {
  const std::string key = recipient_key(named.forward_path.mailbox);
  for (smtp::EnvelopeRecipient& each : recipients)
    if (recipient_key(each.forward_path.mailbox) == key) each = named;
}

delivery::Subject expanded_subject(const smtp::EnvelopeRecipient& alias) {
  delivery::Subject subject{alias.forward_path, alias.notify, delivery::ReportedRecipient()};
  subject.report.address = alias.forward_path.text();
  subject.report.orcpt = alias.orcpt;
  subject.report.action = delivery::ReportedRecipient::Action::expanded;
  subject.report.status = "2.0.0";
  subject.report.reply = "this address stands for several recipients";
  return subject;
}

}  // namespace

smtp::Reply Session::on(const smtp::Mail& mail) {
  if (helo_.empty()) return smtp::reply::bad_sequence("Send EHLO first");
  if (transaction_) return smtp::reply::bad_sequence("A transaction is open already");
  bool accepting = context_.accepting.load(std::memory_order_relaxed);
  if (!accepting) return close_with(smtp::reply::not_accepting(config_->hostname));
  use(context_.config());
  if (!login_holds()) {
    log::login_failed(client_name_, login_mechanism_, "changed or taken back since", client_.login);
    return close_with(smtp::reply::login_over(config_->hostname));
  }

  smtp::Envelope envelope;
  envelope.reverse_path = completed(*config_, listener_.role, mail.reverse_path);
  envelope.body = mail.parameters.body;
  envelope.size = mail.parameters.size;
  envelope.smtputf8 = mail.parameters.smtputf8;
  envelope.require_tls = mail.parameters.require_tls;
  envelope.ret = mail.parameters.ret;
  envelope.envid = mail.parameters.envid;
  Decision<smtp::Path> admitted =
      admit_sender(*config_, client_, listener_.role, envelope.reverse_path, mail.parameters);
  if (!admitted) {
    log_rejected("MAIL", &envelope, "", admitted.error());
    return admitted.error();
  }
  envelope.reverse_path = *std::move(admitted);
  transaction_.emplace();
  transaction_->envelope = std::move(envelope);
  const conf::ClientClass* of = client_.client_class;
  if (of != nullptr && context_.rates != nullptr) {
    transaction_->rates.emplace(*context_.rates, Rates::Key{of->name, rate_key(*of, client_)});
  }
  std::optional<smtp::Reply> refused = over_rate(Rates::Kind::messages);
  if (!refused) return smtp::reply::sender_ok();
  log_rejected("MAIL", &transaction_->envelope, "", *refused);
  transaction_.reset();
  return *std::move(refused);
}

/// One more, if the rate of the client's class allows it.
std::optional<smtp::Reply> Session::over_rate(Rates::Kind kind) {
  if (!transaction_->rates) return std::nullopt;
  const bool messages = kind == Rates::Kind::messages;
  const std::optional<conf::Rate>& rate =
      messages ? client_.client_class->message_rate : client_.client_class->recipient_rate;
  if (!rate) return std::nullopt;
  const std::optional<std::chrono::seconds> wait = transaction_->rates->take(kind, *rate, context_.runtime.wall_now());
  if (!wait) return std::nullopt;
  const std::string text = std::to_string(rate->most) + (messages ? " messages in " : " recipients in ");
  return smtp::reply::rate_reached(text + conf::duration_text(rate->period), conf::duration_text(rounded_up(*wait)));
}

/// `<postmaster>` is whole without a domain (RFC 5321 §4.5.1).
smtp::Path Session::completed_recipient(const smtp::Rcpt& rcpt) const {
  if (smtp::is_postmaster(rcpt.forward_path.mailbox)) return rcpt.forward_path;
  return completed(*config_, listener_.role, rcpt.forward_path);
}

smtp::Reply Session::on(const smtp::Rcpt& rcpt) {
  if (!transaction_) return smtp::reply::bad_sequence("Send MAIL first");
  if (transaction_->reception) return smtp::reply::bad_sequence("The message has begun");
  const std::vector<smtp::EnvelopeRecipient>& recipients = transaction_->envelope.recipients;
  if (recipients.size() >= most_recipients(*config_, client_)) return smtp::reply::too_many_recipients();
  const smtp::Path given = completed_recipient(rcpt);
  Decision<smtp::Path> admitted = admit_recipient(*config_, client_, listener_.role, given);
  if (!admitted) {
    log_rejected("RCPT", &transaction_->envelope, rcpt.forward_path.text(), admitted.error());
    return admitted.error();
  }
  // Said twice it is nothing new, and a list is not gone through again.
  if (transaction_->asked.contains(recipient_key(admitted->mailbox))) return smtp::reply::recipient_ok();
  // As it was given: whom mail for <postmaster> reaches may have any name.
  const bool to_postmaster = smtp::is_postmaster(rcpt.forward_path.mailbox);
  if (!to_postmaster && has_to_ask(*admitted)) return later(rcpt);
  if (!to_postmaster) {
    if (std::optional<smtp::Reply> refused = known_refusal()) {
      log_rejected("RCPT", &transaction_->envelope, rcpt.forward_path.text(), *refused);
      return *std::move(refused);
    }
  }
  return take_recipient(rcpt, *admitted);
}

/// `path` is the recipient's as it was admitted.
smtp::Reply Session::take_recipient(const smtp::Rcpt& rcpt, const smtp::Path& path) {
  std::vector<smtp::EnvelopeRecipient>& recipients = transaction_->envelope.recipients;
  const std::size_t most = most_recipients(*config_, client_);
  if (transaction_->asked.size() >= most) return smtp::reply::too_many_recipients();
  const std::vector<smtp::Path> paths = expand_aliases(*config_, path);
  if (paths.empty()) {
    log::failure("the aliases of " + path.text() + " go round: mail for it is put off");
    return smtp::reply::local_error();
  }
  if (!recipients.empty() && recipients.size() + paths.size() > most) return smtp::reply::too_many_recipients();
  if (std::optional<smtp::Reply> refused = over_rate(Rates::Kind::recipients)) {
    log_rejected("RCPT", &transaction_->envelope, rcpt.forward_path.text(), *refused);
    return *std::move(refused);
  }
  const smtp::EnvelopeRecipient named{path, rcpt.parameters.notify, rcpt.parameters.orcpt};
  const bool expanded = paths.size() > 1 && (named.notify.bits & smtp::Notify::kSuccess) != 0;
  if (expanded) transaction_->expanded.push_back(expanded_subject(named));
  for (const smtp::Path& each : paths) {
    bool is_new = transaction_->known.insert(recipient_key(each.mailbox)).second;
    if (!is_new && each == path) name_directly(recipients, named);
    if (!is_new) continue;
    smtp::EnvelopeRecipient recipient = named;
    recipient.forward_path = each;
    if (expanded) recipient.notify = without_success(named.notify);
    if (!(each == path)) by_alias(recipient, path);
    recipients.push_back(std::move(recipient));
  }
  transaction_->asked.insert(recipient_key(path.mailbox));
  return smtp::reply::recipient_ok();
}

}  // namespace waypost::mta
