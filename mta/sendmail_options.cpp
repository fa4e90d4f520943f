#include "mta/sendmail_options.h"

#include <algorithm>
#include <utility>

#include "base/escape.h"
#include "base/text.h"
#include "smtp/address_list.h"
#include "smtp/parameters.h"

namespace waypost::mta {
namespace {

using Mode = SendmailOptions::Mode;

constexpr std::size_t kMaxEnvid = 100;                          // as xtext (RFC 3461 §4.4)
constexpr std::string_view kWithArgument = "fFrBCNRVOobehLXA";  // attached, or the next word
constexpr std::string_view kIgnored = "mnUGehLXA";

Error usage(const std::string& why) {
  return Error(Errc::unsupported, why + "; see sendmail(1)");
}

std::string shown(std::string_view text) {
  return "\"" + escape(text, 100) + "\"";
}

Result<std::vector<smtp::Path>> addresses(const std::string& text) {
  if (text.find_first_of("\r\n") != std::string::npos) {
    return fail(Errc::invalid, "the address " + shown(text) + " has a line end");
  }
  const Result<std::vector<smtp::Mailbox>> mailboxes = smtp::parse_address_list(text);
  if (!mailboxes) return fail(mailboxes.error());
  std::vector<smtp::Path> paths;
  for (const smtp::Mailbox& mailbox : *mailboxes) {
    smtp::Path path;
    path.mailbox = mailbox;
    paths.push_back(std::move(path));
  }
  return paths;
}

Result<smtp::Path> sender(const std::string& text) {
  if (trim(text).empty() || trim(text) == "<>") return smtp::Path();
  Result<std::vector<smtp::Path>> paths = addresses(text);
  if (!paths) return fail(paths.error());
  if (paths->size() != 1) return fail(Errc::invalid, "the sender " + shown(text) + " is not one address");
  return paths->front();
}

Result<smtp::Notify> notify(const std::string& text) {
  smtp::Notify out;
  for (std::string_view word : split(text, ',')) {
    const std::uint8_t bit = equals_no_case(word, "never")     ? smtp::Notify::kNever
                             : equals_no_case(word, "success") ? smtp::Notify::kSuccess
                             : equals_no_case(word, "failure") ? smtp::Notify::kFailure
                             : equals_no_case(word, "delay")   ? smtp::Notify::kDelay
                                                               : std::uint8_t{0};
    if (bit == 0) return fail(usage("-N takes never, or some of success, failure, delay, not " + shown(text)));
    out.bits |= bit;
  }
  const bool never = (out.bits & smtp::Notify::kNever) != 0;
  if (never && out.bits != smtp::Notify::kNever) return fail(usage("-N never stands alone"));
  return out;
}

/// Goes through the words once. A letter without an argument may have others behind it.
class Parser {
 public:
  Parser(std::string_view program, std::span<const std::string> words) : words_(words) {
    if (program == "mailq") options_.mode = Mode::queue;
    if (program == "newaliases") options_.mode = Mode::aliases;
  }

  Result<SendmailOptions> run() {
    bool ended = false;
    while (at_ < words_.size()) {
      const std::string& word = words_[at_++];
      if (!ended && word == "--") {
        ended = true;
        continue;
      }
      const bool is_option = !ended && word.size() > 1 && word[0] == '-';
      const Result<> taken = is_option ? take_letters(word) : take_recipient(word);
      if (!taken) return fail(taken.error());
    }
    return std::move(options_);
  }

 private:
  Result<> take_recipient(const std::string& word) {
    Result<std::vector<smtp::Path>> paths = addresses(word);
    if (!paths) return fail(paths.error());
    std::move(paths->begin(), paths->end(), std::back_inserter(options_.recipients));
    return {};
  }

  Result<> take_letters(const std::string& word) {
    for (std::size_t i = 1; i < word.size(); ++i) {
      const char letter = word[i];
      if (letter == 'q') return take_retry(word.substr(i + 1));
      if (kWithArgument.find(letter) == std::string_view::npos) {
        const Result<> taken = take_flag(letter);
        if (!taken) return taken;
        continue;
      }
      std::string argument = word.substr(i + 1);
      if (argument.empty() && at_ == words_.size()) return fail(usage(std::string("-") + letter + " lacks its value"));
      if (argument.empty()) argument = words_[at_++];
      return take_value(letter, argument);
    }
    return {};
  }

  Result<> take_flag(char letter) {
    if (letter == 't') {
      options_.take_recipients = true;
    } else if (letter == 'i') {
      options_.ignore_dots = true;
    } else if (letter == 'v') {
      options_.verbose = true;
    } else if (letter == 'I') {
      options_.mode = Mode::aliases;
    } else if (letter == 'D') {
      return fail(usage("there are no macros of configuration files to set"));
    } else if (kIgnored.find(letter) == std::string_view::npos) {
      return fail(usage("there is no option -" + escape(std::string(1, letter))));
    }
    return {};
  }

  Result<> take_value(char letter, const std::string& value) {
    switch (letter) {
      case 'f':
      case 'r': {
        Result<smtp::Path> path = sender(value);
        if (!path) return fail(path.error());
        options_.sender = *std::move(path);
        return {};
      }
      case 'F':
        options_.name = value;
        return {};
      case 'B':
        return take_body(value);
      case 'C':
        options_.config = value;
        return {};
      case 'N': {
        const Result<smtp::Notify> asked = notify(value);
        if (!asked) return fail(asked.error());
        options_.notify = *asked;
        return {};
      }
      case 'R':
        return take_ret(value);
      case 'V':
        options_.envid = smtp::xtext_encode(value);
        if (options_.envid.size() > kMaxEnvid) return fail(Errc::invalid, "the envelope id has over 100 octets");
        return {};
      case 'O':
        return take_long(value);
      case 'o':
        if (value[0] == 'i') options_.ignore_dots = true;
        return {};
      case 'b':
        return take_mode(value);
      default:
        return {};  // kIgnored
    }
  }

  Result<> take_body(const std::string& value) {
    if (equals_no_case(value, "7BIT")) {
      options_.body = smtp::BodyType::seven_bit;
    } else if (equals_no_case(value, "8BITMIME")) {
      options_.body = smtp::BodyType::eight_bit_mime;
    } else {
      return fail(usage("-B takes 7BIT or 8BITMIME, not " + shown(value)));
    }
    return {};
  }

  Result<> take_ret(const std::string& value) {
    if (equals_no_case(value, "hdrs")) {
      options_.ret = smtp::Ret::headers;
    } else if (equals_no_case(value, "full")) {
      options_.ret = smtp::Ret::full;
    } else {
      return fail(usage("-R takes hdrs or full, not " + shown(value)));
    }
    return {};
  }

  Result<> take_long(const std::string& value) {
    const auto [name, setting] = split_once(value, '=');
    const bool on = setting.empty() || equals_no_case(setting, "yes") || equals_no_case(setting, "true");
    if (equals_no_case(name, "smtputf8")) options_.smtputf8 = on;
    if (equals_no_case(name, "requiretls")) options_.require_tls = on;
    if (equals_no_case(name, "IgnoreDots")) options_.ignore_dots = on;
    return {};
  }

  Result<> take_mode(const std::string& value) {
    constexpr std::pair<std::string_view, Mode> kModes[] = {
        {"m", Mode::deliver}, {"s", Mode::session}, {"p", Mode::queue},   {"i", Mode::aliases}, {"v", Mode::verify},
        {"d", Mode::daemon},  {"D", Mode::daemon},  {"h", Mode::nothing}, {"H", Mode::nothing}};
    for (const auto& [name, mode] : kModes) {
      if (value != name) continue;
      options_.mode = mode;
      return {};
    }
    return fail(usage("there is no mode -b" + escape(value, 20)));
  }

  /// -q, -qI id, -qR site, -qS sender; -q30m is how often a daemon is to try, which is ours to know.
  Result<> take_retry(std::string rest) {
    constexpr std::pair<char, std::string_view> kFields[] = {{'I', "id:"}, {'R', "to:"}, {'S', "from:"}};
    if (!rest.empty() && is_digit(rest[0])) return {};
    options_.mode = Mode::retry;
    if (rest.empty()) return {};
    for (const auto& [letter, field] : kFields) {
      if (rest[0] != letter) continue;
      std::string value = rest.substr(1);
      if (value.empty() && at_ == words_.size()) return fail(usage(std::string("-q") + letter + " lacks its value"));
      if (value.empty()) value = words_[at_++];
      // An id is one message; of an address any part may be given, as sendmail has it.
      options_.filter.push_back(letter == 'I' ? value : std::string(field) + "*" + value + "*");
      return {};
    }
    return fail(usage("there is no option -q" + escape(rest, 20)));
  }

  std::span<const std::string> words_;
  std::size_t at_ = 0;
  SendmailOptions options_;
};

}  // namespace

Result<SendmailOptions> parse_sendmail_options(std::string_view program, std::span<const std::string> arguments) {
  return Parser(program, arguments).run();
}

}  // namespace waypost::mta
