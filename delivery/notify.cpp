#include "delivery/notify.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "delivery/disposition.h"
#include "smtp/header_scan.h"
#include "smtp/parameters.h"
#include "smtp/trace.h"
#include "smtp/transparency.h"

namespace waypost::delivery {
namespace {

bool wanted(const Subject& subject) {
  const std::uint8_t asked = subject.notify.asked();
  if (asked == 0) return true;  // failure and delay are told where nothing was said (RFC 3461 §4.1)
  switch (subject.report.action) {
    case ReportedRecipient::Action::failed:
      return (asked & smtp::Notify::kFailure) != 0;
    case ReportedRecipient::Action::delayed:
      return (asked & smtp::Notify::kDelay) != 0;
    case ReportedRecipient::Action::delivered:
    case ReportedRecipient::Action::relayed:
    case ReportedRecipient::Action::expanded:
      return (asked & smtp::Notify::kSuccess) != 0;
  }
  return false;
}

bool has_short_lines(std::string_view octets) {
  while (octets.size() > smtp::kMaxTextLine) {
    const std::size_t end = octets.find("\r\n");
    if (end == std::string_view::npos || end > smtp::kMaxTextLine) return false;
    octets.remove_prefix(end + 2);
  }
  return true;
}

/// The address in an ORCPT of type rfc822 or utf-8; "" of another.
std::string original_address(const std::string& orcpt) {
  const auto [type, text] = split_once(orcpt, ';');
  Result<std::string> address("");
  if (equals_no_case(type, "rfc822")) address = smtp::xtext_decode(text);
  if (equals_no_case(type, "utf-8")) address = smtp::utf8_xtext_decode(text);
  return address.value_or("");
}

}  // namespace

Subject subject_of(const queue::DueRecipient& recipient, ReportedRecipient::Action action) {
  Subject subject{recipient.forward_path, recipient.notify, ReportedRecipient()};
  const std::string alias =
      (recipient.notify.bits & smtp::Notify::kByAlias) != 0 ? original_address(recipient.orcpt) : "";
  subject.report.address = alias.empty() ? recipient.forward_path.text() : alias;
  subject.report.orcpt = recipient.orcpt;
  subject.report.action = action;
  return subject;
}

std::optional<Subject> subject_of(const queue::DueRecipient& recipient, const Outcome& outcome, bool delay_over) {
  const bool failed = outcome.event == queue::Event::attempt_failed;
  const bool asked = (recipient.notify.bits & smtp::Notify::kSuccess) != 0;
  const bool after_all = delay_over && recipient.delay_told && recipient.notify.asked() == 0;
  if (!failed && !(outcome.taken() && ((asked && !outcome.reports) || after_all))) return std::nullopt;
  auto action = ReportedRecipient::Action::failed;
  if (outcome.event == queue::Event::attempt_delivered) action = ReportedRecipient::Action::delivered;
  if (outcome.event == queue::Event::attempt_relayed) action = ReportedRecipient::Action::relayed;
  Subject subject = subject_of(recipient, action);
  subject.report.status = outcome.status;
  subject.report.reply = outcome.reply;
  subject.report.host = outcome.host;
  subject.report.after_all = !failed && recipient.delay_told;
  subject.report.remote_said_it =
      !outcome.own_words && !outcome.host.empty() && outcome.host != "maildir" && is_reply(outcome.reply);
  return subject;
}

std::vector<Subject> to_be_told(const queue::MessageInfo& message, std::vector<Subject> subjects) {
  if (message.reverse_path.is_null()) return {};
  std::erase_if(subjects, [](const Subject& subject) { return !wanted(subject); });
  return subjects;
}

bool returns_whole(const queue::MessageInfo& message, const std::vector<Subject>& subjects) {
  const bool failed = std::any_of(subjects.begin(), subjects.end(), [](const Subject& subject) {
    return subject.report.action == ReportedRecipient::Action::failed;
  });
  return failed && message.ret == smtp::Ret::full && !message.require_tls && message.size <= kMaxReturnedOctets &&
         message.body != smtp::BodyType::binary_mime;
}

queue::Notification from_ourselves(const Notifier& notifier, queue::Id id, net::WallTime now) {
  queue::Notification notification;
  queue::NewMessage& out = notification.message;
  out.id = id;
  smtp::Received received;
  received.by = notifier.hostname;
  received.software = "Waypost";
  received.id = id.text();
  received.at = now;
  out.trace = smtp::received_field(received);
  out.origin.listener = "notification";
  out.message_id = "<" + id.text() + "@" + notifier.hostname + ">";
  out.arrival = now;
  out.expires = now + notifier.lifetime;
  return notification;
}

std::optional<queue::Notification> compose_notification(const Notifier& notifier, const queue::MessageInfo& message,
                                                        const std::vector<Subject>& subjects, std::string original,
                                                        queue::Id id, net::WallTime now) {
  if (subjects.empty()) return std::nullopt;
  std::string header = header_section(original);
  smtp::Path to = message.reverse_path;
  // `MAIL FROM:<postmaster>` is ours (RFC 5321 §4.5.1).
  if (to.mailbox.domain.empty()) to.mailbox.domain = notifier.hostname;

  smtp::HeaderScan scan;
  scan.feed(header);
  scan.finish();

  Report report;
  report.hostname = notifier.hostname;
  report.id = id.text();
  report.original_id = message.id.text();
  report.message_id = scan.notes().message_id;
  report.to = to.text();
  report.envid = message.envid;
  report.arrival = message.arrival;
  report.now = now;
  report.expires = message.expires;
  for (const Subject& subject : subjects) report.recipients.push_back(subject.report);
  // Lines that are too long for mail would be missing: then the header section alone.
  report.whole = returns_whole(message, subjects) && original.size() == message.size && has_short_lines(original);
  report.original = report.whole ? std::move(original) : std::move(header);

  queue::Notification notification = from_ourselves(notifier, id, now);
  notification.body = compose_report(report);
  queue::NewMessage& out = notification.message;
  smtp::EnvelopeRecipient recipient;
  recipient.forward_path = to;
  out.envelope.recipients.push_back(recipient);
  const bool eight_bit = std::any_of(notification.body.begin(), notification.body.end(),
                                     [](char c) { return static_cast<unsigned char>(c) > 127; });
  out.envelope.require_tls = message.require_tls;  // RFC 8689 §5
  out.envelope.smtputf8 = !is_ascii(to.text());    // a field names it
  out.envelope.body = eight_bit ? smtp::BodyType::eight_bit_mime : smtp::BodyType::seven_bit;
  return notification;
}

}  // namespace waypost::delivery
