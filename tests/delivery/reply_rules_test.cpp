#include "delivery/reply_rules.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "base/escape.h"
#include "smtp/reply_parser.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

std::string texts(const std::vector<conf::Finding>& errors) {
  std::string all;
  for (const conf::Finding& error : errors) all += error.text() + "\n";
  return all;
}

ReplyRules::Parsed parse(const std::string& text) {
  return ReplyRules::parse({{"rules.toml", text}});
}

std::shared_ptr<const ReplyRules> rules(const std::string& text) {
  const ReplyRules::Parsed parsed = parse(text);
  REQUIRE_MESSAGE(parsed.rules, texts(parsed.errors));
  return parsed.rules;
}

const std::shared_ptr<const ReplyRules>& shipped() {
  static const std::shared_ptr<const ReplyRules> kRules = [] {
    const ReplyRules::Parsed parsed = ReplyRules::parse({{conf::RuleFile::kShipped, ""}});
    REQUIRE_MESSAGE(parsed.rules, texts(parsed.errors));
    return parsed.rules;
  }();
  return kRules;
}

/// What a host says, its lines parted by '\n', as a delivery makes it of them.
RemoteReply said(const std::string& lines, const std::string& host = "mx.b.example", int family = 4,
                 Stage stage = Stage::rcpt) {
  smtp::ReplyParser parser;
  std::optional<smtp::Reply> reply;
  std::size_t at = 0;
  while (at <= lines.size() && !reply) {
    const std::size_t end = std::min(lines.find('\n', at), lines.size());
    Result<std::optional<smtp::Reply>> read = parser.on_line(lines.substr(at, end - at));
    REQUIRE_MESSAGE(read, lines);
    reply = *read;
    at = end + 1;
  }
  REQUIRE_MESSAGE(reply, lines);
  return remote_reply(stage, *reply, host, family);
}

/// "" where no rule matches.
std::string rule_of(const ReplyRules& rules, const RemoteReply& reply) {
  const std::optional<Reaction> reaction = rules.react(reply);
  return reaction ? reaction->rule : "";
}

const std::string kGmail = "gmail-smtp-in.l.google.com[192.0.2.27]:25";
const std::string kHotmail = "hotmail-com.olc.protection.outlook.com";
const std::string k365 = "b-example.mail.protection.outlook.com";
const std::string kYahoo = "mta5.am0.yahoodns.net";
const std::string kApple = "mx01.mail.icloud.com";
const std::string kGmx = "mx00.gmx.net";
const std::string kAny = "mx.b.example";

/// A real text of a rule, and one like it that another rule, or none, is for.
struct Row {
  const char* rule;
  std::string host;
  std::string text;
  std::string miss;
  const char* miss_rule;  ///< "": none
  int family = 4;
};

const std::vector<Row>& rows() {
  static const std::vector<Row> kRows = {
      {"google-ipv6", kGmail,
       "550-5.7.25 [2001:db8::25] The IP address sending this message does not have a\n550-5.7.25 PTR record setup, or "
       "the corresponding forward DNS entry does not\n550 5.7.25 match the sending IP. x1si1 - gsmtp",
       "550-5.7.26 Your email has been blocked because the sender is unauthenticated.\n550 5.7.26 x1si1 - gsmtp", "",
       6},
      {"google-ip-rate", kGmail,
       "421-4.7.28 [192.0.2.1] Our system has detected an unusual rate of\n421-4.7.28 unsolicited mail originating "
       "from "
       "your IP address. To protect our\n421 4.7.28 users from spam, mail has been temporarily rate limited. x1si1 - "
       "gsmtp",
       "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating\n421 4.7.28 from your DKIM "
       "domain. "
       "x1si1 - gsmtp",
       "google-domain-reputation"},
      {"google-ip-blocked", kGmail,
       "550-5.7.1 [192.0.2.1] Our system has detected an unusual rate of\n550-5.7.1 unsolicited mail originating from "
       "your "
       "IP address. To protect our\n550 5.7.1 users from spam, mail sent from your IP address has been blocked. x1si1 "
       "- gsmtp",
       "550-5.7.1 [192.0.2.1] Our system has detected that this message is\n550 5.7.1 likely unsolicited mail. x1si1 - "
       "gsmtp",
       ""},
      {"google-ip-reputation", kGmail,
       "421-4.7.0 [192.0.2.1] Our system has detected that this message is\n421-4.7.0 suspicious due to the very low "
       "reputation of the sending IP address.\n421 4.7.0 x1si1 - gsmtp",
       "421-4.7.0 [192.0.2.1] Our system has detected that this message is\n421 4.7.0 suspicious due to the nature of "
       "the "
       "content. x1si1 - gsmtp",
       ""},
      {"google-domain-reputation", kGmail,
       "421-4.7.0 [192.0.2.1] Our system has detected that this message is\n421-4.7.0 suspicious due to the very low "
       "reputation of the sending domain.\n421 4.7.0 x1si1 - gsmtp",
       "550-5.7.1 [192.0.2.1] Our system has detected that this message is\n550-5.7.1 likely suspicious due to the "
       "very low "
       "reputation of the sending\n550 5.7.1 domain. x1si1 - gsmtp",
       ""},
      {"google-rate", kGmail, "421 4.7.28 Your mail has been rate limited. x1si1 - gsmtp",
       "421 4.7.2 Your mail is not wanted. x1si1 - gsmtp", ""},
      {"google-recipient-rate", kGmail,
       "450-4.2.1 The user you are trying to contact is receiving mail too quickly.\n450 4.2.1 Please resend your "
       "message at "
       "a later time. x1si1 - gsmtp",
       "550-5.2.1 The user you are trying to contact is receiving mail at a rate that\n550 5.2.1 prevents additional "
       "messages "
       "from being delivered. x1si1 - gsmtp",
       ""},
      {"google-mailbox-full", kGmail,
       "452 4.2.2 The email account that you tried to reach is over quota. x1si1 - gsmtp",
       "452 4.5.3 Your message has too many recipients. x1si1 - gsmtp", ""},
      {"google-busy", kGmail, "421 4.7.0 Try again later, closing connection. (EHLO) x1si1 - gsmtp",
       "421 4.7.0 TLS required for RCPT domain, closing connection. x1si1 - gsmtp", ""},
      {"microsoft-ipv6", k365,
       "450 4.7.25 Service unavailable, sending IPv6 address [2001:db8::240] must have reverse DNS record.",
       "550 5.4.1 Recipient address rejected: Access denied. [AM4PEPF1.eurprd05.prod.outlook.com]", "", 6},
      {"microsoft-ip-rate", kHotmail,
       "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. For e-mail "
       "delivery "
       "information, see https://aka.ms/postmaster (S775)",
       "550 5.7.1 The mail server [192.0.2.1] is not allowed here.", ""},
      {"outlook-com-blocked", kHotmail,
       "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider "
       "since "
       "part of their network is on our block list (S3150).",
       "550 SC-001 Mail rejected by Outlook.com for policy reasons. Reasons for rejection may be related to content.",
       ""},
      {"microsoft-365-banned", k365,
       "550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal from this list please visit "
       "https://sender.office.com/ (AS16012609)",
       "550 5.7.501 Access denied, spam abuse detected.", ""},
      {"microsoft-365-busy", k365, "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS77712344)",
       "451 4.4.62 Mail sent to the wrong Office 365 region. ATTR35.", ""},
      {"microsoft-connections", k365,
       "421 4.3.2 The maximum number of concurrent connections per resource forest has exceeded a limit, closing "
       "transmission channel. PRX8",
       "421 4.3.2 Service not active", ""},
      {"microsoft-recipient-rate", k365, "432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded",
       "432 4.3.2 STORE.Deliver; another limit", ""},
      {"yahoo-ts03", kYahoo,
       "421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.",
       "421 4.7.1 Messages are deferred", ""},
      {"yahoo-ts", kYahoo,
       "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - "
       "4.16.55.1; see https://postmaster.yahooinc.com/error-codes",
       "554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes", ""},
      {"yahoo-greylisted", kYahoo, "421 Message from (192.0.2.1) temporarily deferred - 4.16.50. [GL01]",
       "421 Message from (192.0.2.1) temporarily deferred - 4.16.50.", ""},
      {"yahoo-blocked", kYahoo,
       "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list",
       "554 delivery error: dd This user doesn't have a yahoo.com account (bob@yahoo.com) [0]", ""},
      {"yahoo-busy", kYahoo, "451 Resources temporarily not available - Please try again later [#4.16.5].",
       "451 Message temporarily deferred", ""},
      {"icloud-recipient-rate", kApple,
       "421 4.7.1 Messages to bob@icloud.com deferred due to excessive volume. Try again later - "
       "https://support.apple.com/en-us/HT204137",
       "421 4.7.1 Messages deferred due to excessive volume.", "icloud-rate"},
      {"icloud-rate", kApple, "421 4.7.0 me.com Error: too many errors",
       "554 5.7.1 [HM08] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
       ""},
      {"icloud-busy", kApple, "451 4.7.1 Service unavailable - try again later", "450 4.7.1 Client host rejected", ""},
      {"gmx-refused", kGmx,
       "554-gmx.net (mxgmx104) Nemesis ESMTP Service not available\n554-No SMTP service\n554-IP address is block "
       "listed.\n554 "
       "For explanation visit https://postmaster.gmx.net/en/case?c=r0201&i=ip&v=192.0.2.1",
       "550 Requested action not taken: mailbox unavailable", ""},
      {"gmx-rate", kGmx, "421 Rate limit reached. Please try again later",
       "550 Reject due to SPF policy. The originating IP of the message is not permitted by the domain owner", ""},
      {"gmx-policy", kGmx, "450 Reject due to policy violations",
       "554 Transaction failed: Reject due to policy restrictions.", ""},
      {"gmx-busy", kGmx, "450 Administrative reject", "550 Administrative prohibition", ""},
      {"throttled-for", kAny, "421 4.7.0 Too many connections, try again in 90 seconds",
       "452 4.5.3 Too many recipients, the limit is 90", ""},
      {"connections", kAny, "421 4.7.0 mx.b.example Error: too many connections from 192.0.2.1",
       "554 5.7.0 mx.b.example Error: too many connections from 192.0.2.1", ""},
      {"messages", kAny, "450 4.7.1 Error: too much mail from 192.0.2.1", "452 4.5.3 Error: too many recipients", ""},
      {"greylisted-clock", kAny, "451 4.7.1 Greylisting in action, please come back in 00:05:00",
       "451 4.3.0 Internal error at 00:05:00", ""},
      {"retry-after", kAny, "450 4.2.0 <bob@b.example>: Recipient address rejected: Greylisted for 300 seconds",
       "450 4.2.0 <bob@b.example>: Recipient address rejected: mailbox is locked for 300 seconds", ""},
      {"greylisted", kAny,
       "450 4.2.0 <bob@b.example>: Recipient address rejected: Greylisted, see "
       "http://postgrey.schweikert.ch/help/b.example.html",
       "550 5.7.1 <bob@b.example>: Recipient address rejected: not greylisted, but refused", ""},
      {"openbsd-spamd", kAny, "451 Temporary failure, please try again later.",
       "451 4.3.0 Temporary failure of the disk, please try again later.", ""},
      {"rspamd", kAny, "451 4.7.1 Try again later", "451 4.7.1 Service unavailable - try again later", ""},
      {"ipv6-name", kAny, "550 5.7.25 Client host rejected: no PTR", "550 5.7.1 Client host rejected", "", 6},
      {"proofpoint", kAny, "550 5.7.0 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1",
       "550 5.7.0 Blocked - see https://www.proofpoint.com", ""},
      {"block-list", kAny,
       "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; "
       "https://www.spamhaus.org/query/ip/192.0.2.1",
       "554 5.7.1 Service unavailable; Sender address [ann@a.example] blocked using dbl.spamhaus.org", ""},
      {"no-name", kAny, "550 5.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]",
       "550 5.1.8 <ann@a.example>: Sender address rejected: Domain not found", ""},
  };
  return kRows;
}

const std::string kRule = "[[rule]]\nname = \"r\"\ncode = \"4\"\naction = \"retry\"\nwhy = \"w\"\n";

}  // namespace

TEST_SUITE("delivery/reply_rules") {
  TEST_CASE("the shipped rules are what real replies of the big hosts need, and leave alone what is near") {
    for (const Row& row : rows()) {
      CHECK_MESSAGE(rule_of(*shipped(), said(row.text, row.host, row.family)) == row.rule, row.text);
      CHECK_MESSAGE(rule_of(*shipped(), said(row.miss, row.host, row.family)) == row.miss_rule, row.miss);
    }
  }

  TEST_CASE("each shipped rule has a row above") {
    std::set<std::string> shown;
    for (const Row& row : rows()) shown.insert(row.rule);
    for (const std::string& name : shipped()->names()) CHECK_MESSAGE(shown.contains(name), name);
  }

  TEST_CASE("a rule for one provider's hosts is for nobody else's, and one for IPv6 for no IPv4") {
    for (const Row& row : rows()) {
      if (row.host == kAny) continue;
      CHECK_MESSAGE(rule_of(*shipped(), said(row.text, kAny, row.family)) != row.rule, row.text);
      // A numeric address has no name.
      CHECK_MESSAGE(rule_of(*shipped(), said(row.text, "[192.0.2.7]:25", row.family)) != row.rule, row.text);
      RemoteReply unknown = said(row.text, "", row.family);
      unknown.host.reset();
      unknown.family.reset();
      CHECK_MESSAGE(rule_of(*shipped(), unknown) == row.rule, row.text);
      if (row.family == 6) CHECK_MESSAGE(rule_of(*shipped(), said(row.text, row.host, 4)) != row.rule, row.text);
    }
  }

  TEST_CASE("shipped rules fail nobody, and take no 5xx back that is about a recipient or a content") {
    for (const Row& row : rows()) {
      const std::optional<Reaction> reaction = shipped()->react(said(row.text, row.host, row.family));
      REQUIRE(reaction);
      CHECK(reaction->action != Action::fail);
      CHECK(reaction->time <= 24h);
    }
    for (const std::string& host : {kGmail, kHotmail, k365, kYahoo, kApple, kGmx, kAny}) {
      for (const int family : {4, 6}) {
        for (const char* text :
             {"550 5.1.1 The email account that you tried to reach does not exist.",
              "550 5.1.10 RESOLVER.ADR.RecipientNotFound",
              "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302).", "552 5.2.2 Mailbox full",
              "554 5.7.1 Message rejected as spam", "550 5.7.26 Unauthenticated email is not accepted (DMARC)",
              "554 5.7.1 Relay access denied", "552 5.3.4 Message too big",
              "550 5.7.1 Message contains a URL listed in a block list", "550 User unknown"})
          CHECK_MESSAGE(rule_of(*shipped(), said(text, host, family)).empty(), host << " " << text);
      }
    }
  }

  TEST_CASE("times that hosts ask for, and the bounds of them") {
    struct Time {
      const char* text;
      std::chrono::seconds want;
      bool hinted;
    };
    const std::vector<Time> times = {
        {"450 4.7.1 Greylisted, try again in 180 seconds", 180s, true},
        {"450 4.7.1 Greylisted for 5 minutes", 300s, true},
        {"450 4.7.1 greylisted, retry after 15min", 900s, true},
        {"451 4.7.1 Greylisting in action, please come back in 00:04:30", 270s, true},
        {"450 4.7.1 Please try again in 999999999 seconds", 3600s, true},
        {"450 4.7.1 Please try again in 99999999999999999999999999999999 minutes", 3600s, true},
        {"450 4.7.1 Please try again in 99999999999999999999 h", 3600s, true},
        {"450 4.7.1 Please try again in 0 seconds", 1s, true},
        {"451 4.7.1 Greylisting in action, please come back in 99:99:99", 3600s, true},
        {"450 4.7.1 Greylisted", 0s, false},
        {"450 4.7.1 Too many messages, try again in 2 hours", 7200s, true},
        {"450 4.7.1 Too many messages, try again in 999999999 hours", 24h, true},
        {"450 4.7.1 Too many messages", 1800s, false},
        {"450 4.7.1 Too many messages, try again in -5 minutes", 1800s, false},
        {"450 4.7.1 Too many messages, try again in \xd9\xa5 minutes", 1800s, false},
    };
    for (const Time& time : times) {
      const std::optional<Reaction> reaction = shipped()->react(said(time.text));
      REQUIRE_MESSAGE(reaction, time.text);
      CHECK_MESSAGE(reaction->time == time.want, time.text);
      CHECK_MESSAGE(reaction->hinted == time.hinted, time.text);
    }
  }

  TEST_CASE("what a rule asks for: all of it has to hold") {
    const auto r = rules(R"(
[[rule]]
name = "all"
hosts = ["mx.B.example", "*.c.example"]
code = "45"
enhanced = "4.7"
stage = "final_dot"
family = "ipv6"
text = 'slow\s+down'
action = "slow"
for = "5m"
why = "It says so."
)");
    const RemoteReply good = said("451 4.7.1 Slow  down", "MX.b.example[2001:db8::1]:25", 6, Stage::final_dot);
    const std::optional<Reaction> reaction = r->react(good);
    REQUIRE(reaction);
    CHECK(reaction->action == Action::slow);
    CHECK(reaction->time == 5min);
    CHECK_FALSE(reaction->hinted);
    CHECK(reaction->rule == "all");
    CHECK(reaction->why == "It says so.");
    const auto with = [&good](auto change) {
      RemoteReply reply = good;
      change(reply);
      return reply;
    };
    CHECK(r->react(with([](RemoteReply& reply) { reply.host = "a.c.example."; })));
    CHECK_FALSE(r->react(with([](RemoteReply& reply) { reply.host = "c.example"; })));
    CHECK_FALSE(r->react(with([](RemoteReply& reply) { reply.host = "mx.b.example.net"; })));
    CHECK_FALSE(r->react(with([](RemoteReply& reply) { reply.code = 441; })));
    CHECK_FALSE(r->react(with([](RemoteReply& reply) { reply.code = 551; })));
    CHECK_FALSE(r->react(with([](RemoteReply& reply) { reply.code = 45; })));
    CHECK_FALSE(r->react(with([](RemoteReply& reply) { reply.enhanced = smtp::EnhancedCode{4, 70, 1}; })));
    CHECK_FALSE(r->react(with([](RemoteReply& reply) { reply.enhanced.reset(); })));
    CHECK_FALSE(r->react(with([](RemoteReply& reply) { reply.stage = Stage::rcpt; })));
    CHECK_FALSE(r->react(with([](RemoteReply& reply) { reply.family = 4; })));
    CHECK_FALSE(r->react(with([](RemoteReply& reply) { reply.text = "451 4.7.1 down"; })));
    CHECK(r->react(with([](RemoteReply& reply) {
      reply.stage.reset();
      reply.family.reset();
      reply.host.reset();
    })));
  }

  TEST_CASE("the first rule that matches counts, over all files") {
    const auto text = [](const std::string& name, const std::string& more) {
      return "[[rule]]\nname = \"" + name + "\"\naction = \"retry\"\nwhy = \"w\"\n" + more;
    };
    const ReplyRules::Parsed parsed =
        ReplyRules::parse({{"/a", text("one", "code = \"421\"\n") + text("two", "code = \"4\"\n")},
                           {"shipped", ""},
                           {"/b", text("three", "code = \"5\"\n")}});
    REQUIRE_MESSAGE(parsed.rules, texts(parsed.errors));
    CHECK(rule_of(*parsed.rules, said("421 4.7.28 rate", kGmail)) == "one");
    CHECK(rule_of(*parsed.rules, said("450 4.7.28 rate", kGmail)) == "two");
    CHECK(rule_of(*parsed.rules, said("553 5.7.1 [BL21] no", kYahoo)) == "yahoo-blocked");
    CHECK(rule_of(*parsed.rules, said("550 no")) == "three");
    CHECK(parsed.rules->names().size() == shipped()->names().size() + 3);
    const ReplyRules::Parsed none = ReplyRules::parse({});
    REQUIRE(none.rules);
    CHECK_FALSE(none.rules->react(said("421 4.7.28 rate", kGmail)));
  }

  TEST_CASE("what is no 4xx or 5xx has no rule") {
    const auto r = rules("[[rule]]\nname = \"r\"\ntext = '.'\naction = \"retry\"\nwhy = \"w\"\n");
    for (const int code : {-1, 0, 200, 250, 354, 399, 600, 4000}) {
      RemoteReply reply = said("450 x");
      reply.code = code;
      CHECK_FALSE(r->react(reply));
    }
    CHECK(r->react(said("599 x")));
  }

  TEST_CASE("actions") {
    for (const Action action :
         {Action::slow, Action::wait, Action::retry, Action::other_address, Action::fail, Action::defer}) {
      const std::string name(name_of(action));
      const std::string code = action == Action::defer ? "5" : "4";
      const bool timed = action == Action::slow || action == Action::wait;
      const auto r = rules("[[rule]]\nname = \"r\"\ncode = \"" + code + "\"\naction = \"" + name + "\"\nwhy = \"w\"\n" +
                           (timed ? "for = \"24h\"\n" : ""));
      const std::optional<Reaction> reaction = r->react(said(code + "50 x"));
      REQUIRE(reaction);
      CHECK(reaction->action == action);
      CHECK(reaction->time == (timed ? 24h : 0h));
      CHECK(defers(action) == (action != Action::fail && action != Action::other_address));
      CHECK_FALSE(r->react(said((code == "4" ? "5" : "4") + std::string("50 x"))));
    }
  }

  TEST_CASE("hostile texts: any octets, any length") {
    const auto r = rules(
        "[[rule]]\nname = \"r\"\ntext = 'caf\\xe9.now'\naction = \"retry\"\nwhy = \"w\"\n"
        "[[rule]]\nname = \"end\"\ntext = 'the end$'\naction = \"retry\"\nwhy = \"w\"\n");
    RemoteReply reply = said("450 x");
    reply.text = "450 caf\xe9\nnow \xff\xfe";
    CHECK(rule_of(*r, reply) == "r");
    reply.text = std::string("450 \0 caf\xe9\0now", 14);
    CHECK(rule_of(*r, reply) == "r");
    // Only what is stored is looked at.
    reply.text = "450 " + std::string(512, 'x') + "the end";
    CHECK(rule_of(*r, reply).empty());
    reply.text = "450 " + std::string(400, 'x') + "the end";
    CHECK(rule_of(*r, reply) == "end");
    // What takes a backtracking engine longer than the world lasts.
    const auto bomb = rules("[[rule]]\nname = \"r\"\ntext = '^(((a|aa)*)*)*b$'\naction = \"retry\"\nwhy = \"w\"\n");
    reply.text = std::string(100'000'000, 'a');
    CHECK(rule_of(*bomb, reply).empty());
    for (const std::string& text :
         {std::string(512, 'a'), std::string(512, '('), std::string(512, '\xff'), std::string(512, '\0'),
          std::string("/ / / / / /"), std::string(" / "), std::string()}) {
      reply.text = text;
      CHECK(rule_of(*shipped(), reply).empty());
    }
    std::string greedy;
    while (greedy.size() < 500) greedy += "try again in for after ";
    reply.text = greedy;
    CHECK(rule_of(*shipped(), reply).empty());
  }

  TEST_CASE("lines of a reply are parted by a space for a rule") {
    const auto r = rules("[[rule]]\nname = \"r\"\ntext = '^450 one two$'\naction = \"retry\"\nwhy = \"w\"\n");
    CHECK(r->react(said("450-one\n450 two")));
    CHECK(said("450-one\n450 two").text == "450 one / two");
    CHECK_FALSE(r->react(said("450 one/two")));
  }

  TEST_CASE("mistakes in a file: each with its line, its key and what to do") {
    struct Mistake {
      std::string text;
      int line;
      const char* key;
      const char* message;
    };
    const std::string head = "[[rule]]\nname = \"r\"\ncode = \"4\"\nwhy = \"w\"\n";
    const std::vector<Mistake> mistakes = {
        {"[[rule]\n", 1, "", ""},
        {"[[rules]]\nname = \"r\"\n", 1, "rules", "unknown key (did you mean \"rule\"?)"},
        {"hostname = \"a\"\n", 1, "hostname", "unknown key"},
        {"[rule]\n" + kRule.substr(9), 1, "rule", "double brackets"},
        {kRule + "actoin = 1\n", 6, "rule[1].actoin", "did you mean \"action\"?"},
        {kRule + "timeout = \"5s\"\n", 6, "rule[1].timeout", "unknown key"},
        {"[[rule]]\ncode = \"4\"\naction = \"retry\"\nwhy = \"w\"\n", 1, "rule[1]", "is missing"},
        {"[[rule]]\nname = \"a b\"\ncode = \"4\"\naction = \"retry\"\nwhy = \"w\"\n", 2, "rule[1].name", "is no name"},
        {"[[rule]]\nname = \"r\"\naction = \"retry\"\nwhy = \"w\"\nhosts = [\"*\"]\n", 1, "rule[1]",
         "every reply would match"},
        {"[[rule]]\nname = \"r\"\ncode = \"4\"\naction = \"retry\"\n", 1, "rule[1]", "is missing"},
        {"[[rule]]\nname = \"r\"\ncode = \"4\"\naction = \"retry\"\nwhy = \" \"\n", 5, "rule[1].why", "not empty"},
        {head, 1, "rule[1]", "is missing"},
        {head + "action = \"tarpit\"\n", 5, "rule[1].action", "none of \"slow\""},
        {head + "action = \"retri\"\n", 5, "rule[1].action", "did you mean \"retry\"?"},
        {head + "action = \"slow\"\n", 1, "rule[1]", "is missing"},
        {head + "action = \"wait\"\nfor = \"25h\"\n", 6, "rule[1].for", "out of range: from 1s to 1d"},
        {head + "action = \"retry\"\nfor = \"2h\"\n", 6, "rule[1].for", "out of range: from 1s to 1h"},
        {head + "action = \"retry\"\nfor = 300\n", 6, "rule[1].for", "\"300s\""},
        {head + "action = \"fail\"\nfor = \"5m\"\n", 6, "rule[1].for", "no meaning with \"fail\""},
        {head + "action = \"other_address\"\nfor = \"5m\"\n", 6, "rule[1].for", "no meaning"},
        {head + "action = \"defer\"\n", 3, "rule[1].code", "5xx alone (write code = \"5\")"},
        {"[[rule]]\nname = \"r\"\ntext = 'x'\nwhy = \"w\"\naction = \"fail\"\n", 1, "rule[1].code", "4xx alone"},
        {kRule + "text = '('\n", 6, "rule[1].text", "is no pattern: missing ): ("},
        {kRule + "text = 'a(?=b)'\n", 6, "rule[1].text", "no look-ahead"},
        {kRule + "text = '(a)\\1'\n", 6, "rule[1].text", "no back-references"},
        {kRule + "text = ''\n", 6, "rule[1].text", "is empty"},
        {kRule + "text = ['a']\n", 6, "rule[1].text", "must be a string"},
        {kRule + "text = '((a{100}){100}){100}'\n", 6, "rule[1].text", "is no pattern"},
        {kRule + "text = '" + std::string(1001, 'a') + "'\n", 6, "rule[1].text", "longer than 1000 octets"},
        {kRule + "text = '(?P<secs>\\d+)'\n", 6, "rule[1].text", "\"secs\" is none of"},
        {kRule + "text = '" + std::string(51, '(') + std::string(51, ')') + "'\n", 6, "rule[1].text",
         "more than 16 groups"},
        {"[[rule]]\nname = \"r\"\ncode = \"4\"\nwhy = \"w\"\naction = \"fail\"\ntext = '(?P<hours>\\d)'\n", 6,
         "rule[1].text", "group for a time"},
        {kRule + "enhanced = \"4.7.x\"\n", 6, "rule[1].enhanced", "no enhanced status code"},
        {kRule + "enhanced = \"2.0.0\"\n", 6, "rule[1].enhanced", "of class 4 or 5"},
        {kRule + "enhanced = \"4.7.0.1\"\n", 6, "rule[1].enhanced", "no enhanced status code"},
        {kRule + "stage = \"rctp\"\n", 6, "rule[1].stage", "did you mean \"rcpt\"?"},
        {kRule + "stage = \"connect\"\n", 6, "rule[1].stage", "is none of"},
        {kRule + "family = \"ipv5\"\n", 6, "rule[1].family", "is none of \"ipv4\", \"ipv6\""},
        {kRule + "hosts = []\n", 6, "rule[1].hosts", "names no host"},
        {kRule + "hosts = 1\n", 6, "rule[1].hosts", "a string or a list of strings"},
        {kRule + "hosts = [\"*google.com\"]\n", 6, "rule[1].hosts[1]", "elsewhere than as its first label"},
        {"[[rule]]\nname = \"r\"\ncode = \"250\"\naction = \"retry\"\nwhy = \"w\"\n", 3, "rule[1].code",
         "no reply code"},
        {kRule + kRule, 7, "rule[2].name", "\"r\" is a rule already, at rules.toml:2:"},
    };
    for (const Mistake& mistake : mistakes) {
      const ReplyRules::Parsed parsed = parse(mistake.text);
      CHECK_FALSE(parsed.rules);
      REQUIRE_MESSAGE(parsed.errors.size() == 1, mistake.text << texts(parsed.errors));
      const conf::Finding& error = parsed.errors.front();
      CHECK_MESSAGE(error.file == "rules.toml", error.text());
      CHECK_MESSAGE(error.line == mistake.line, error.text());
      CHECK_MESSAGE(error.key.starts_with(mistake.key), error.text());
      CHECK_MESSAGE(error.text().find(mistake.message) != std::string::npos, error.text());
    }
  }

  TEST_CASE("all mistakes are reported, in their order, of all files") {
    const ReplyRules::Parsed parsed = ReplyRules::parse(
        {{"/a", kRule + "x = 1\ntext = '('\n" + "[[rule]]\nname = \"s\"\n"}, {"/b", kRule}, {"/c", "x = 1\n"}});
    CHECK_FALSE(parsed.rules);
    const std::string all = texts(parsed.errors);
    std::size_t at = 0;
    for (const char* want : {"/a:6:1: rule[1].x: unknown key", "/a:7:8: rule[1].text", "/a:8:1: rule[2]",
                             "/b:2:8: rule[1].name", "/c:1:1: x: unknown key"}) {
      at = all.find(want, at);
      CHECK_MESSAGE(at != std::string::npos, want << " is not, or not in its place, in\n" << all);
    }
  }

  TEST_CASE("a file is bounded") {
    std::string many;
    for (int i = 0; i < 1001; ++i)
      many += "[[rule]]\nname = \"r" + std::to_string(i) + "\"\ncode = \"4\"\naction = \"retry\"\nwhy = \"w\"\n";
    const ReplyRules::Parsed parsed = parse(many);
    REQUIRE(parsed.errors.size() == 1);
    CHECK(parsed.errors[0].line == 5001);
    CHECK(parsed.errors[0].message == "is one rule too many: 1000 at most");
    const ReplyRules::Parsed large = parse(std::string((1 << 20) + 1, '#'));
    REQUIRE(large.errors.size() == 1);
    CHECK(large.errors[0].message == "is larger than 1 MiB");
  }

  TEST_CASE("a configuration with bad rules has their mistakes") {
    conf::Loaded loaded;
    check_reply_rules(loaded);
    CHECK(loaded.errors.empty());
    loaded.config.delivery.reply_rules = {{"/etc/rules.toml", "x = 1\n"}, {"shipped", ""}};
    check_reply_rules(loaded);
    REQUIRE(loaded.errors.size() == 1);
    CHECK(loaded.errors[0].text() == "/etc/rules.toml:1:1: x: unknown key");
  }

  TEST_CASE("threads ask at once") {
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&wrong] {
        for (const Row& row : rows()) {
          RemoteReply reply;
          reply.code = std::stoi(row.text);
          reply.text = row.text;
          reply.host = row.host;
          reply.family = row.family;
          const std::optional<Reaction> first = shipped()->react(reply);
          const std::optional<Reaction> second = shipped()->react(reply);
          if (first.has_value() != second.has_value() || (first && first->rule != second->rule)) ++wrong;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
  }

  TEST_CASE("names of stages") {
    for (const std::string& name : stage_names()) CHECK(stage_named(name));
    CHECK(stage_named("final_dot") == Stage::final_dot);
    CHECK_FALSE(stage_named("connect"));
    CHECK_FALSE(stage_named(""));
  }
}

}  // namespace waypost::delivery
