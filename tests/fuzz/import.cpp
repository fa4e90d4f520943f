// tests/fuzz/import.cpp: the JSON of an exported message, which anybody may have written over. What is taken of it is
// fit for the wire, and said there is read as the same; what an export writes of an envelope is read as that envelope.
//
// The first octet: "j", and the rest is JSON; else fields between US (0x1F): a reverse-path and the parameters of MAIL,
// then of each recipient a forward-path and those of RCPT.
// Covers: mta/import_envelope.cpp mta/control_json.cpp
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "mta/import_envelope.h"
#include "mta/sendmail_submit.h"
#include "queue/store.h"
#include "smtp/parameters.h"
#include "tests/fuzz/input.h"

using namespace waypost;
using mta::Json;

namespace {

smtp::Extensions all_extensions() {
  smtp::Extensions all;
  all.eight_bit_mime = all.binary_mime = all.dsn = all.smtputf8 = all.require_tls = all.chunking = true;
  return all;
}

smtp::PathRules rules(bool may_be_null) {
  smtp::PathRules out;
  out.utf8 = true;
  out.null = may_be_null;
  return out;
}

std::optional<smtp::Path> path_of(std::string_view& text, bool may_be_null) {
  Result<smtp::Path> path = smtp::take_path(text, rules(may_be_null));
  return path ? std::optional<smtp::Path>(*std::move(path)) : std::nullopt;
}

/// MAIL and RCPT as they go over the wire.
std::string said(const smtp::Envelope& envelope) {
  std::string out = mta::mail_command(envelope) + "\n";
  for (const smtp::EnvelopeRecipient& each : envelope.recipients) out += mta::rcpt_command(each) + "\n";
  return out;
}

bool same(const smtp::EnvelopeRecipient& one, const smtp::EnvelopeRecipient& other) {
  return one.forward_path == other.forward_path && one.notify == other.notify && one.orcpt == other.orcpt;
}

bool same(const smtp::Envelope& one, const smtp::Envelope& other) {
  return one.reverse_path == other.reverse_path && one.body == other.body && one.smtputf8 == other.smtputf8 &&
         one.require_tls == other.require_tls && one.ret == other.ret && one.envid == other.envid &&
         std::equal(one.recipients.begin(), one.recipients.end(), other.recipients.begin(), other.recipients.end(),
                    [](const auto& a, const auto& b) { return same(a, b); });
}

/// A command that is whole, up to its path, which is taken off.
std::string_view behind(std::string_view command, std::string_view verb) {
  fuzz::check(fuzz::is_one_line(command), "a command is one line");
  fuzz::check(command.starts_with(verb), "and the one that was meant");
  return command.substr(verb.size());
}

/// What is said on the wire is understood as what was meant.
void check_wire(const smtp::Envelope& envelope) {
  const std::string mail = mta::mail_command(envelope);
  std::string_view rest = behind(mail, "MAIL FROM:");
  const std::optional<smtp::Path> from = path_of(rest, true);
  fuzz::check(from && *from == envelope.reverse_path, "the reverse-path is read as the same");
  const auto parameters = smtp::parse_mail_parameters(rest, all_extensions());
  fuzz::check(parameters.has_value(), "the parameters of MAIL are some");
  fuzz::check(parameters->body == envelope.body && parameters->smtputf8 == envelope.smtputf8 &&
                  parameters->require_tls == envelope.require_tls && parameters->ret == envelope.ret &&
                  parameters->envid == envelope.envid && !parameters->size && !parameters->authenticated,
              "and the same, and no others");
  for (const smtp::EnvelopeRecipient& each : envelope.recipients) {
    const std::string rcpt = mta::rcpt_command(each);
    rest = behind(rcpt, "RCPT TO:");
    const std::optional<smtp::Path> to = path_of(rest, false);
    fuzz::check(to && *to == each.forward_path, "a forward-path is read as the same");
    const auto more = smtp::parse_rcpt_parameters(rest, all_extensions());
    fuzz::check(more && more->notify == each.notify && more->orcpt == each.orcpt, "with its parameters");
  }
}

/// Nullopt: an error was told.
std::optional<smtp::Envelope> imported(const Json& json) {
  Result<smtp::Envelope> envelope = mta::import_envelope(json);
  if (!envelope) {
    fuzz::check(fuzz::is_one_line(envelope.error().what), "an error is one line");
    return std::nullopt;
  }
  const auto recipients = json.find("recipients");
  if (recipients == json.end() || !recipients->is_array()) return *std::move(envelope);
  for (const Json& each : *recipients) {
    Result<std::optional<mta::ImportRecipient>> waiting = mta::import_recipient(each);
    if (!waiting) {
      fuzz::check(fuzz::is_one_line(waiting.error().what), "and so is one of a recipient");
      return std::nullopt;
    }
    if (*waiting) envelope->recipients.push_back(std::move((*waiting)->recipient));
  }
  return *std::move(envelope);
}

/// As an export of the queue has it.
std::string exported(const smtp::Envelope& envelope) {
  queue::MessageRow row;
  row.info.reverse_path = envelope.reverse_path;
  row.info.body = envelope.body;
  row.info.smtputf8 = envelope.smtputf8;
  row.info.require_tls = envelope.require_tls;
  row.info.ret = envelope.ret;
  row.info.envid = envelope.envid;
  for (const smtp::EnvelopeRecipient& each : envelope.recipients) {
    queue::RecipientRow recipient;
    recipient.forward_path = each.forward_path;
    recipient.notify = each.notify;
    recipient.orcpt = each.orcpt;
    recipient.state = row.recipients.size() % 2 == 0 ? queue::State::deferred : queue::State::held;
    row.recipients.push_back(std::move(recipient));
  }
  return mta::to_line(mta::message_json(row, net::WallTime{}));
}

void check_envelope(const smtp::Envelope& envelope) {
  check_wire(envelope);
  const std::string text = exported(envelope);
  fuzz::check(fuzz::is_one_line(text), "an export is one line");
  const std::optional<smtp::Envelope> again = imported(mta::parse_json(text));
  fuzz::check(again && same(*again, envelope), "what an export wrote is the envelope that it was");
}

int depth_of(const Json& json) {
  int deepest = 0;
  if (!json.is_structured()) return deepest;
  for (const Json& each : json) deepest = std::max(deepest, depth_of(each));
  return deepest + 1;
}

void read_json(std::string_view text) {
  const Json json = mta::parse_json(text);
  const Json whole = Json::parse(text, nullptr, false);
  const bool has_nul = text.find('\0') != std::string_view::npos;
  const bool fits = !has_nul && !whole.is_discarded() && depth_of(whole) <= 64;
  fuzz::check(json.is_discarded() ? !fits : fits && json == whole, "JSON is taken if it is some, and not too deep");
  const std::optional<smtp::Envelope> envelope = imported(json);
  if (!envelope) return;
  check_envelope(*envelope);
  const std::optional<smtp::Envelope> again = imported(mta::parse_json(mta::to_line(json)));
  fuzz::check(again && said(*again) == said(*envelope), "what is kept of a file says the same");
}

void read_commands(std::string_view input) {
  smtp::Envelope envelope;
  std::string_view field = fuzz::take_field(input);
  std::optional<smtp::Path> path = path_of(field, true);
  const auto mail = smtp::parse_mail_parameters(fuzz::take_field(input), all_extensions());
  if (!path || !mail) return;
  envelope.reverse_path = *std::move(path);
  envelope.body = mail->body;
  envelope.smtputf8 = mail->smtputf8;
  envelope.require_tls = mail->require_tls;
  envelope.ret = mail->ret;
  envelope.envid = mail->envid;
  while (!input.empty()) {
    field = fuzz::take_field(input);
    path = path_of(field, false);
    const auto rcpt = smtp::parse_rcpt_parameters(fuzz::take_field(input), all_extensions());
    if (!path || !rcpt) continue;
    envelope.recipients.push_back({*std::move(path), rcpt->notify, rcpt->orcpt});
  }
  check_envelope(envelope);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  if (fuzz::take_octet(input) == 'j')
    read_json(input);
  else
    read_commands(input);
  return 0;
}
