#include "mta/dovecot_auth.h"

#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include "base/base64.h"
#include "base/text.h"

namespace waypost::mta::dovecot {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

constexpr std::string_view kGreeting =
    "VERSION|1|2\nMECH|PLAIN|plaintext\nMECH|LOGIN|plaintext\nSPID|26\nCUID|1\nCOOKIE|00ff\nDONE\n";

Question question() {
  Question out;
  out.login = "ann";
  out.password = "p ss:w\xc3\xb6rd";
  out.client = *net::Address::parse("192.0.2.7", 4711);
  out.local = *net::Address::parse("2001:db8::1", 587);
  return out;
}

/// `|` for tabs, which nobody can see.
std::string wire(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c == '|') c = '\t';
  return out;
}

/// What becomes of a dialogue in which the server says this: `ann`, `no: WHY`, `error CODE: WHAT` or `more`.
std::string outcome(std::string_view said) {
  Dialogue dialogue(1234567890, question());
  const std::string hello = dialogue.take_output();
  const std::string lines = wire(said);
  for (std::string_view line : split(lines, '\n')) {
    const Result<std::optional<Answer>> answer = dialogue.on_line(line);
    if (!answer) return "error " + std::to_string(static_cast<int>(answer.error().code)) + ": " + answer.error().what;
    if (*answer) return (*answer)->login.empty() ? "no: " + (*answer)->why : (*answer)->login;
  }
  return "more";
}

std::string error(Errc code) {
  return "error " + std::to_string(static_cast<int>(code)) + ": ";
}

}  // namespace

TEST_SUITE("mta/dovecot_auth") {
  TEST_CASE("what is said to Dovecot, and when") {
    for (bool secured : {false, true}) {
      Question asked = question();
      asked.secured = secured;
      Dialogue dialogue(1234567890, asked);
      CHECK(dialogue.take_output() == wire("VERSION|1|1\nCPID|1234567890\n"));
      CHECK(dialogue.take_output().empty());
      const std::string greeting = wire(kGreeting);
      std::string_view rest = greeting;
      while (!rest.empty()) {
        CHECK(dialogue.take_output().empty());
        const auto [line, after] = split_once(rest, '\n');
        const Result<std::optional<Answer>> answer = dialogue.on_line(line);
        REQUIRE(answer);
        CHECK_FALSE(*answer);
        rest = after;
      }
      const std::string response = base64_encode("\0ann\0p ss:w\xc3\xb6rd"sv);
      CHECK(dialogue.take_output() ==
            wire("AUTH|1|PLAIN|service=smtp|nologin" + (secured ? "|secured"s : ""s) +
                 "|lip=2001:db8::1|lport=587|rip=192.0.2.7|rport=4711|resp=" + response + "\n"));
    }
  }

  TEST_CASE("what its lines mean") {
    struct {
      std::string_view said;
      std::string want;
    } const table[] = {
        {"OK|1|user=ann", "ann"},
        {"OK|1|user=ann@b.example|uid=1000|home=/home/ann", "ann@b.example"},
        {"OK|1|nologin|user=Ann=x", "Ann=x"},
        {"NEWS|7|x\nOK|1|user=ann", "ann"},
        {"FAIL|1|user=ann", "no: bad credentials"},
        {"FAIL|1", "no: bad credentials"},
        {"FAIL|1|user=ann|code=user_disabled", "no: bad credentials (user_disabled)"},
        {"FAIL|1|user=ann|user_disabled", "no: bad credentials (user_disabled)"},
        {"FAIL|1|user=ann|pass_expired", "no: bad credentials (pass_expired)"},
        {"FAIL|1|user=ann|authz", "no: bad credentials"},
        {"FAIL|1|user=ann|code=user_disabled|reason=moved\001nto\001tb", "no: bad credentials (moved\\nto\\tb)"},
        {"FAIL|1|user=ann|temp", error(Errc::busy) + "Dovecot cannot look at passwords for now"},
        {"FAIL|1|user=ann|code=temp_fail", error(Errc::busy) + "Dovecot cannot look at passwords for now (temp_fail)"},
        {"FAIL|1|user=ann|temp|reason=no disk",
         error(Errc::busy) + "Dovecot cannot look at passwords for now (no disk)"},
        {"FAIL|1|user=ann|reason=temp", "no: bad credentials (temp)"},
        {"OK|1", error(Errc::protocol) + "Dovecot's authentication server: OK without a name that a user can have"},
        {"OK|1|user=",
         error(Errc::protocol) + "Dovecot's authentication server: OK without a name that a user can have"},
        {"OK|1|user=a\001nb",
         error(Errc::protocol) + "Dovecot's authentication server: OK without a name that a user can have"},
        {"OK|1|user=\xff",
         error(Errc::protocol) + "Dovecot's authentication server: OK without a name that a user can have"},
        {"OK|2|user=ann", error(Errc::protocol) + "Dovecot's authentication server: a reply to what was not asked"},
        {"OK", error(Errc::protocol) + "Dovecot's authentication server: a reply to what was not asked"},
        {"FAIL|11|user=ann", error(Errc::protocol) + "Dovecot's authentication server: a reply to what was not asked"},
        {"CONT|1|", error(Errc::protocol) + "Dovecot's authentication server: PLAIN goes on after its response"},
        {"", "more"},
        {"ok|1|user=ann", "more"},
    };
    for (const auto& [said, want] : table) {
      CAPTURE(want);
      CHECK(outcome(std::string(kGreeting) + std::string(said)) == want);
    }
  }

  TEST_CASE("a greeting that is none of version 1, or without PLAIN, is not asked") {
    const std::string server = "Dovecot's authentication server: ";
    struct {
      std::string said;
      std::string want;
    } const table[] = {
        {"VERSION|2|0", error(Errc::protocol) + server + "its protocol has version 2, not 1"},
        {"VERSION", error(Errc::protocol) + server + "its protocol has version , not 1"},
        {"MECH|PLAIN\nDONE", error(Errc::protocol) + server + "it does not say its version"},
        {"VERSION|1|2\nMECH|SCRAM-SHA-256\nDONE",
         error(Errc::unsupported) + "Dovecot's authentication server does not offer PLAIN"},
        {"VERSION|1|2\nMECH|plain\nDONE", "more"},
        {"VERSION|1|9\nMECH|PLAIN\nOK|1|user=ann", "more"},  // before it was asked
        {"220 mail.example ESMTP", "more"},
        {"VERSION|1|2\nMECH|PLAIN|" + std::string(kLongestLine, 'x'),
         error(Errc::protocol) + server + "it says too much"},
        {std::string(kMostLines, '\n'), error(Errc::protocol) + server + "it says too much"},
    };
    for (const auto& [said, want] : table) {
      CAPTURE(want);
      CHECK(outcome(said) == want);
    }
  }

  TEST_CASE("escapes") {
    struct {
      std::string_view plain, escaped;
    } const table[] = {
        {"", ""},
        {"ann@b.example", "ann@b.example"},
        {"a\0b\001c\td\re\nf"sv, "a\0010b\0011c\001td\001re\001nf"sv},
    };
    for (const auto& [plain, as] : table) {
      CHECK(escaped(plain) == as);
      CHECK(unescaped(as) == plain);
    }
    CHECK(unescaped("a\001xb\001"sv) == "axb");
  }
}

}  // namespace waypost::mta::dovecot
