#include "delivery/dsn.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "base/escape.h"
#include "base/text.h"
#include "delivery/mail_text.h"
#include "smtp/parameters.h"
#include "smtp/transparency.h"

namespace waypost::delivery {
namespace {

std::string_view action_name(ReportedRecipient::Action action) {
  switch (action) {
    case ReportedRecipient::Action::failed:
      return "failed";
    case ReportedRecipient::Action::delayed:
      return "delayed";
    case ReportedRecipient::Action::delivered:
      return "delivered";
    case ReportedRecipient::Action::relayed:
      return "relayed";
    case ReportedRecipient::Action::expanded:
      return "expanded";
  }
  return "failed";
}

// The value of ENVID or of an rfc822 ORCPT comes as xtext; reports have what it stands for (RFC 3461 §6.3, RFC 3464
// §2.2.1). A utf-8 ORCPT stays in the form that fits US-ASCII (RFC 6533 §3).
std::string from_xtext(const std::string& text) {
  const Result<std::string> decoded = smtp::xtext_decode(text);
  return safe(decoded ? *decoded : text);
}

std::string original_recipient(const std::string& orcpt) {
  const std::size_t semicolon = orcpt.find(';');
  if (semicolon == std::string::npos || equals_no_case(orcpt.substr(0, semicolon), "utf-8")) return safe(orcpt);
  return safe(orcpt.substr(0, semicolon + 1)) + from_xtext(orcpt.substr(semicolon + 1));
}

// `rfc822; a@b`, or `utf-8; \x{E4}@b` where the address is not US-ASCII (RFC 6533 §3).
std::string final_recipient(const std::string& address) {
  const std::string global = is_utf8(address) ? smtp::utf8_xtext(address) : "";
  const bool fits = global.size() <= smtp::kMaxTextLine - 100;  // with what stands before it, or folded after it
  if (is_ascii(address) || global.empty() || !fits) return "rfc822; " + safe(address);
  return "utf-8; " + global;
}

using Action = ReportedRecipient::Action;
// The worst comes first.
constexpr Action kInOrder[] = {Action::failed, Action::delayed, Action::delivered, Action::relayed, Action::expanded};

bool tells_of(const Report& report, Action action) {
  return std::any_of(report.recipients.begin(), report.recipients.end(),
                     [action](const ReportedRecipient& recipient) { return recipient.action == action; });
}

bool tells_of(const Report& report, Action action, bool after_all) {
  return std::any_of(report.recipients.begin(), report.recipients.end(), [=](const ReportedRecipient& recipient) {
    return recipient.action == action && recipient.after_all == after_all;
  });
}

std::string_view title_of(const Report& report) {
  if (tells_of(report, Action::failed)) return "Undelivered Mail Returned to Sender";
  if (tells_of(report, Action::delayed)) return "Delayed Mail (still being retried)";
  const bool after_all = std::all_of(report.recipients.begin(), report.recipients.end(),
                                     [](const ReportedRecipient& recipient) { return recipient.after_all; });
  if (tells_of(report, Action::delivered)) return after_all ? "Delayed mail was delivered" : "Delivery confirmed";
  return after_all ? "Delayed mail was passed on" : "Mail passed on";
}

// Of an end that comes after a report of the delay.
std::string words_after_all(Action action) {
  if (action == Action::delivered)
    return "You were told that your message was delayed: it was delivered after all to the recipients below.";
  return "You were told that your message was delayed: it was passed on after all to the recipients below. Their mail "
         "servers do not confirm deliveries, so that you will hear no more unless delivery fails.";
}

std::string words_of(const Report& report, Action action) {
  switch (action) {
    case Action::failed:
      return "Your message could not be delivered to the recipients below, and will not be tried again.";
    case Action::delayed:
      return "Your message has not been delivered yet to the recipients below. You need not do anything: delivery "
             "will be tried until " +
             smtp::rfc5322_date(report.expires) + ".";
    case Action::delivered:
      return "You asked to be told: your message was delivered to the recipients below.";
    case Action::relayed:
      return "You asked to be told: your message was passed on to the recipients below. Their mail servers do not "
             "confirm deliveries, so that you will hear no more unless delivery fails.";
    case Action::expanded:
      return "You asked to be told: your message was passed on to all whom the addresses below stand for. You will "
             "hear no more unless delivery fails.";
  }
  return "";
}

// Of `mx1.b.example[192.0.2.7]:25` the name; where that is an address, a domain literal (RFC 3461 §9.3).
std::string host_name(const std::string& host) {
  const std::size_t bracket = host.find('[');
  std::string name = host.substr(0, bracket);
  const bool is_address = bracket != std::string::npos && host.compare(bracket + 1, name.size() + 1, name + "]") == 0;
  if (!is_address) return name;
  return (name.find(':') == std::string::npos ? "[" : "[IPv6:") + name + "]";
}

// Lines of any length are legal in what is returned as message/rfc822 only up to 998 octets: longer ones are left out.
std::string returned(const Report& report) {
  std::string out;
  std::size_t at = 0;
  while (at < report.original.size() && out.size() < kMaxReturnedOctets) {
    std::size_t end = report.original.find("\r\n", at);
    if (end == std::string::npos) end = report.original.size();
    const std::string_view line = std::string_view(report.original).substr(at, end - at);
    if (line.size() <= smtp::kMaxTextLine) {
      out += line;
      out += "\r\n";
    }
    at = end + 2;
  }
  return out;
}

// A boundary that no line of the report begins with.
std::string boundary_for(const Report& report, std::string_view content) {
  std::string boundary = report.id + "/" + (report.hostname.size() < 50 ? report.hostname : std::string("waypost"));
  while (content.find("--" + boundary) != std::string_view::npos) boundary.insert(0, "=");
  return boundary;
}

// What became of one recipient, and what mail servers said. Of very many not all that was said is told.
void recipient_for_people(std::string& out, const ReportedRecipient& recipient) {
  out += "\r\n<" + shown(recipient.address) + ">\r\n";
  std::string words = shown(recipient.words);
  if (!words.empty()) words.front() = upper(words.front());
  const std::string before = words.empty() ? "" : words + ". ";
  if (recipient.asked.size() > 1 && out.size() < kMaxReturnedOctets) {
    paragraph(out, before + "These mail servers were asked:", "    ");
    for (const std::string& line : recipient.asked) paragraph(out, shown(line), "      ", "    - ");
    return;
  }
  if (!recipient.host.empty() && recipient.remote_said_it) {
    paragraph(out, before + "The mail server " + safe(recipient.host) + " said:", "    ");
    words.clear();
  }
  const bool both = !words.empty() && !recipient.reply.empty();
  paragraph(out, words + (both ? ": " : "") + shown(recipient.reply), "    ");
}

void people_part(std::string& out, const Report& report) {
  out += "This is the mail relay at " + report.hostname + ".\r\n";
  for (const Action action : kInOrder) {
    for (const bool after_all : {false, true}) {
      if (!tells_of(report, action, after_all)) continue;
      out += "\r\n";
      paragraph(out, after_all ? words_after_all(action) : words_of(report, action), "");
      for (const ReportedRecipient& recipient : report.recipients)
        if (recipient.action == action && recipient.after_all == after_all) recipient_for_people(out, recipient);
    }
  }
  out += "\r\n";
  paragraph(out,
            std::string("The queue id of the message was ") + report.original_id +
                ". What follows is for mail programs, and " +
                (report.whole ? "your message." : "the header of your message."),
            "");
}

void status_part(std::string& out, const Report& report) {
  field(out, "Reporting-MTA", "dns; " + report.hostname);
  if (!report.envid.empty()) field(out, "Original-Envelope-Id", from_xtext(report.envid));
  field(out, "X-Waypost-Queue-Id", report.original_id);
  field(out, "Arrival-Date", smtp::rfc5322_date(report.arrival));
  for (const ReportedRecipient& recipient : report.recipients) {
    out += "\r\n";
    if (!recipient.orcpt.empty()) field(out, "Original-Recipient", original_recipient(recipient.orcpt));
    field(out, "Final-Recipient", final_recipient(recipient.address));
    field(out, "Action", action_name(recipient.action));
    field(out, "Status", safe(recipient.status));
    if (!recipient.host.empty() && recipient.remote_said_it)
      field(out, "Remote-MTA", "dns; " + safe(host_name(recipient.host)));
    if (recipient.remote_said_it) {
      field(out, "Diagnostic-Code", "smtp; " + safe(recipient.reply));
    } else {
      const bool both = !recipient.words.empty() && !recipient.reply.empty();
      field(out, "Diagnostic-Code", "X-Waypost; " + safe(recipient.words + (both ? ": " : "") + recipient.reply));
    }
    field(out, "Last-Attempt-Date", smtp::rfc5322_date(report.now));
    if (recipient.action == ReportedRecipient::Action::delayed)
      field(out, "Will-Retry-Until", smtp::rfc5322_date(report.expires));
  }
}

// What is returned; header sections in UTF-8 have types of their own (RFC 6532 §3.7, RFC 6533 §4).
std::string_view type_of_original(const Report& report, std::string_view original) {
  const std::string header = header_section(original);
  const bool global = !is_ascii(header) && is_utf8(header);
  if (report.whole) return global ? "message/global" : "message/rfc822";
  return global ? "message/global-headers" : "text/rfc822-headers";
}

void encoding_field(std::string& out, std::string_view content) {
  if (!is_ascii(content)) field(out, "Content-Transfer-Encoding", "8bit");
}

}  // namespace

std::string header_section(std::string_view octets) {
  octets = octets.substr(0, kMaxReturnedOctets);
  if (octets.starts_with("\r\n")) return {};
  std::size_t end = octets.find("\r\n\r\n");
  if (end != std::string_view::npos) return std::string(octets.substr(0, end + 2));
  end = octets.rfind("\r\n");
  return end == std::string_view::npos ? std::string() : std::string(octets.substr(0, end + 2));
}

std::string compose_report(const Report& report) {
  std::string people;
  people_part(people, report);
  std::string status;
  status_part(status, report);
  const std::string original = returned(report);
  const std::string boundary = boundary_for(report, original);

  std::string out;
  out.reserve(people.size() + status.size() + original.size() + 2048);
  field(out, "From", "Mail Delivery System <mailer-daemon@" + report.hostname + ">");
  field(out, "To", "<" + shown(report.to) + ">");
  field(out, "Subject", title_of(report));
  field(out, "Date", smtp::rfc5322_date(report.now));
  field(out, "Message-ID", "<" + report.id + "@" + report.hostname + ">");
  if (!report.message_id.empty() && report.message_id.size() < 900) {
    field(out, "In-Reply-To", safe(report.message_id, 900));
    field(out, "References", safe(report.message_id, 900));
  }
  // RFC 3834: so that no vacation program answers.
  field(out, "Auto-Submitted", "auto-replied");
  field(out, "MIME-Version", "1.0");
  out += "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"" + boundary + "\"\r\n";
  encoding_field(out, people + original);
  out += "\r\nThis is a MIME-encapsulated message.\r\n";

  out += "\r\n--" + boundary + "\r\n";
  field(out, "Content-Description", "Notification");
  field(out, "Content-Type", is_ascii(people) ? "text/plain; charset=us-ascii" : "text/plain; charset=utf-8");
  encoding_field(out, people);
  out += "\r\n" + people;

  out += "\r\n--" + boundary + "\r\n";
  field(out, "Content-Description", "Delivery report");
  field(out, "Content-Type", "message/delivery-status");
  out += "\r\n" + status;

  out += "\r\n--" + boundary + "\r\n";
  const std::string original_is = tells_of(report, Action::failed) ? "Undelivered message" : "Message";
  field(out, "Content-Description", report.whole ? original_is : original_is + " header");
  field(out, "Content-Type", type_of_original(report, original));
  encoding_field(out, original);
  out += "\r\n" + original;
  out += "\r\n--" + boundary + "--\r\n";
  return out;
}

}  // namespace waypost::delivery
