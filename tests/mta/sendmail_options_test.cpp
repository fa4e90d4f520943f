#include "mta/sendmail_options.h"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "base/text.h"

namespace waypost::mta {
namespace {

using Mode = SendmailOptions::Mode;
using Words = std::vector<std::string>;

Result<SendmailOptions> parse(const Words& words, std::string_view program = "sendmail") {
  return parse_sendmail_options(program, words);
}

std::string recipients(const SendmailOptions& options) {
  std::string out;
  for (const smtp::Path& path : options.recipients) out += (out.empty() ? "" : ",") + path.text();
  return out;
}

}  // namespace

TEST_SUITE("mta/sendmail_options") {
  TEST_CASE("what packaged callers pass") {
    struct Case {
      Words words;
      bool take_recipients, ignore_dots;
      std::string sender, name, to;
    };
    for (const Case& each : {
             Case{{"-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"}, false, true, "-", "CronDaemon", "root"},
             {{"-t"}, true, false, "-", "", ""},
             {{"-oem", "-oi", "--", "a@b.example"}, false, true, "-", "", "a@b.example"},
             {{"-oi", "-t"}, true, true, "-", "", ""},
             {{"-f", "fail2ban", "root@localhost"}, false, false, "fail2ban", "", "root@localhost"},
             {{"-t", "-i"}, true, true, "-", "", ""},
             {{"-t", "-f", "a@b.example"}, true, false, "a@b.example", "", ""},
             {{"-i", "a@b.example", "c@d.example"}, false, true, "-", "", "a@b.example,c@d.example"},
             {{"-i", "-f", "a@b.example", "--", "-c@d.example"}, false, true, "a@b.example", "", "-c@d.example"},
             {{"-ti", "-fa@b.example", "-FAnn Example"}, true, true, "a@b.example", "Ann Example", ""},
             {{"a@b.example", "-i"}, false, true, "-", "", "a@b.example"},
             {{"-f", "", "ann"}, false, false, "", "", "ann"},
             {{"-f<>", "ann"}, false, false, "", "", "ann"},
             {{"-r", "Ann <a@b.example>", "ann"}, false, false, "a@b.example", "", "ann"},
             {{"a@b.example, Bob <c@d.example>"}, false, false, "-", "", "a@b.example,c@d.example"},
             {{"-oi", "-oee", "-odb", "-om", "-o7", "-Ac", "-h", "3", "-L", "tag", "-m", "-n", "-U", "-X", "/dev/null",
               "-q15m", "-G", "ann"},
              false,
              true,
              "-",
              "",
              "ann"},
         }) {
      CAPTURE(each.words.front());
      const Result<SendmailOptions> options = parse(each.words);
      REQUIRE(options);
      CHECK(options->mode == Mode::deliver);
      CHECK(options->take_recipients == each.take_recipients);
      CHECK(options->ignore_dots == each.ignore_dots);
      CHECK((options->sender ? options->sender->text() : "-") == each.sender);
      CHECK(options->name == each.name);
      CHECK(recipients(*options) == each.to);
    }
  }

  TEST_CASE("modes, and names of the program") {
    struct Case {
      std::string program;
      Words words;
      Mode want;
    };
    for (const Case& each : {
             Case{"sendmail", {"-bm"}, Mode::deliver},
             {"sendmail", {"-bs"}, Mode::session},
             {"sendmail", {"-bp"}, Mode::queue},
             {"sendmail", {"-b", "p"}, Mode::queue},
             {"mailq", {}, Mode::queue},
             {"sendmail", {"-bi"}, Mode::aliases},
             {"sendmail", {"-I"}, Mode::aliases},
             {"newaliases", {}, Mode::aliases},
             {"sendmail", {"-bv", "ann"}, Mode::verify},
             {"sendmail", {"-bd", "-q15m"}, Mode::daemon},
             {"sendmail", {"-bh"}, Mode::nothing},
             {"sendmail", {"-bH"}, Mode::nothing},
             {"sendmail", {"-q"}, Mode::retry},
         }) {
      CAPTURE(each.program);
      const Result<SendmailOptions> options = parse(each.words, each.program);
      REQUIRE(options);
      CHECK(options->mode == each.want);
    }
  }

  TEST_CASE("what -q names, as a filter of the tool") {
    CHECK(parse({"-q"})->filter.empty());
    CHECK(parse({"-qI01JD8Q2M3XK7"})->filter == Words{"01JD8Q2M3XK7"});
    CHECK(parse({"-qI", "01JD8Q2M3XK7"})->filter == Words{"01JD8Q2M3XK7"});
    CHECK(parse({"-qRb.example"})->filter == Words{"to:*b.example*"});
    CHECK(parse({"-qS", "ann"})->filter == Words{"from:*ann*"});
  }

  TEST_CASE("what goes on as parameters [RFC 3461, 6531, 8689]") {
    const Result<SendmailOptions> options = parse(
        {"-N", "success,delay", "-Rhdrs", "-V", "job 7", "-O", "smtputf8=yes", "-Orequiretls=yes", "-B7BIT", "ann"});
    REQUIRE(options);
    CHECK(options->notify.bits == (smtp::Notify::kSuccess | smtp::Notify::kDelay));
    CHECK(options->ret == smtp::Ret::headers);
    CHECK(options->envid == "job+207");
    CHECK(options->smtputf8);
    CHECK(options->require_tls);
    CHECK(options->body == smtp::BodyType::seven_bit);
    CHECK(parse({"-N", "never", "-R", "full"})->notify.bits == smtp::Notify::kNever);
    CHECK_FALSE(parse({"ann"})->body);
  }

  TEST_CASE("no usage: 64, no data: 65") {
    struct Case {
      Words words;
      Errc code;
    };
    for (const Case& each : {
             Case{{"-z"}, Errc::unsupported},
             {{"-Dx=y"}, Errc::unsupported},
             {{"-bx"}, Errc::unsupported},
             {{"-f"}, Errc::unsupported},
             {{"-qX"}, Errc::unsupported},
             {{"-qR"}, Errc::unsupported},
             {{"-N", "often"}, Errc::unsupported},
             {{"-N", "never,delay"}, Errc::unsupported},
             {{"-R", "half"}, Errc::unsupported},
             {{"-B", "BINARY"}, Errc::unsupported},
             {{"-f", "a@b.example,c@d.example"}, Errc::invalid},
             {{"-f", "a b"}, Errc::invalid},
             {{"a@b.example\nBcc: c@d.example"}, Errc::invalid},
             {{"a@b.example\r"}, Errc::invalid},
             {{"-fa@b.example\n"}, Errc::invalid},
             {{"a@b@c"}, Errc::invalid},
             {{"-\x1b"}, Errc::unsupported},
             {{"a\x1b\xab@b.example"}, Errc::invalid},
             {{"-V", std::string(101, 'x')}, Errc::invalid},
         }) {
      CAPTURE(each.words.front());
      const Result<SendmailOptions> options = parse(each.words);
      REQUIRE_FALSE(options);
      CHECK(options.error().code == each.code);
      CHECK(is_ascii(options.error().what));
      CHECK(options.error().what.find('\x1b') == std::string::npos);
    }
  }
}

}  // namespace waypost::mta
