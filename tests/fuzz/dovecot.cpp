// tests/fuzz/dovecot.cpp: what Dovecot's authentication server says. Nobody is let in but by OK to what was asked,
// after a greeting of version 1 that has PLAIN; a name is fit to be one; why not is one line for the log. And escapes.
// Covers: mta/dovecot_auth.cpp
#include <string>
#include <string_view>

#include "base/text.h"
#include "mta/dovecot_auth.h"
#include "mta/sasl.h"
#include "tests/fuzz/input.h"

using namespace waypost;

namespace {

void check_answer(const Result<std::optional<mta::dovecot::Answer>>& answer, std::string_view line, bool asked) {
  if (!answer) {
    fuzz::check(fuzz::is_one_line(answer.error().what), "trouble is told in one line");
    return;
  }
  if (!*answer) return;
  fuzz::check(asked, "there is no answer before a question");
  const std::string& login = (*answer)->login;
  fuzz::check(line.starts_with(login.empty() ? "FAIL\t1" : "OK\t1\t"), "an answer is one to our question");
  fuzz::check(fuzz::is_one_line((*answer)->why), "why not is one line");
  if (login.empty()) return;
  fuzz::check(mta::sasl::is_prepared(login, mta::sasl::kLongestLogin), "a name is one that a user can have");
  fuzz::check(line.find("\tuser=") != std::string_view::npos, "which was told");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = fuzz::view(data, size);
  fuzz::check(mta::dovecot::unescaped(mta::dovecot::escaped(input)) == input, "what is escaped comes back");
  fuzz::check(mta::dovecot::escaped(input).find_first_of(std::string_view("\0\t\r\n", 4)) == std::string::npos,
              "and stands between tabs");

  mta::dovecot::Question question;
  question.login = "ann";
  question.password = "secret";
  mta::dovecot::Dialogue dialogue(1, question);
  fuzz::check(dialogue.take_output() == "VERSION\t1\t1\nCPID\t1\n", "the client greets");
  bool asked = false, has_version = false, has_plain = false;
  for (std::string_view line : split(input, '\n')) {
    const Result<std::optional<mta::dovecot::Answer>> answer = dialogue.on_line(line);
    check_answer(answer, line, asked);
    if (!answer || *answer) break;
    const std::string out = dialogue.take_output();
    has_version = has_version || line == "VERSION\t1" || line.starts_with("VERSION\t1\t");
    has_plain = has_plain || line.starts_with("MECH\t");
    if (out.empty()) continue;
    fuzz::check(!asked && has_version && has_plain && split_once(line, '\t').first == "DONE",
                "one question, when it may be asked");
    fuzz::check(out.find('\n') == out.size() - 1 && out.size() <= mta::dovecot::kLongestLine, "of one line");
    asked = true;
  }
  return 0;
}
