#include "delivery/digest.h"

#include <algorithm>
#include <string>

#include "base/text.h"
#include "delivery/mail_text.h"
#include "smtp/date.h"
#include "smtp/trace.h"

namespace waypost::delivery {
namespace {

void entry_for_people(std::string& out, const queue::Undelivered::Entry& entry) {
  out += "\r\n" + smtp::rfc5322_date(entry.at) + "  " + entry.message.text() + "\r\n";
  paragraph(out, "<" + shown(entry.address) + ">", "    ");
  if (!entry.host.empty()) paragraph(out, "at " + shown(entry.host), "    ");
  paragraph(out, shown(entry.status) + " " + shown(entry.reply), "    ");
}

std::string text_for_people(const std::string& hostname, const queue::Undelivered& undelivered, std::uint64_t number) {
  std::string out = "This is the mail relay at " + hostname + ".\r\n\r\n";
  paragraph(out,
            (number == 1 ? "A message with a null reverse-path, such as a report of a failure, could not be delivered."
                         : std::to_string(number) + " recipients of messages with a null reverse-path, such as reports "
                                                    "of failures, could not be reached.") +
                " Nobody else is told. What was done with one is shown by `waypost trace ID`.",
            "");
  for (const queue::Undelivered::Entry& entry : undelivered.entries) entry_for_people(out, entry);
  if (undelivered.more > 0) out += "\r\nand " + std::to_string(undelivered.more) + " more.\r\n";
  return out;
}

}  // namespace

queue::Notification compose_digest(const Notifier& notifier, const std::vector<smtp::Path>& to,
                                   const queue::Undelivered& undelivered, queue::Id id, net::WallTime now) {
  const std::uint64_t number = undelivered.entries.size() + undelivered.more;
  const std::string text = text_for_people(notifier.hostname, undelivered, number);
  queue::Notification digest = from_ourselves(notifier, id, now);
  queue::NewMessage& out = digest.message;
  out.origin.listener = queue::Origin::kDigest;
  std::string recipients;
  for (const smtp::Path& path : to) {
    smtp::EnvelopeRecipient recipient;
    recipient.forward_path = path;
    out.envelope.recipients.push_back(recipient);
    recipients += (recipients.empty() ? "<" : ", <") + shown(path.text()) + ">";
    out.envelope.smtputf8 = out.envelope.smtputf8 || !is_ascii(path.text());
  }

  std::string& body = digest.body;
  field(body, "From", "Mail Delivery System <mailer-daemon@" + notifier.hostname + ">");
  field(body, "To", recipients);
  field(body, "Subject",
        number == 1 ? "1 report could not be delivered" : std::to_string(number) + " reports could not be delivered");
  field(body, "Date", smtp::rfc5322_date(now));
  field(body, "Message-ID", out.message_id);
  field(body, "Auto-Submitted", "auto-generated");  // RFC 3834 §5
  field(body, "MIME-Version", "1.0");
  field(body, "Content-Type", is_ascii(text) ? "text/plain; charset=us-ascii" : "text/plain; charset=utf-8");
  if (!is_ascii(text)) field(body, "Content-Transfer-Encoding", "8bit");
  body += "\r\n" + text;
  out.envelope.body = is_ascii(body) ? smtp::BodyType::seven_bit : smtp::BodyType::eight_bit_mime;
  return digest;
}

}  // namespace waypost::delivery
