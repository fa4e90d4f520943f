// tests/fuzz/sendmail.cpp: a message of a program of this machine, cut anywhere; a file of the drop folder.
// Covers: mta/sendmail_message.cpp, smtp/address_list.cpp, mta/drop_head.cpp
#include <algorithm>
#include <string>

#include "mta/drop_head.h"
#include "mta/sendmail_message.h"
#include "smtp/address_list.h"
#include "smtp/transparency.h"
#include "tests/fuzz/input.h"

using namespace waypost;

namespace {

struct Read {
  std::string wire, recipients;
  bool failed = false;
  bool operator==(const Read&) const = default;
};

Read read(std::string_view text, std::size_t chunk, bool dot_ends) {
  mta::SendmailMessage message({"a@b.example", "now", "<1@b.example>"}, dot_ends, true);
  Read out;
  Result<> taken;
  while (taken && !text.empty() && !message.ended()) {
    taken = message.feed(text.substr(0, chunk), out.wire);
    text.remove_prefix(std::min(chunk, text.size()));
  }
  if (taken) taken = message.finish(out.wire);
  out.failed = !taken;
  if (out.failed) out.wire.clear();
  for (const smtp::Mailbox& each : message.recipients()) out.recipients += each.text() + "\n";
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text = fuzz::view(data, size);
  const std::uint8_t how = fuzz::take_octet(text);
  const bool dot_ends = how % 2 == 0;
  const std::size_t chunk = 1 + how / 8;

  const Read whole = read(text, std::max<std::size_t>(text.size(), 1), dot_ends);
  fuzz::check(whole == read(text, chunk, dot_ends), "where the chunks are cut changes nothing");
  if (!whole.failed) {
    // One message for whoever takes it: its only end is its end, and no octet is a NUL or a line end alone.
    smtp::BodyDecoder decoder;
    std::string body;
    fuzz::check(decoder.feed(whole.wire, body).consumed == whole.wire.size(), "one message");
    fuzz::check(decoder.ended() && !decoder.notes().nul && !decoder.notes().bare_line_end, "whole lines to the end");
  }

  // What a list is read as reads the same again.
  const Result<std::vector<smtp::Mailbox>> list = smtp::parse_address_list(text);
  if (list) {
    std::string again;
    for (const smtp::Mailbox& each : *list) again += "<" + each.text() + ">,";
    const Result<std::vector<smtp::Mailbox>> same = smtp::parse_address_list(again);
    fuzz::check(same && *same == *list, "a list reads the same again");
  }

  const Result<std::optional<mta::DropHead>> head = mta::parse_drop_head(text);
  if (head && *head) {
    fuzz::check(!(*head)->recipients.empty() && (*head)->octets <= text.size(), "a head has recipients");
    fuzz::check(fuzz::is_one_line((*head)->mail), "MAIL is one line");
    for (const std::string& each : (*head)->recipients) fuzz::check(fuzz::is_one_line(each), "RCPT is one line");
  }
  return 0;
}
