// tests/fuzz/reply_rules.cpp: any text as a file of rules about replies, and any reply asked of those and of the
// shipped ones. Covers: delivery/reply_rules.cpp
#include "delivery/reply_rules.h"

#include <algorithm>
#include <string>

#include "base/text.h"
#include "tests/fuzz/input.h"

using namespace waypost;
using namespace waypost::delivery;

namespace {

constexpr std::chrono::seconds kDay{86400};

void check_reaction(const ReplyRules& rules, const RemoteReply& reply) {
  const std::optional<Reaction> reaction = rules.react(reply);
  const std::optional<Reaction> again = rules.react(reply);
  fuzz::check(reaction.has_value() == again.has_value(), "a reply has one answer");
  if (!reaction) return;
  fuzz::check(reaction->rule == again->rule && reaction->time == again->time, "the same one");
  fuzz::check(reply.code >= 400 && reply.code < 600, "only what refuses has a rule");
  const std::vector<std::string> names = rules.names();
  fuzz::check(std::find(names.begin(), names.end(), reaction->rule) != names.end(), "the rule is one of them");
  fuzz::check(!reaction->why.empty() && fuzz::is_one_line(reaction->rule), "it says why");
  const std::int64_t seconds = reaction->time.count();
  switch (reaction->action) {
    case Action::slow:
    case Action::wait:
      fuzz::check(seconds >= 1 && reaction->time <= kDay, "a site waits for a while, and not for ever");
      break;
    case Action::retry:
      fuzz::check(seconds >= 0 && seconds <= 3600, "a recipient waits an hour at most");
      break;
    case Action::defer:
      fuzz::check(reply.code >= 500 && seconds >= 0 && reaction->time <= kDay, "only 5xx is taken back");
      break;
    case Action::fail:
      fuzz::check(reply.code < 500 && seconds == 0, "only 4xx is made permanent");
      break;
    case Action::other_address:
      fuzz::check(seconds == 0, "at once");
      break;
  }
  if (reaction->hinted) fuzz::check(std::any_of(reply.text.begin(), reply.text.end(), is_digit), "a time is a number");
}

/// What is not known leaves out no rule: whatever matches, something does then.
void check_unknown(const ReplyRules& rules, RemoteReply reply) {
  const bool found = rules.react(reply).has_value();
  reply.host.reset();
  reply.stage.reset();
  reply.family.reset();
  if (found) fuzz::check(rules.react(reply).has_value(), "to know less asks more rules");
}

void check_findings(const std::vector<conf::Finding>& errors, std::ptrdiff_t lines) {
  for (const conf::Finding& error : errors) {
    fuzz::check(error.file == "r.toml" && error.line >= 0 && error.line <= lines, "a mistake has its place");
    fuzz::check(!error.message.empty() && fuzz::is_one_line(error.text()), "in one line");
    const std::string text = error.text();
    const auto control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7F; };
    fuzz::check(std::none_of(text.begin(), text.end(), control), "without controls");
  }
}

const ReplyRules& shipped() {
  static const ReplyRules::Parsed kParsed = ReplyRules::parse({{conf::RuleFile::kShipped, ""}});
  fuzz::check(kParsed.rules != nullptr, "the shipped rules are whole");
  return *kParsed.rules;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  RemoteReply reply;
  const std::uint8_t how = fuzz::take_octet(input);
  const std::vector<std::string> stages = stage_names();
  reply.stage = stage_named(stages[how % stages.size()]);
  reply.family = (how & 0x80) != 0 ? 6 : 4;
  reply.host = std::string(fuzz::take_field(input));
  reply.text = std::string(fuzz::take_field(input));
  std::string_view word = reply.text;
  word = take_word(word);
  reply.code = static_cast<int>(std::min<std::uint64_t>(parse_decimal(word).value_or(450), 1000));
  const std::size_t space = reply.text.find(' ');
  if (space != std::string::npos) reply.enhanced = smtp::parse_enhanced(std::string_view(reply.text).substr(space + 1));

  check_reaction(shipped(), reply);
  check_unknown(shipped(), reply);
  const std::string file(input);
  const ReplyRules::Parsed parsed = ReplyRules::parse({{"r.toml", file}});
  fuzz::check((parsed.rules == nullptr) == !parsed.errors.empty(), "rules, or what is wrong with them");
  check_findings(parsed.errors, std::count(file.begin(), file.end(), '\n') + 1);
  if (!parsed.rules || parsed.rules->names().empty()) return 0;
  check_reaction(*parsed.rules, reply);
  check_unknown(*parsed.rules, reply);
  // After the shipped ones they change nothing about what those are for.
  const ReplyRules::Parsed both = ReplyRules::parse({{"r.toml", file}, {"s.toml", std::string(shipped_reply_rules())}});
  if (!both.rules) return 0;  // a name that both have
  const std::optional<Reaction> alone = parsed.rules->react(reply);
  const std::optional<Reaction> otherwise = alone ? alone : shipped().react(reply);
  const std::optional<Reaction> found = both.rules->react(reply);
  fuzz::check(found.has_value() == otherwise.has_value(), "the first that matches counts");
  if (found) fuzz::check(found->rule == otherwise->rule, "of the first file");
  return 0;
}
