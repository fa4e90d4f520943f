// tests/fuzz/dsn.cpp: a report on what peers said, with anything in it, taken apart as a mail reader does. It has three
// parts, and no text of a peer makes a field, a line or a part of its own (RELIABILITY C2).
// Covers: delivery/dsn.cpp delivery/notify.cpp delivery/mail_text.cpp delivery/digest.cpp
//
// The first octet says what there is to tell, the second how many recipients; then come fields, split at US (0x1F), and
// the original message as the rest.
#include "delivery/dsn.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/escape.h"
#include "base/text.h"
#include "delivery/digest.h"
#include "delivery/notify.h"
#include "smtp/transparency.h"
#include "tests/fuzz/input.h"

using namespace waypost;
using Action = delivery::ReportedRecipient::Action;

namespace {

/// Bodies are kept in wire form: lines end in CRLF, and there is no NUL (smtp/transparency.h).
std::string in_wire_form(std::string_view text) {
  std::string out;
  for (std::string_view line : split(text, '\n')) {
    for (char c : line)
      if (c != '\r' && c != '\0') out += c;
    out += "\r\n";
  }
  return out;
}

using Lines = std::vector<std::string_view>;

Lines lines_of(std::string_view text) {
  Lines out;
  while (!text.empty()) {
    std::size_t end = text.find("\r\n");
    fuzz::check(end != std::string_view::npos, "every line ends in CRLF");
    std::string_view line = text.substr(0, end);
    fuzz::check(fuzz::is_one_line(line), "nothing else ends a line, and there is no NUL");
    fuzz::check(line.size() <= smtp::kMaxTextLine, "no line is too long for mail");
    out.push_back(line);
    text.remove_prefix(end + 2);
  }
  return out;
}

bool is_eight_bit(const Lines& lines) {
  return std::any_of(lines.begin(), lines.end(), [](std::string_view line) { return !is_ascii(line); });
}

/// Takes fields off the front, up to the blank line, which goes too. Returns their names, each with a space behind it.
std::string take_fields(Lines& lines, std::vector<std::string>* values = nullptr) {
  std::string names;
  std::size_t at = 0;
  bool address = false;
  for (; at < lines.size() && !lines[at].empty(); ++at) {
    std::string_view line = lines[at];
    if (line.front() != ' ') address = line.starts_with("To: <");
    bool visible = std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c <= '~'; });
    // The address in To may be in UTF-8, as the header section is then; a blank within quotes may have folded it.
    fuzz::check(visible || (address && is_utf8(line)), "a field is US-ASCII");
    if (line.front() == ' ') {
      fuzz::check(at > 0 && !trim(line).empty(), "a line that continues a field has something in it");
      if (values) values->back() += line;
      continue;
    }
    auto [name, value] = split_once(line, ':');
    fuzz::check(name.size() < line.size() && !name.empty(), "a field has a name");
    for (char c : name) fuzz::check(is_alnum(c) || c == '-', "of letters");
    names += std::string(name) + ' ';
    if (values) values->emplace_back(value);
  }
  lines.erase(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(std::min(at + 1, lines.size())));
  return names;
}

/// The parts between the boundaries, without these; the preamble is the first.
std::vector<Lines> parts_of(const Lines& lines, const std::string& boundary) {
  std::vector<Lines> out(1);
  bool closed = false;
  for (std::string_view line : lines) {
    fuzz::check(!closed, "nothing follows the last boundary");
    closed = line == "--" + boundary + "--";
    if (closed) continue;
    if (line == "--" + boundary)
      out.emplace_back();
    else
      out.back().push_back(line);
  }
  fuzz::check(closed, "the last boundary closes");
  // The blank line before a boundary belongs to it.
  for (Lines& part : out) {
    fuzz::check(!part.empty() && part.back().empty(), "a blank line stands before a boundary");
    part.pop_back();
  }
  return out;
}

void check_status(Lines lines, const delivery::Report& report) {
  std::vector<std::string> values;
  std::string names = take_fields(lines, &values);
  std::string envelope = report.envid.empty() ? "" : "Original-Envelope-Id ";
  fuzz::check(names == "Reporting-MTA " + envelope + "X-Waypost-Queue-Id Arrival-Date ", "fields of the message");
  for (const delivery::ReportedRecipient& recipient : report.recipients) {
    values.clear();
    names = take_fields(lines, &values);
    std::string want = recipient.orcpt.empty() ? "" : "Original-Recipient ";
    want += "Final-Recipient Action Status ";
    if (recipient.remote_said_it && !recipient.host.empty()) want += "Remote-MTA ";
    want += "Diagnostic-Code Last-Attempt-Date ";
    if (recipient.action == Action::delayed) want += "Will-Retry-Until ";
    fuzz::check(names == want, "fields of a recipient");
    std::string_view final_recipient = values[recipient.orcpt.empty() ? 0 : 1];
    fuzz::check(final_recipient.starts_with(" rfc822;") || final_recipient.starts_with(" utf-8;"), "with a type");
  }
  fuzz::check(lines.empty(), "and nothing else");
}

void check_report(const std::string& text, const delivery::Report& report) {
  Lines lines = lines_of(text);
  std::vector<std::string> values;
  std::string names = take_fields(lines, &values);
  std::string want = "From To Subject Date Message-ID ";
  if (!report.message_id.empty() && report.message_id.size() < 900) want += "In-Reply-To References ";
  want += "Auto-Submitted MIME-Version Content-Type ";
  const Lines body(std::find(lines.begin(), lines.end(), ""), lines.end());
  const bool eight_bit = is_eight_bit(body);
  if (eight_bit) want += "Content-Transfer-Encoding ";
  fuzz::check(names == want, "fields of the report");

  const std::string& type = values[eight_bit ? values.size() - 2 : values.size() - 1];
  std::size_t begin = type.find("boundary=\"");
  fuzz::check(begin != std::string::npos && type.ends_with('"'), "a boundary is named");
  std::string boundary = type.substr(begin + 10, type.size() - begin - 11);
  std::vector<Lines> parts = parts_of(lines, boundary);
  fuzz::check(parts.size() == 4, "three parts");

  want = "Content-Description Content-Type ";
  if (is_eight_bit(parts[1])) want += "Content-Transfer-Encoding ";
  fuzz::check(take_fields(parts[1]) == want, "fields of the words for people");
  for (std::string_view line : parts[1]) {
    fuzz::check(is_utf8(line), "the words are in UTF-8");
    for (char c : line) fuzz::check(static_cast<unsigned char>(c) >= ' ' && c != 0x7F, "without controls");
  }
  fuzz::check(take_fields(parts[2]) == "Content-Description Content-Type ", "fields of the status part");
  check_status(parts[2], report);
  want = "Content-Description Content-Type ";
  if (is_eight_bit(parts[3])) want += "Content-Transfer-Encoding ";
  fuzz::check(take_fields(parts[3]) == want, "fields of what is returned");
  Lines original;
  for (std::string_view line : split(report.original, '\n'))
    if (line.size() <= smtp::kMaxTextLine + 1) original.push_back(line.substr(0, line.size() - (line.empty() ? 0 : 1)));
  fuzz::check(parts[3].size() <= original.size(), "what is returned is of the original");
  fuzz::check(std::equal(parts[3].begin(), parts[3].end(), original.begin()), "as it was");
}

/// The fuzzer's smallest report is as large as a person's, so that one is made through the notification as well.
void check_notification(const delivery::Report& report, std::uint8_t bits) {
  queue::MessageInfo message;
  message.id = queue::Id{1};
  message.reverse_path.mailbox = {"s", "a.example"};
  message.envid = report.envid;
  message.ret = (bits & 1) != 0 ? smtp::Ret::full : smtp::Ret::headers;
  message.size = report.original.size();
  std::vector<delivery::Subject> subjects;
  for (const delivery::ReportedRecipient& recipient : report.recipients) {
    delivery::Subject subject;
    subject.forward_path.mailbox = {"r", "b.example"};
    subject.notify.bits = bits & 15;
    subject.report = recipient;
    subjects.push_back(subject);
  }
  std::vector<delivery::Subject> told = to_be_told(message, std::move(subjects));
  auto notification = compose_notification({"relay.example"}, message, told, report.original, queue::Id{2}, {});
  fuzz::check(notification.has_value() == !told.empty(), "there is a notification where there is something to tell");
  if (!notification) return;
  lines_of(notification->body);
  fuzz::check(notification->message.envelope.reverse_path.is_null(), "a notification comes from nobody");
  fuzz::check(fuzz::is_one_line(notification->message.message_id), "its Message-ID is one line");
}

/// The postmaster's digest of the same: nobody's text makes a field of it, or a line without its indent.
void check_digest(const delivery::Report& report) {
  queue::Undelivered undelivered;
  for (const delivery::ReportedRecipient& recipient : report.recipients)
    undelivered.entries.push_back(
        {queue::Id{1}, {}, recipient.address, recipient.status, recipient.reply, recipient.host});
  smtp::Path to;
  to.mailbox = {"postmaster", "relay.example"};
  const queue::Notification digest = delivery::compose_digest({"relay.example"}, {to}, undelivered, queue::Id{2}, {});
  Lines lines = lines_of(digest.body);
  std::string want = "From To Subject Date Message-ID Auto-Submitted MIME-Version Content-Type ";
  if (is_eight_bit(lines)) want += "Content-Transfer-Encoding ";
  fuzz::check(take_fields(lines) == want, "fields of a digest");
  std::size_t heads = 0;
  for (std::string_view line : lines) {
    fuzz::check(is_utf8(line), "a digest is in UTF-8");
    if (line.ends_with("  " + queue::Id{1}.text()) && !line.starts_with(' ')) ++heads;
  }
  fuzz::check(heads == report.recipients.size(), "an entry for each");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  std::uint8_t bits = fuzz::take_octet(input);
  std::uint8_t count = fuzz::take_octet(input);
  delivery::Report report;
  report.hostname = "relay.example";
  report.id = queue::Id{2}.text();
  report.original_id = queue::Id{1}.text();
  report.whole = (bits & 1) != 0;
  report.to = fuzz::take_field(input);
  report.envid = fuzz::take_field(input);
  report.message_id = fuzz::take_field(input);
  for (int i = 0; i <= count % 4; ++i) {
    delivery::ReportedRecipient recipient;
    recipient.action = (bits & 2) != 0 ? Action::delayed : i % 2 == 0 ? Action::failed : Action::relayed;
    recipient.remote_said_it = (bits & 4) != 0;
    recipient.address = fuzz::take_field(input);
    recipient.orcpt = fuzz::take_field(input);
    recipient.status = fuzz::take_field(input);
    recipient.reply = fuzz::take_field(input);
    recipient.host = fuzz::take_field(input);
    recipient.words = fuzz::take_field(input);
    recipient.after_all = (bits & 2) == 0 && i % 2 == 1 && !recipient.words.empty();
    for (int k = 0; k < count / 4 % 3; ++k) recipient.asked.emplace_back(fuzz::take_field(input));
    report.recipients.push_back(std::move(recipient));
  }
  report.original = in_wire_form(input);
  check_report(compose_report(report), report);
  check_notification(report, bits >> 3);
  check_digest(report);

  std::string header = delivery::header_section(report.original);
  fuzz::check(report.original.starts_with(header) && header.find("\r\n\r\n") == std::string::npos, "a header section");
  return 0;
}
