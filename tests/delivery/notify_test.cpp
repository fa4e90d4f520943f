#include "delivery/notify.h"

#include <doctest/doctest.h>

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

queue::MessageInfo message(const std::string& from) {
  queue::MessageInfo info;
  info.id = queue::Id{1ULL << 40};
  info.arrival = net::WallTime(1'700'000'000s);
  info.expires = info.arrival + 120h;
  if (!from.empty()) info.reverse_path = smtp::Path{*smtp::parse_mailbox(from, true)};
  return info;
}

Subject subject(const std::string& to, std::uint8_t notify = 0,
                ReportedRecipient::Action action = ReportedRecipient::Action::failed) {
  Subject out{smtp::Path{*smtp::parse_mailbox(to, true)}, smtp::Notify{notify}, {}};
  out.report.address = to;
  out.report.action = action;
  out.report.status = action == ReportedRecipient::Action::failed ? "5.1.1" : "4.4.1";
  out.report.reply = "550 5.1.1 no such user";
  out.report.host = "mx.b.example[192.0.2.7]:25";
  out.report.remote_said_it = true;
  return out;
}

const Notifier kNotifier{"relay.example.net", 24h};
const net::WallTime kNow = net::WallTime(1'700'003'600s);

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_SUITE("delivery/notify") {
  TEST_CASE("nobody is told of a message with a null reverse-path [RFC 5321 6.1]") {
    CHECK(to_be_told(message(""), {subject("r@b.example")}).empty());
    CHECK_FALSE(compose_notification(kNotifier, message(""), {}, "", queue::Id{7}, kNow));
  }

  TEST_CASE("NOTIFY decides who is told of what [RFC 3461 4.1]") {
    using Action = ReportedRecipient::Action;
    struct Row {
      std::uint8_t asked;
      Action action;
      bool told;
    };
    const Row rows[] = {
        {0, Action::failed, true},
        {0, Action::delayed, true},
        {smtp::Notify::kNever, Action::failed, false},
        {smtp::Notify::kNever, Action::delayed, false},
        {smtp::Notify::kFailure, Action::failed, true},
        {smtp::Notify::kFailure, Action::delayed, false},
        {smtp::Notify::kDelay, Action::delayed, true},
        {smtp::Notify::kDelay, Action::failed, false},
        {smtp::Notify::kSuccess, Action::failed, false},
        {smtp::Notify::kSuccess, Action::relayed, true},
    };
    for (const Row& row : rows) {
      CAPTURE(static_cast<int>(row.asked));
      CHECK(to_be_told(message("s@a.example"), {subject("r@b.example", row.asked, row.action)}).empty() != row.told);
    }
  }

  TEST_CASE("who tells of an outcome: of success we, unless the next host promised to [RFC 3461 5.2]") {
    using queue::Event;
    using Action = ReportedRecipient::Action;
    struct Row {
      Event event;
      std::uint8_t asked;
      bool host_reports;
      std::optional<Action> told;
    };
    const Row rows[] = {
        {Event::attempt_failed, 0, false, Action::failed},
        {Event::attempt_failed, smtp::Notify::kSuccess, true, Action::failed},  // to_be_told() says whether
        {Event::attempt_relayed, 0, false, {}},
        {Event::attempt_relayed, smtp::Notify::kFailure, false, {}},
        {Event::attempt_relayed, smtp::Notify::kSuccess, false, Action::relayed},
        {Event::attempt_relayed, smtp::Notify::kSuccess, true, {}},
        {Event::attempt_delivered, smtp::Notify::kSuccess | smtp::Notify::kFailure, false, Action::delivered},
        {Event::attempt_delivered, smtp::Notify::kNever, false, {}},
        {Event::attempt_deferred, smtp::Notify::kSuccess, false, {}},
        {Event::remove, smtp::Notify::kSuccess, false, {}},
    };
    for (const Row& row : rows) {
      CAPTURE(static_cast<int>(row.event));
      CAPTURE(static_cast<int>(row.asked));
      queue::DueRecipient recipient;
      recipient.forward_path = smtp::Path{*smtp::parse_mailbox("r@b.example")};
      recipient.notify.bits = row.asked;
      recipient.orcpt = "rfc822;r@b.example";
      Outcome outcome;
      outcome.event = row.event;
      outcome.status = "2.0.0";
      outcome.reports = row.host_reports;
      const std::optional<Subject> told = subject_of(recipient, outcome, true);
      REQUIRE(told.has_value() == row.told.has_value());
      if (!told) continue;
      CHECK(told->report.action == *row.told);
      CHECK(told->report.status == "2.0.0");
      CHECK(told->report.orcpt == "rfc822;r@b.example");
    }
  }

  TEST_CASE("that a delay is over is told once, to whom was told of it and said nothing [RFC 3461 4.1, 5.2]") {
    using queue::Event;
    using Action = ReportedRecipient::Action;
    struct Row {
      Event event;
      std::uint8_t asked;
      bool host_reports, delay_over, delay_told;
      std::optional<Action> told;
      bool after_all;
    };
    constexpr std::uint8_t kSuccess = smtp::Notify::kSuccess, kDelay = smtp::Notify::kDelay;
    const Row rows[] = {
        {Event::attempt_relayed, 0, false, true, true, Action::relayed, true},
        {Event::attempt_delivered, 0, false, true, true, Action::delivered, true},
        {Event::attempt_delivered, smtp::Notify::kByAlias, false, true, true, Action::delivered, true},
        {Event::attempt_relayed, 0, true, true, true, Action::relayed, true},  // success was not asked for
        {Event::attempt_relayed, 0, false, true, false, {}, false},
        {Event::attempt_relayed, 0, false, false, true, {}, false},
        {Event::attempt_relayed, smtp::Notify::kNever, false, true, true, {}, false},
        {Event::attempt_relayed, kDelay, false, true, true, {}, false},
        {Event::attempt_relayed, kDelay | smtp::Notify::kFailure, false, true, true, {}, false},
        {Event::attempt_relayed, kDelay | kSuccess, false, true, true, Action::relayed, true},
        {Event::attempt_relayed, kDelay | kSuccess, false, false, true, Action::relayed, true},
        {Event::attempt_relayed, kDelay | kSuccess, true, true, true, {}, false},  // the next host tells
        {Event::attempt_deferred, 0, false, true, true, {}, false},
        {Event::attempt_failed, 0, false, true, true, Action::failed, false},
        {Event::remove, 0, false, true, true, {}, false},
    };
    for (const Row& row : rows) {
      CAPTURE(&row - rows);
      queue::DueRecipient recipient;
      recipient.forward_path = smtp::Path{*smtp::parse_mailbox("r@b.example")};
      recipient.notify.bits = row.asked;
      recipient.delay_told = row.delay_told;
      Outcome outcome;
      outcome.event = row.event;
      outcome.reports = row.host_reports;
      const std::optional<Subject> told = subject_of(recipient, outcome, row.delay_over);
      REQUIRE(told.has_value() == row.told.has_value());
      if (!told) continue;
      CHECK(told->report.action == *row.told);
      CHECK(told->report.after_all == row.after_all);
      CHECK(to_be_told(message("s@a.example"), {*told}).size() == 1);
      CHECK(to_be_told(message(""), {*told}).empty());
    }
  }

  TEST_CASE("of an alias the sender hears by its name, not of whom it stands for [RFC 3461 4.2]") {
    queue::DueRecipient recipient;
    recipient.forward_path = smtp::Path{*smtp::parse_mailbox("secret@b.example")};
    recipient.orcpt = "rfc822;sales+2Bx@a.example";
    CHECK(subject_of(recipient, ReportedRecipient::Action::failed).report.address == "secret@b.example");
    recipient.notify.bits = smtp::Notify::kByAlias;
    const Subject told = subject_of(recipient, ReportedRecipient::Action::failed);
    CHECK(told.report.address == "sales+x@a.example");
    CHECK(to_be_told(message("s@a.example"), {told}).size() == 1);  // nothing was said: failures are told
    recipient.orcpt = "utf-8;j\\x{F6}rg@a.example";
    CHECK(subject_of(recipient, ReportedRecipient::Action::failed).report.address == "j\xc3\xb6rg@a.example");
    recipient.orcpt = "x400;x";
    CHECK(subject_of(recipient, ReportedRecipient::Action::failed).report.address == "secret@b.example");
  }

  TEST_CASE("a report has words for each thing that it tells, the worst first") {
    using Action = ReportedRecipient::Action;
    auto text = [](const std::vector<Subject>& subjects) {
      return compose_notification(kNotifier, message("s@a.example"), subjects, "Subject: hi\r\n", queue::Id{2ULL << 40},
                                  kNow)
          ->body;
    };
    const std::string good = text({subject("d@b.example", 2, Action::delivered)});
    CHECK(count(good, "Subject: Delivery confirmed\r\n") == 1);
    CHECK(count(good, "Action: delivered\r\n") == 1);
    CHECK(count(good, "Undelivered") == 0);
    CHECK(count(good, "could not") == 0);
    const std::string passed_on = text({subject("d@b.example", 2, Action::relayed)});
    CHECK(count(passed_on, "Subject: Mail passed on\r\n") == 1);
    CHECK(count(passed_on, "you will hear no more") == 0);  // folded
    CHECK(count(passed_on, "unless delivery fails") == 1);
    const std::string both = text({subject("d@b.example", 2, Action::delivered), subject("f@b.example")});
    CHECK(count(both, "Subject: Undelivered Mail Returned to Sender\r\n") == 1);
    CHECK(both.find("could not be delivered") < both.find("was delivered to"));
    CHECK(both.find("<f@b.example>") < both.find("<d@b.example>"));
  }

  TEST_CASE("a host without a name is told by a domain literal [RFC 3461 9.3]") {
    const std::pair<std::string, std::string> rows[] = {
        {"mx.b.example[192.0.2.7]:25", "mx.b.example"},
        {"192.0.2.7[192.0.2.7]:25", "[192.0.2.7]"},
        {"2001:db8::7[2001:db8::7]:25", "[IPv6:2001:db8::7]"},
        {"192.0.2.7[192.0.2.70]:25", "192.0.2.7"},
    };
    for (const auto& [host, want] : rows) {
      Subject one = subject("r@b.example");
      one.report.host = host;
      const auto out = compose_notification(kNotifier, message("s@a.example"), {one}, "", queue::Id{2ULL << 40}, kNow);
      REQUIRE(out);
      CHECK(count(out->body, "Remote-MTA: dns; " + want + "\r\n") == 1);
    }
  }

  TEST_CASE("one report tells of all, from the null reverse-path to the sender [RFC 3464]") {
    const auto out =
        compose_notification(kNotifier, message("s@a.example"), {subject("r@b.example"), subject("q@b.example")},
                             "Subject: hi\r\nMessage-ID: <1@a.example>\r\n", queue::Id{2ULL << 40}, kNow);
    REQUIRE(out);
    CHECK(out->message.envelope.reverse_path.is_null());
    REQUIRE(out->message.envelope.recipients.size() == 1);
    CHECK(out->message.envelope.recipients[0].forward_path.text() == "s@a.example");
    CHECK(out->message.expires == kNow + 24h);
    CHECK_FALSE(out->message.warn_at);
    const std::string& body = out->body;
    CHECK(count(body, "Final-Recipient: rfc822; ") == 2);
    CHECK(count(body, "\r\nStatus: 5.1.1\r\n") == 2);
    CHECK(count(body, "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n") == 2);
    CHECK(count(body, "Remote-MTA: dns; mx.b.example\r\n") == 2);
    CHECK(count(body, "In-Reply-To: <1@a.example>\r\n") == 1);
    CHECK(count(body, "Auto-Submitted: auto-replied\r\n") == 1);
    CHECK(count(body, "report-type=delivery-status") == 1);
    CHECK(body.ends_with("--\r\n"));
  }

  TEST_CASE("no text of a peer makes a line of its own (C2)") {
    Subject evil = subject("r@b.example");
    evil.report.reply = "no\r\nAction: delivered\r\n\r\nx";
    evil.report.orcpt = "rfc822;a\r\nStatus: 2.0.0";
    evil.report.host = "h\r\nX: y[192.0.2.1]:25";
    queue::MessageInfo info = message("s@a.example");
    info.envid = "e\r\nBcc: z@z";
    const auto out =
        compose_notification(kNotifier, info, {evil}, "Message-ID: <a b>\r\n", queue::Id{3ULL << 40}, kNow);
    REQUIRE(out);
    CHECK(count(out->body, "\r\nAction:") == 1);
    CHECK(count(out->body, "\r\nStatus:") == 1);
    CHECK(count(out->body, "\r\nX:") == 0);
    CHECK(count(out->body, "\r\nBcc:") == 0);
  }

  TEST_CASE("an original's line that looks like the boundary does not end the report") {
    const queue::Id id{4ULL << 40};
    const std::string trap = "X-Trap: 1\r\n--" + id.text() + "/relay.example.net\r\n";
    const auto out = compose_notification(kNotifier, message("s@a.example"), {subject("r@b.example")}, trap, id, kNow);
    REQUIRE(out);
    CHECK(count(out->body, "boundary=\"=" + id.text()) == 1);
  }

  TEST_CASE("the header section ends at the blank line, at the end, or at the limit") {
    CHECK(header_section("A: b\r\nC: d\r\n\r\nbody\r\n") == "A: b\r\nC: d\r\n");
    CHECK(header_section("\r\nbody\r\n").empty());
    CHECK(header_section("A: b\r\n") == "A: b\r\n");
    CHECK(header_section("no line end").empty());
    std::string large;
    while (large.size() < 2 * kMaxReturnedOctets) large += "X: 0123456789\r\n";
    CHECK(header_section(large).size() <= kMaxReturnedOctets);
    CHECK(header_section(large).ends_with("\r\n"));
  }

  TEST_CASE("8-bit originals make the report 8-bit, lines too long for mail are left out") {
    const auto out = compose_notification(kNotifier, message("s@a.example"), {subject("r@b.example")},
                                          "Subject: gr\xc3\xbc\xc3\x9f\r\nX: " + std::string(2000, 'x') + "\r\n",
                                          queue::Id{5ULL << 40}, kNow);
    REQUIRE(out);
    CHECK(out->message.envelope.body == smtp::BodyType::eight_bit_mime);
    CHECK(count(out->body, "Content-Transfer-Encoding: 8bit\r\n") == 2);
    CHECK(count(out->body, "xxxxxxxxxx") == 0);
  }

  TEST_CASE("an address that is not ASCII is told in the form that fits US-ASCII [RFC 6533 3]") {
    Subject one = subject("r@b.example");
    one.report.address = "j\xc3\xb6rg+x@\xe4\xbe\x8b.example";
    const auto out = compose_notification(kNotifier, message("s@a.example"), {one}, "", queue::Id{6ULL << 40}, kNow);
    REQUIRE(out);
    CHECK(count(out->body, "\r\nFinal-Recipient: utf-8; j\\x{F6}rg\\x{2B}x@\\x{4F8B}.example\r\n") == 1);
    one.report.address = "j\xff@b.example";
    const auto bad = compose_notification(kNotifier, message("s@a.example"), {one}, "", queue::Id{7ULL << 40}, kNow);
    CHECK(count(bad->body, "\r\nFinal-Recipient: rfc822; j?@b.example\r\n") == 1);
    CHECK(count(bad->body, "\r\n<j?@b.example>\r\n") == 1);
  }

  TEST_CASE("what people read is in UTF-8, and what returns with a UTF-8 header says so [RFC 6532 3.7, RFC 6533 4]") {
    Subject one = subject("j\xc3\xb6rg@b.example");
    one.report.reply = "550 5.1.1 nobody called j\xc3\xb6rg";
    queue::MessageInfo of = message("s\xc3\xbc\xc3\x9f@a.example");
    const std::string original = "Subject: gr\xc3\xbc\xc3\x9f\r\n\r\ntext\r\n";
    for (const bool whole : {false, true}) {
      of.ret = whole ? smtp::Ret::full : smtp::Ret::headers;
      of.size = original.size();
      const auto out = compose_notification(kNotifier, of, {one}, original, queue::Id{6ULL << 40}, kNow);
      REQUIRE(out);
      CHECK(out->message.envelope.smtputf8);
      CHECK(out->message.envelope.body == smtp::BodyType::eight_bit_mime);
      CHECK(count(out->body, "To: <s\xc3\xbc\xc3\x9f@a.example>\r\n") == 1);
      CHECK(count(out->body, "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n") == 1);
      CHECK(count(out->body, "\r\n<j\xc3\xb6rg@b.example>\r\n") == 1);
      CHECK(count(out->body, "    550 5.1.1 nobody called j\xc3\xb6rg\r\n") == 1);
      CHECK(count(out->body, "\r\nDiagnostic-Code: smtp; 550 5.1.1 nobody called j??rg\r\n") == 1);
      CHECK(count(out->body, "\r\nContent-Type: message/global\r\n") == (whole ? 1 : 0));
      CHECK(count(out->body, "\r\nContent-Type: message/global-headers\r\n") == (whole ? 0 : 1));
    }
    queue::MessageInfo demanding = message("s@a.example");
    demanding.require_tls = true;
    const auto safe = compose_notification(kNotifier, demanding, {one}, "", queue::Id{7ULL << 40}, kNow);
    CHECK(safe->message.envelope.require_tls);  // RFC 8689 §5
    CHECK_FALSE(safe->message.envelope.smtputf8);
    const auto latin = compose_notification(kNotifier, message("s@a.example"), {subject("r@b.example")},
                                            "Subject: gr\xfc\xdf\r\n", queue::Id{7ULL << 40}, kNow);
    CHECK_FALSE(latin->message.envelope.smtputf8);
    CHECK(count(latin->body, "\r\nContent-Type: text/rfc822-headers\r\n") == 1);
    CHECK(count(latin->body, "charset=us-ascii") == 1);
  }

  TEST_CASE("addresses with odd characters stay on their line, or fold at a space") {
    const std::string odd = R"("a  \"b\"; c\\"@b.example)";
    const auto out =
        compose_notification(kNotifier, message("s@a.example"), {subject(odd)}, "", queue::Id{8ULL << 40}, kNow);
    REQUIRE(out);
    CHECK(count(out->body, "\r\nFinal-Recipient: rfc822; " + odd + "\r\n") == 1);
  }

  TEST_CASE("spaces in a reply, however many, make no blank line within a field") {
    Subject told = subject("r@b.example");
    told.report.reply = "550 " + std::string(68, 'x') + std::string(300, ' ') + "end" + std::string(90, ' ');
    auto made = compose_notification(kNotifier, message("s@a.example"), {told}, "", queue::Id{7}, kNow);
    REQUIRE(made);
    std::string status = made->body.substr(made->body.find("\r\nDiagnostic-Code: "));
    CHECK(status.find("\r\n  ") == std::string::npos);
    CHECK(status.find("\r\n \r\n") == std::string::npos);
    CHECK(status.find("\r\n end") != std::string::npos);
  }

  TEST_CASE("ENVID and ORCPT are decoded [RFC 3461 6.3]") {
    queue::MessageInfo info = message("s@a.example");
    info.envid = "QQ+2B314";
    Subject one = subject("r@b.example");
    one.report.orcpt = "rfc822;a+2Bb@c.example";
    Subject two = subject("q@b.example");
    two.report.orcpt = "utf-8;j\\x{F6}@c.example";
    const auto out = compose_notification(kNotifier, info, {one, two}, "", queue::Id{9ULL << 40}, kNow);
    REQUIRE(out);
    CHECK(count(out->body, "\r\nOriginal-Envelope-Id: QQ+314\r\n") == 1);
    CHECK(count(out->body, "\r\nOriginal-Recipient: rfc822;a+b@c.example\r\n") == 1);
    CHECK(count(out->body, "\r\nOriginal-Recipient: utf-8;j\\x{F6}@c.example\r\n") == 1);
  }

  TEST_CASE("what was delayed and came after all has words of its own") {
    using Action = ReportedRecipient::Action;
    auto text = [](std::vector<Subject> subjects) {
      return compose_notification(kNotifier, message("s@a.example"), subjects, "Subject: hi\r\n", queue::Id{2ULL << 40},
                                  kNow)
          ->body;
    };
    Subject late = subject("late@b.example", 0, Action::relayed), soon = subject("soon@b.example", 2, Action::relayed);
    late.report.after_all = true;
    const std::string alone = text({late});
    CHECK(count(alone, "Subject: Delayed mail was passed on\r\n") == 1);
    CHECK(count(alone, "Action: relayed\r\n") == 1);
    CHECK(count(alone, "passed on after all") == 1);
    CHECK(count(alone, "asked to be told") == 0);
    const std::string both = text({late, soon});
    CHECK(count(both, "Subject: Mail passed on\r\n") == 1);
    CHECK(both.find("asked to be told") < both.find("<soon@b.example>"));
    CHECK(both.find("<soon@b.example>") < both.find("after all"));
    CHECK(both.find("after all") < both.find("<late@b.example>"));
    late.report.action = Action::delivered;
    CHECK(count(text({late}), "Subject: Delayed mail was delivered\r\n") == 1);
  }

  TEST_CASE("our words stand before a reply; they are no diagnosis of the host [RFC 3464 2.3.6]") {
    using Action = ReportedRecipient::Action;
    auto text = [](const Subject& one) {
      return compose_notification(kNotifier, message("s@a.example"), {one}, "", queue::Id{2ULL << 40}, kNow)->body;
    };
    Subject late = subject("r@b.example", 0, Action::delayed);
    late.report.words = "delivery is delayed";
    const std::string said = text(late);
    CHECK(count(said, "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n") == 1);
    CHECK(count(said, "Remote-MTA: dns; mx.b.example\r\n") == 1);
    CHECK(count(said,
                "    Delivery is delayed. The mail server mx.b.example[192.0.2.7]:25\r\n    said:\r\n"
                "    550 5.1.1 no such user\r\n") == 1);
    late.report.remote_said_it = false;
    late.report.reply = "connection refused";
    const std::string ours = text(late);
    CHECK(count(ours, "Diagnostic-Code: X-Waypost; delivery is delayed: connection refused\r\n") == 1);
    CHECK(count(ours, "    Delivery is delayed: connection refused\r\n") == 1);
    CHECK(count(ours, "Remote-MTA") == 0);
    late.report.reply = "";
    CHECK(count(text(late), "Diagnostic-Code: X-Waypost; delivery is delayed\r\n") == 1);
  }

  TEST_CASE("where several hosts were asked people read what each did; the technical part has the last reply") {
    Subject one = subject("r@b.example");
    one.report.asked = {
        "mx1.b.example [192.0.2.1] could not be reached: connection refused",
        "mx2.b.example [192.0.2.2] answered: 550 5.1.1 no such user, who is not known to us at all\r\n.x"};
    const auto out = compose_notification(kNotifier, message("s@a.example"), {one}, "", queue::Id{2ULL << 40}, kNow);
    REQUIRE(out);
    CHECK(count(out->body,
                "<r@b.example>\r\n    These mail servers were asked:\r\n"
                "    - mx1.b.example [192.0.2.1] could not be reached: connection refused\r\n"
                "    - mx2.b.example [192.0.2.2] answered: 550 5.1.1 no such user, who is\r\n"
                "      not known to us at all??.x\r\n") == 1);
    CHECK(count(out->body, "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n") == 1);
    CHECK(count(out->body, "said:") == 0);
    one.report.words = "delivery time expired";
    const auto late = compose_notification(kNotifier, message("s@a.example"), {one}, "", queue::Id{2ULL << 40}, kNow);
    CHECK(count(late->body, "    Delivery time expired. These mail servers were asked:\r\n") == 1);
  }

  TEST_CASE("what hosts said of very many recipients is left out when the report is long enough") {
    std::vector<Subject> many;
    for (int i = 0; i < 1000; ++i) {
      many.push_back(subject("r" + std::to_string(i) + "@b.example"));
      many.back().report.asked.assign(5, std::string(512, 'x'));
    }
    const auto out = compose_notification(kNotifier, message("s@a.example"), many, "", queue::Id{2ULL << 40}, kNow);
    REQUIRE(out);
    CHECK(count(out->body, "were asked:") > 10);
    CHECK(count(out->body, "were asked:") < 40);
    CHECK(count(out->body, "said:") > 950);
    CHECK(out->body.size() < 700'000);
  }

  TEST_CASE("RET=FULL brings the message back if it failed and is small; else its header section [RFC 3461 4.3]") {
    const std::string original = "Subject: hi\r\n\r\nthe text\r\n";
    struct Row {
      smtp::Ret ret;
      ReportedRecipient::Action action;
      std::string original;
      bool whole;
    };
    const Row rows[] = {
        {smtp::Ret::full, ReportedRecipient::Action::failed, original, true},
        {smtp::Ret::headers, ReportedRecipient::Action::failed, original, false},
        {smtp::Ret::unspecified, ReportedRecipient::Action::failed, original, false},
        {smtp::Ret::full, ReportedRecipient::Action::delayed, original, false},
        {smtp::Ret::full, ReportedRecipient::Action::failed, original + std::string(1500, 'x') + "\r\n", false},
    };
    for (const Row& row : rows) {
      queue::MessageInfo info = message("s@a.example");
      info.ret = row.ret;
      info.size = row.original.size();
      const auto out = compose_notification(kNotifier, info, {subject("r@b.example", 0, row.action)}, row.original,
                                            queue::Id{10ULL << 40}, kNow);
      REQUIRE(out);
      CHECK(count(out->body, "Content-Type: message/rfc822\r\n") == (row.whole ? 1 : 0));
      CHECK(count(out->body, "Content-Type: text/rfc822-headers\r\n") == (row.whole ? 0 : 1));
      CHECK(count(out->body, "the text\r\n") == (row.whole ? 1 : 0));
      CHECK(count(out->body, "Subject: hi\r\n") == 1);
    }
  }
}

}  // namespace waypost::delivery
