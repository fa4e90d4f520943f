#include "smtp/command.h"

#include <doctest/doctest.h>

using namespace waypost::smtp;

namespace {

CommandRules mx() {
  CommandRules rules;
  rules.offered.pipelining = rules.offered.size = rules.offered.eight_bit_mime = true;
  rules.offered.enhanced_status_codes = true;
  return rules;
}

CommandRules submission() {
  CommandRules rules = mx();
  rules.bare_path = true;
  return rules;
}

CommandRules everything() {
  CommandRules rules = mx();
  Extensions& e = rules.offered;
  e.dsn = e.smtputf8 = e.require_tls = e.binary_mime = e.chunking = e.starttls = e.etrn = e.xclient = true;
  e.auth = {"PLAIN"};
  return rules;
}

/// "250" for a command, else the codes of the reply.
std::string code(std::string_view line, const CommandRules& rules) {
  auto command = parse_command(line, rules);
  return command ? "250" : command.error().wire().substr(0, 9);
}

template <class Kind>
Kind get(std::string_view line, const CommandRules& rules) {
  CAPTURE(line);
  auto command = parse_command(line, rules);
  REQUIRE(command);
  REQUIRE(std::holds_alternative<Kind>(*command));
  return std::get<Kind>(*command);
}

}  // namespace

TEST_SUITE("smtp/command") {
  TEST_CASE("verbs in any case, spaces around arguments [RFC 5321 2.4, 4.1.1]") {
    CHECK(get<Ehlo>("EHLO client.example", mx()).name == "client.example");
    CHECK(get<Ehlo>("ehlo  client.example  ", mx()).name == "client.example");
    CHECK(get<Helo>("HeLo [192.0.2.1]", mx()).name == "[192.0.2.1]");
    CHECK(get<Mail>("mail from:<a@b.example>", mx()).reverse_path.text() == "a@b.example");
    CHECK(get<Mail>("MAIL FROM:<>", mx()).reverse_path.is_null());
    CHECK(get<Rcpt>("RCPT TO:<a@b.example>", mx()).forward_path.text() == "a@b.example");
    CHECK(get<Rcpt>("rcpt to:<pOSTmaster>", mx()).forward_path.text() == "pOSTmaster");
    CHECK(get<Rcpt>("RCPT TO:<@one,@two:user@three>", mx()).forward_path.text() == "user@three");
    get<Data>("data", mx());
    get<Data>("DATA  ", mx());
    get<Rset>("RSET", mx());
    get<Quit>("quit", mx());
    get<Noop>("NOOP", mx());
    get<Noop>("NOOP whatever <it> is", mx());
    CHECK(get<Vrfy>("VRFY a b", mx()).text == "a b");
    CHECK(get<Help>("HELP", mx()).topic == "");
    CHECK(get<Help>("HELP MAIL", mx()).topic == "MAIL");
  }

  TEST_CASE("verbs of extensions that are not offered are known, whatever their arguments: for 502") {
    for (std::string_view line : {"STARTTLS", "STARTTLS x", "AUTH", "AUTH PLAIN x y z", "BDAT", "BDAT x", "EXPN list",
                                  "EXPN", "ETRN example.com"}) {
      CAPTURE(line);
      auto command = parse_command(line, mx());
      REQUIRE(command);
      CHECK_FALSE(std::holds_alternative<Unknown>(*command));
      CHECK(line.starts_with(verb(*command)));
    }
  }

  TEST_CASE("verbs of extensions that are offered") {
    get<StartTls>("starttls", everything());
    CHECK(code("STARTTLS now", everything()) == "501 5.5.4");
    CHECK(get<Auth>("AUTH plain", everything()) == Auth{"PLAIN", std::nullopt});
    CHECK(get<Auth>("AUTH PLAIN =", everything()) == Auth{"PLAIN", "="});
    CHECK(code("AUTH", everything()) == "501 5.5.4");
    CHECK(code("AUTH PLAIN a b", everything()) == "501 5.5.4");
    CHECK(code("AUTH PL/AIN", everything()) == "501 5.5.4");
    CHECK(get<Bdat>("BDAT 1000", everything()) == Bdat{1000, false});
    CHECK(get<Bdat>("bdat 0 last", everything()) == Bdat{0, true});
    for (std::string_view line :
         {"BDAT", "BDAT x", "BDAT -1", "BDAT 1 FIRST", "BDAT 1 LAST x", "BDAT 99999999999999999999"})
      CHECK(code(line, everything()) == "501 5.5.4");
  }

  TEST_CASE("unknown verbs") {
    CHECK(get<Unknown>("XFOO bar", mx()).verb == "XFOO");
    CHECK(get<Unknown>("", mx()).verb.empty());
    CHECK(get<Unknown>("   ", mx()).verb.empty());
    CHECK(get<Unknown>("MAILFROM:<a@b>", mx()).verb == "MAILFROM:<A@B>");
    CHECK(get<Unknown>(std::string(1000, 'x'), mx()).verb.size() == 16);
  }

  TEST_CASE("what is refused, and how") {
    struct {
      std::string_view line, want;
    } cases[] = {
        {"HELO", "501 5.5.2"},
        {"EHLO ", "501 5.5.2"},
        {"EHLO a b", "501 5.5.2"},
        {"EHLO a\x01", "501 5.5.2"},
        {"EHLO j\xC3\xB6rg.example", "501 5.5.2"},
        {"EHLO (x)", "501 5.5.2"},
        {"EHLO ...", "501 5.5.2"},
        {"EHLO []", "501 5.5.2"},
        {"DATA x", "501 5.5.4"},
        {"RSET x", "501 5.5.4"},
        {"QUIT now", "501 5.5.4"},
        {"VRFY", "501 5.5.4"},
        {"MAIL", "501 5.5.4"},
        {"MAIL TO:<a@b>", "501 5.5.4"},
        {"MAIL FROM", "501 5.5.4"},
        {"MAIL FROM:", "501 5.5.4"},
        {"MAIL FROM:a@b", "501 5.5.4"},
        {"MAIL FROM:<a@b>SIZE=1", "501 5.5.4"},
        {"MAIL FROM:<a@b> SIZE=x", "501 5.5.4"},
        {"MAIL FROM:<a@b> FOO=x", "555 5.5.4"},
        {"MAIL FROM:<a@b> RET=FULL", "555 5.5.4"},
        {"MAIL FROM:<a@b", "501 5.1.7"},
        {"MAIL FROM:<a>", "501 5.1.7"},
        {"MAIL FROM:<a..b@c>", "501 5.1.7"},
        {"MAIL FROM:<a@[300.1.1.1]>", "501 5.1.7"},
        {"RCPT TO:<a@[IPv6:zz]>", "501 5.1.3"},
        {"RCPT TO:<>", "501 5.1.3"},
        {"RCPT TO:<a>", "501 5.1.3"},
        {"RCPT TO:<a@b.example", "501 5.1.3"},
        {"RCPT TO:a@b", "501 5.5.4"},
        {"RCPT FROM:<a@b>", "501 5.5.4"},
        {"RCPT TO:<a@b> NOTIFY=NEVER", "555 5.5.4"},
        {"MAIL FROM:<j\xC3\xB6rg@b>", "553 5.6.7"},
        {"RCPT TO:<j\xC3\xB6rg@b>", "553 5.6.7"},
        {"RCPT TO:<j\xF6rg@b>", "553 5.6.7"},
    };
    for (const auto& c : cases) {
      CAPTURE(c.line);
      CHECK(code(c.line, mx()) == c.want);
    }
  }

  TEST_CASE("NUL in a command [RFC 5321 2.3.8]") {
    CHECK(code(std::string_view("MAIL FROM:<a\0@b>", 16), mx()) == "501 5.5.2");
    CHECK(code(std::string_view("\0", 1), mx()) == "501 5.5.2");
    CHECK(code(std::string_view("NOOP \0", 6), mx()) == "501 5.5.2");
  }

  TEST_CASE("HELO names that real clients say are accepted") {
    for (std::string_view name :
         {"client", "client.example.", "my_pc", "192.0.2.1", "[192.0.2.1]", "[IPv6:2001:db8::1]", "[2001:db8::1]",
          "2001:db8::1", "-pc-", "localhost.localdomain", "[127.0.0.1"})
      CHECK(code("EHLO " + std::string(name), mx()) == (name == "[127.0.0.1" ? "501 5.5.2" : "250"));
    CHECK(code("EHLO " + std::string(255, 'a'), mx()) == "250");
    CHECK(code("EHLO " + std::string(256, 'a'), mx()) == "501 5.5.2");
  }

  TEST_CASE("space after the colon everywhere, paths without brackets on submission alone [RFC 5321 3.3]") {
    CHECK(get<Mail>("MAIL FROM: <a@b>", mx()).reverse_path.text() == "a@b");
    CHECK(get<Rcpt>("RCPT TO:  <a@b>", mx()).forward_path.text() == "a@b");
    CHECK(get<Mail>("MAIL FROM:a@b SIZE=7", submission()).parameters.size == 7u);
    CHECK(get<Rcpt>("RCPT TO: a@b", submission()).forward_path.text() == "a@b");
    CHECK(code("MAIL FROM:", submission()) == "501 5.1.7");
    CHECK(code("RCPT TO:", submission()) == "501 5.1.3");
    CHECK(code("MAIL FROM :<a@b>", submission()) == "501 5.5.4");
    CommandRules rules = submission();
    rules.path_without_domain = true;
    CHECK(get<Mail>("MAIL FROM:<root>", rules).reverse_path.text() == "root");
  }

  TEST_CASE("parameters are read by what is offered") {
    CHECK(get<Mail>("MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME", mx()).parameters ==
          MailParameters{.size = 10, .body = BodyType::eight_bit_mime});
    CommandRules rules = mx();
    rules.offered = {};
    CHECK(code("MAIL FROM:<a@b> SIZE=10", rules) == "555 5.5.4");
    CHECK(get<Rcpt>("RCPT TO:<a@b> NOTIFY=FAILURE", everything()).parameters.notify.bits == Notify::kFailure);
  }

  TEST_CASE("SMTPUTF8: of MAIL for its own path, of the transaction for RCPT [RFC 6531 3.4]") {
    CommandRules rules = everything();
    CHECK(get<Mail>("MAIL FROM:<j\xC3\xB6@b> SMTPUTF8", rules).reverse_path.text() == "j\xC3\xB6@b");
    CHECK(get<Mail>("MAIL FROM:<j@B\xC3\xBC"
                    "cher.example> SMTPUTF8",
                    rules)
              .reverse_path.text() == "j@xn--bcher-kva.example");
    CHECK(code("MAIL FROM:<j@\xE2\x80\x8B.example> SMTPUTF8", rules) == "501 5.1.7");
    CHECK(code("MAIL FROM:<j\xC3\xB6@b>", rules) == "553 5.6.7");
    CHECK(code("MAIL FROM:<j\xF6@b> SMTPUTF8", rules) == "501 5.1.7");
    CHECK(code("RCPT TO:<j\xC3\xB6@b>", rules) == "553 5.6.7");
    rules.utf8_transaction = true;
    CHECK(code("RCPT TO:<j\xC3\xB6@b>", rules) == "250");
    CHECK(code("RCPT TO:<j\xF6@b>", rules) == "501 5.1.3");
  }

  TEST_CASE("a command is written as it is read") {
    for (std::string_view line : {"HELO h",
                                  "EHLO [IPv6:::1]",
                                  "MAIL FROM:<>",
                                  "MAIL FROM:<\"a b\"@c> SIZE=1 BODY=8BITMIME",
                                  "RCPT TO:<a@b>",
                                  "RCPT TO:<a@b> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@b",
                                  "DATA",
                                  "RSET",
                                  "NOOP",
                                  "QUIT",
                                  "VRFY a",
                                  "EXPN l",
                                  "HELP",
                                  "HELP MAIL",
                                  "ETRN x",
                                  "ETRN @x.example",
                                  "XCLIENT NAME=a.example ADDR=192.0.2.1",
                                  "STARTTLS",
                                  "AUTH PLAIN",
                                  "AUTH PLAIN AGEAYg==",
                                  "BDAT 5",
                                  "BDAT 5 LAST",
                                  "XYZ"}) {
      auto command = parse_command(line, everything());
      REQUIRE(command);
      CHECK(text(*command) == line);
      CHECK(line.starts_with(verb(*command)));
    }
  }

  TEST_CASE("what a command says of secrets is left out") {
    CHECK(shown_command("MAIL FROM:<a@b.example>") == "MAIL FROM:<a@b.example>");
    CHECK(shown_command("ehlo c.example") == "ehlo c.example");
    CHECK(shown_command("AUTH PLAIN AGFubgBzZWNyZXQ=") == "AUTH PLAIN (not shown)");
    CHECK(shown_command("auth login") == "AUTH login");
    CHECK(shown_command("AUTH AGFubgBzZWNyZXQ=") == "AUTH (not shown)");
    CHECK(shown_command("AUTH c2VjcmV0") == "AUTH (not shown)");
    CHECK(shown_command("RCPT TO: <a@b.example> NOTIFY=NEVER") == "RCPT TO: <a@b.example> NOTIFY=NEVER");
    CHECK(shown_command("BDAT 12 LAST") == "BDAT 12 LAST");
    CHECK(shown_command("VRFY ann") == "VRFY ann");
    CHECK(shown_command("DATA ") == "DATA ");
    CHECK(shown_command("Data of ours: 42") == "DATA (not shown)");
    CHECK(shown_command("Mail to the bank") == "MAIL (not shown)");
    CHECK(shown_command("Help me") == "HELP (not shown)");
    CHECK(shown_command("c2VjcmV0") == "(no command, 8 octets, not shown)");
    CHECK(shown_command("") == "(no command, 0 octets, not shown)");
  }

  TEST_CASE("other protocols are recognised") {
    for (std::string_view line : {"GET / HTTP/1.1", "POST /x HTTP/1.0", "CONNECT mx.example:25 HTTP/1.1",
                                  "HEAD / HTTP/1.1", "PRI * HTTP/2.0", "Host: mx.example", "host: x"})
      CHECK(foreign_protocol(line) == "HTTP");
    CHECK(foreign_protocol(std::string_view("\x16\x03\x01\x02\x00\x01\x00", 7)) == "TLS");
    CHECK(foreign_protocol(std::string_view("\x80\x2e\x01\x03\x01", 5)) == "TLS");
    for (std::string_view line : {"", "EHLO h", "MAIL FROM:<a@b>", "GET", "GETX /", "HELP GET /", "DATA", "\x16",
                                  " GET / HTTP/1.1", "\xC3\xA4\xC3\xB6"})
      CHECK_FALSE(foreign_protocol(line));
  }
}
