#include "mta/sendmail_message.h"

#include <string>

#include <doctest/doctest.h>

namespace waypost::mta {
namespace {

using namespace std::string_literals;

MissingFields missing() {
  return {"ann@b.example", "Fri, 27 Nov 2026 09:14:02 +0000", "<1@b.example>"};
}

struct Read {
  std::string wire, to, error;
  bool eight_bit = false;
};

/// In chunks of `chunk` octets, since no limit of one may be seen.
Read read(std::string_view text, bool take_recipients = false, bool dot_ends = true, std::size_t chunk = 3) {
  SendmailMessage message(missing(), dot_ends, take_recipients);
  Read out;
  Result<> taken;
  while (taken && !text.empty() && !message.ended()) {
    taken = message.feed(text.substr(0, chunk), out.wire);
    text.remove_prefix(std::min(chunk, text.size()));
  }
  if (taken) taken = message.finish(out.wire);
  if (!taken) out.error = taken.error().what;
  out.eight_bit = message.eight_bit();
  for (const smtp::Mailbox& mailbox : message.recipients()) out.to += (out.to.empty() ? "" : ",") + mailbox.text();
  return out;
}

const std::string kAdded =
    "From: ann@b.example\r\nDate: Fri, 27 Nov 2026 09:14:02 +0000\r\nMessage-ID: <1@b.example>\r\n";
const std::string kFull = "From: a@b\r\nDate: d\r\nMessage-ID: <m@b>\r\n";

}  // namespace

TEST_SUITE("mta/sendmail_message") {
  TEST_CASE("line ends, dots and what is missing") {
    struct Case {
      std::string text, want;
    };
    for (const Case& each : {
             Case{"", kAdded + "\r\n.\r\n"},
             {"\nhello\n", kAdded + "\r\nhello\r\n.\r\n"},
             {"hello", kAdded + "\r\nhello\r\n.\r\n"},
             {"hello: \n", "hello: \r\n" + kAdded + "\r\n.\r\n"},
             {"Subject: x\n\ntext\n", "Subject: x\r\n" + kAdded + "\r\ntext\r\n.\r\n"},
             {"Subject: x\ntext\nmore: no field\n", "Subject: x\r\n" + kAdded + "\r\ntext\r\nmore: no field\r\n.\r\n"},
             {"Subject: x\r\n folded\r\n\r\ntext\r\n", "Subject: x\r\n folded\r\n" + kAdded + "\r\ntext\r\n.\r\n"},
             {"From: a@b\nDate: d\nMessage-ID: <m@b>\n\nt\n", kFull + "\r\nt\r\n.\r\n"},
             {"From : a@b\nDATE: d\nMessage-id: <m@b>\n\nt\n",
              "From : a@b\r\nDATE: d\r\nMessage-id: <m@b>\r\n\r\nt\r\n.\r\n"},
             {"From ann Fri Nov 27\nSubject: x\n\nt\n", "Subject: x\r\n" + kAdded + "\r\nt\r\n.\r\n"},
             {">From ann Fri Nov 27\nSubject: x\n\nt\n", "Subject: x\r\n" + kAdded + "\r\nt\r\n.\r\n"},
             {"\n.dot\n..\n", kAdded + "\r\n..dot\r\n...\r\n.\r\n"},
             {"\na\rb\r\rc\r\nd\n", kAdded + "\r\na\r\nb\r\n\r\nc\r\nd\r\n.\r\n"},
             {"\na\0b\n"s, kAdded + "\r\nab\r\n.\r\n"},
             {" not folded\n", kAdded + "\r\n not folded\r\n.\r\n"},
             {"\ntext\n.\nnever\n", kAdded + "\r\ntext\r\n.\r\n"},
             {"Subject: x\n.\nnever\n", "Subject: x\r\n" + kAdded + "\r\n.\r\n"},
             {".\n", kAdded + "\r\n.\r\n"},
             {"\n.", kAdded + "\r\n..\r\n.\r\n"},
         }) {
      CAPTURE(each.text);
      CHECK(read(each.text).wire == each.want);
      CHECK(read(each.text, false, true, 1).wire == each.want);
      CHECK(read(each.text, false, true, 4096).wire == each.want);
    }
    CHECK(read("\na\n.\nb\n", false, false).wire == kAdded + "\r\na\r\n..\r\nb\r\n.\r\n");
    CHECK(read("\n.\r\n", false, false).wire == kAdded + "\r\n..\r\n.\r\n");
  }

  TEST_CASE("-t: recipients of the header, and none of them is shown in Bcc") {
    const Read all = read("To: Ann <a@b>, root\nCc: c@d\nBcc: e@f,\n g@h\nSubject: x\n\nTo: no@field\n", true);
    CHECK(all.to == "a@b,root,c@d,e@f,g@h");
    CHECK(all.wire == "To: Ann <a@b>, root\r\nCc: c@d\r\nSubject: x\r\n" + kAdded + "\r\nTo: no@field\r\n.\r\n");
    CHECK(read("To: a@b\nReturn-Path: <x@y>\nBCC : c@d\n\n").wire == "To: a@b\r\n" + kAdded + "\r\n.\r\n");
    CHECK(read("To: a@b\n\n").to.empty());
    CHECK(read("To: a@b\n", true).to == "a@b");
    CHECK(read("Subject: x\n\nTo: a@b\n", true).to.empty());
    CHECK(read("To: undisclosed-recipients:;\nBcc: a@b\n\n", true).to == "a@b");
  }

  TEST_CASE("-t: a message that is sent again goes to whom it is sent again [RFC 5322 3.6.6]") {
    const Read again = read("Resent-To: a@b\nResent-Bcc: c@d\nTo: e@f\n\nx\n", true);
    CHECK(again.to == "a@b,c@d");
    CHECK(again.wire == "Resent-To: a@b\r\nTo: e@f\r\n" + kAdded + "\r\nx\r\n.\r\n");
  }

  TEST_CASE("what is wrong with it is said") {
    CHECK(read("To: a@b, c d\n\n", true).error == "in the field \"to\": \"c d\" is no address");
    CHECK(read("To: a@b, c d\n\n", false).error.empty());
    const std::string big = "X: " + std::string(SendmailMessage::kMaxHeader, 'x') + "\n\n";
    CHECK(read(big, false, true, 65536).error == "the header section of the message is over 1 MiB");
    std::string many;
    while (many.size() <= SendmailMessage::kMaxHeader) many += "X: " + std::string(90, 'x') + "\n";
    CHECK(read(many + "Bcc: a@b\n\n", false, true, 65536).error == "the header section of the message is over 1 MiB");
  }

  TEST_CASE("one line of any length is a body, in bounded memory") {
    const std::string line(3 * SendmailMessage::kMaxHeader, 'x');
    CHECK(read(line, false, true, 65536).wire == kAdded + "\r\n" + line + "\r\n.\r\n");
  }

  TEST_CASE("8-bit content is seen") {
    CHECK_FALSE(read("\ntext\n").eight_bit);
    CHECK(read("\nt\xc3\xa4xt\n").eight_bit);
    CHECK(read("Subject: t\xc3\xa4xt\n\n").eight_bit);
  }

  TEST_CASE("the author's name in From [RFC 5322 3.4, RFC 2047]") {
    struct Case {
      std::string_view name, want;
    };
    for (const Case& each : {
             Case{"", "a@b.example"},
             {"Ann Example", "\"Ann Example\" <a@b.example>"},
             {"Ann \"A\\B\" <x@y>", "\"Ann \\\"A\\\\B\\\" <x@y>\" <a@b.example>"},
             {"Ann\r\nBcc: c@d", "\"Ann  Bcc: c@d\" <a@b.example>"},
             {"J\xc3\xbcrgen", "=?utf-8?B?SsO8cmdlbg==?=\r\n <a@b.example>"},
         }) {
      CAPTURE(each.name);
      CHECK(from_value(each.name, "a@b.example") == each.want);
    }
  }
}

}  // namespace waypost::mta
