// tests/fuzz/sendmail_options.cpp: the command line of any local user's sendmail. What it says can be said again, in
// the plainest words, and means the same; what is wrong is told in a line. Covers: mta/sendmail_options.cpp
//
// The first octet says by which name it is called; words are fields between US (0x1F).
#include "mta/sendmail_options.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/escape.h"
#include "smtp/parameters.h"
#include "tests/fuzz/input.h"

using namespace waypost;
using Mode = mta::SendmailOptions::Mode;

namespace {

using Words = std::vector<std::string>;

/// A word that says one thing each, values in words of their own.
Words said_again(const mta::SendmailOptions& options) {
  Words out;
  auto say = [&out](const std::string& option, const std::string& value) {
    out.push_back(option);
    if (!value.empty()) out.push_back(value);
  };
  // Attached, but for what is empty: its word stands alone.
  auto say_value = [&out](const std::string& option, const std::string& value) {
    out.push_back(value.empty() ? option : option + value);
    if (value.empty()) out.emplace_back();
  };
  switch (options.mode) {
    case Mode::deliver:
      say("-bm", "");
      break;
    case Mode::session:
      say("-bs", "");
      break;
    case Mode::queue:
      say("-bp", "");
      break;
    case Mode::aliases:
      say("-I", "");
      break;
    case Mode::verify:
      say("-bv", "");
      break;
    case Mode::daemon:
      say("-b", "d");
      break;
    case Mode::retry:
      if (options.filter.empty()) say("-q", "");
      break;
    case Mode::nothing:
      say("-bH", "");
      break;
  }
  for (const std::string& term : options.filter) {
    const bool site = term.starts_with("to:*") && term.ends_with('*');
    const bool sender = term.starts_with("from:*") && term.ends_with('*');
    // An id may look like any of these.
    if (site && term.size() > 5)
      say_value("-qR", term.substr(4, term.size() - 5));
    else if (sender && term.size() > 7)
      say_value("-qS", term.substr(6, term.size() - 7));
    else
      say_value("-qI", term);
  }
  if (options.take_recipients) say("-t", "");
  if (options.ignore_dots) say("-i", "");
  if (options.verbose) say("-v", "");
  if (options.sender) say("-f", options.sender->bracketed());
  if (!options.name.empty()) say_value("-F", options.name);
  if (options.body) say("-B", *options.body == smtp::BodyType::seven_bit ? "7bit" : "8bitmime");
  std::string notify;
  if ((options.notify.bits & smtp::Notify::kNever) != 0) notify += ",never";
  if ((options.notify.bits & smtp::Notify::kSuccess) != 0) notify += ",success";
  if ((options.notify.bits & smtp::Notify::kFailure) != 0) notify += ",failure";
  if ((options.notify.bits & smtp::Notify::kDelay) != 0) notify += ",delay";
  if (!notify.empty()) say("-N", notify.substr(1));
  if (options.ret != smtp::Ret::unspecified) say("-R", options.ret == smtp::Ret::full ? "full" : "hdrs");
  if (!options.envid.empty()) say_value("-V", *smtp::xtext_decode(options.envid));
  if (options.smtputf8) say("-O", "SMTPUTF8");
  if (options.require_tls) say("-O", "RequireTLS=yes");
  if (!options.config.empty()) say_value("-C", options.config);
  out.emplace_back("--");
  for (const smtp::Path& path : options.recipients) out.push_back(path.bracketed());
  return out;
}

bool is_same(const mta::SendmailOptions& one, const mta::SendmailOptions& other) {
  const bool filters = one.filter == other.filter && (one.mode == other.mode || !one.filter.empty());
  return filters && one.take_recipients == other.take_recipients && one.ignore_dots == other.ignore_dots &&
         one.verbose == other.verbose && one.sender == other.sender && one.name == other.name &&
         one.body == other.body && one.notify == other.notify && one.ret == other.ret && one.envid == other.envid &&
         one.smtputf8 == other.smtputf8 && one.require_tls == other.require_tls && one.config == other.config &&
         one.recipients == other.recipients;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  constexpr std::string_view kNames[] = {"sendmail", "mailq", "newaliases", "waypost"};
  const std::string_view program = kNames[fuzz::take_octet(input) % std::size(kNames)];
  Words words;
  while (!input.empty()) words.emplace_back(std::string(fuzz::take_field(input)).c_str());  // a word has no NUL

  const Result<mta::SendmailOptions> options = mta::parse_sendmail_options(program, words);
  if (!options) {
    const Error& error = options.error();
    fuzz::check(error.code == Errc::unsupported || error.code == Errc::invalid, "it is usage, or a value");
    fuzz::check(fuzz::is_one_line(error.what) && is_utf8(error.what), "an error is one line of UTF-8");
    fuzz::check(error.what.size() <= 1000, "and not a long one");
    return 0;
  }
  for (const smtp::Path& path : options->recipients) {
    fuzz::check(!path.is_null(), "a recipient is somebody");
    fuzz::check(fuzz::is_one_line(path.text()), "an address is one line");
  }
  if (options->sender) fuzz::check(fuzz::is_one_line(options->sender->text()), "so is the sender's");
  fuzz::check(options->envid.size() <= 100 && smtp::xtext_decode(options->envid).has_value(),
              "an envelope id is xtext");
  const std::uint8_t never = smtp::Notify::kNever;
  fuzz::check((options->notify.bits & never) == 0 || options->notify.bits == never, "never stands alone");
  if (program == "mailq" && words.empty()) fuzz::check(options->mode == Mode::queue, "mailq shows the queue");

  const Result<mta::SendmailOptions> again = mta::parse_sendmail_options("sendmail", said_again(*options));
  fuzz::check(again.has_value(), "it can be said again");
  fuzz::check(is_same(*options, *again), "and means the same");
  return 0;
}
