#include "delivery/reply_rules.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <utility>

#include <re2/re2.h>

#include "base/escape.h"
#include "base/text.h"
#include "conf/document.h"
#include "conf/reader.h"
#include "conf/values.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;
using std::chrono::seconds;

constexpr std::size_t kMaxText = 512;             // what is stored of a reply
constexpr seconds kLongest = 24h;                 // a site is asked once a day at least
constexpr seconds kLongestRetry = 1h;             // PROTOCOL, "Outbound": of a recipient that is greylisted
constexpr std::int64_t kPatternMemory = 1 << 19;  // octets, of each pattern with what matching keeps of it
constexpr int kMostGroups = 16;

using StageWord = std::pair<const char*, std::optional<Stage>>;
using ActionWord = std::pair<const char*, std::optional<Action>>;

constexpr std::initializer_list<StageWord> kStages = {
    {"banner", Stage::banner}, {"ehlo", Stage::ehlo},           {"starttls", Stage::starttls},
    {"mail", Stage::mail},     {"rcpt", Stage::rcpt},           {"data", Stage::data},
    {"body", Stage::body},     {"final_dot", Stage::final_dot}, {"rset", Stage::rset}};
constexpr std::initializer_list<ActionWord> kActions = {
    {"slow", Action::slow}, {"wait", Action::wait},  {"retry", Action::retry}, {"other_address", Action::other_address},
    {"fail", Action::fail}, {"defer", Action::defer}};

seconds longest(Action action) {
  return action == Action::retry ? kLongestRetry : kLongest;
}

bool waits(Action action) {
  return action != Action::other_address && action != Action::fail;
}

bool concerns_site(Action action) {
  return action == Action::slow || action == Action::wait || action == Action::other_address;
}

/// Host names alone: `mx1.b.example[192.0.2.7]:25` and "mx1.b.example." are mx1.b.example, [192.0.2.7]:25 is "".
std::string host_name(const std::string& host) {
  std::string name = host.substr(0, host.find('['));
  if (name.ends_with('.')) name.pop_back();
  return name;
}

/// Hosts break lines where it suits them, often after an address of any length: a rule sees spaces there.
std::string one_line(std::string_view text) {
  constexpr std::string_view kBreak = " / ";
  text = text.substr(0, kMaxText);
  std::string out;
  for (std::size_t at = text.find(kBreak); at != std::string_view::npos; at = text.find(kBreak)) {
    out.append(text.substr(0, at)).append(1, ' ');
    text.remove_prefix(at + kBreak.size());
  }
  return out.append(text);
}

Result<std::string> parse_rule_name(const std::string& text) {
  bool fits = !text.empty() && text.size() <= 64;
  for (char c : text) fits = fits && (is_alnum(c) || c == '-' || c == '_' || c == '.');
  if (fits) return text;
  return fail(Errc::invalid, conf::quoted(text) + " is no name: 1 to 64 letters, digits, \"-\", \"_\" or \".\"");
}

Result<std::string> parse_code(const std::string& text) {
  bool fits = !text.empty() && text.size() <= 3 && (text.front() == '4' || text.front() == '5');
  for (char c : text) fits = fits && is_digit(c);
  if (fits) return text;
  return fail(Errc::invalid,
              conf::quoted(text) + " is no reply code of 4xx or 5xx, or the front of one: \"421\", \"5\"");
}

using Numbers = std::vector<std::uint64_t>;

Result<Numbers> parse_enhanced_front(const std::string& text) {
  Numbers numbers;
  for (std::string_view part : split(text, '.')) {
    const std::optional<std::uint64_t> number = part.size() <= 3 ? parse_decimal(part) : std::nullopt;
    if (number) numbers.push_back(*number);
    const bool has_class = !numbers.empty() && (numbers.front() == 4 || numbers.front() == 5);
    if (number && has_class && numbers.size() <= 3) continue;
    return fail(
        Errc::invalid,
        conf::quoted(text) + " is no enhanced status code of class 4 or 5, or the front of one: \"4.7.28\", \"5.7\"");
  }
  return numbers;
}

Result<std::string> parse_why(const std::string& text) {
  const bool fits = !trim(text).empty() && text.size() <= 1000 && text.find_first_of("\r\n") == std::string::npos;
  if (fits) return text;
  return fail(Errc::invalid, "must be one line that is not empty, of at most 1000 octets");
}

/// Digits that a group caught, as that many of a unit, up to kLongest. nullopt: it caught no number.
std::optional<seconds> time_of(const re2::StringPiece& caught, seconds unit) {
  const std::string_view digits(caught.data(), caught.size());
  if (digits.empty() || !std::all_of(digits.begin(), digits.end(), is_digit)) return std::nullopt;
  const std::uint64_t most = static_cast<std::uint64_t>(kLongest / unit);
  return unit * static_cast<seconds::rep>(std::min(parse_decimal(digits).value_or(most), most));
}

}  // namespace

struct ReplyRules::Rule {
  std::string name;
  std::vector<std::string> hosts;  // empty: any
  std::string code;                // its front; "": any
  Numbers enhanced;                // its front; empty: any, and none
  std::optional<Stage> stage;
  int family = 0;  // 4, 6; 0: any
  std::unique_ptr<const RE2> text;
  std::vector<std::pair<int, seconds>> times;  // groups of `text`, each with its unit
  Action action = Action::retry;
  seconds time{0};
  std::string why;

  bool is_asked(const RemoteReply& reply, const std::optional<std::string>& host) const {
    if (!std::to_string(reply.code).starts_with(code)) return false;
    if (!enhanced.empty() && !has_enhanced(reply.enhanced)) return false;
    if (stage && reply.stage && *stage != *reply.stage) return false;
    if (family != 0 && reply.family && family != *reply.family) return false;
    return hosts.empty() || !host || std::any_of(hosts.begin(), hosts.end(), [&](const std::string& pattern) {
             return conf::matches(pattern, *host);
           });
  }

  bool has_enhanced(const std::optional<smtp::EnhancedCode>& given) const {
    if (!given) return false;
    const Numbers numbers = {given->klass, given->subject, given->detail};
    return std::equal(enhanced.begin(), enhanced.end(), numbers.begin());
  }

  /// nullopt: the text is another.
  std::optional<Reaction> reaction(const std::string& line) const {
    Reaction out;
    out.action = action;
    out.time = time;
    out.rule = name;
    out.why = why;
    if (!text) return out;
    std::array<re2::StringPiece, kMostGroups + 1> caught;
    const int wanted = times.empty() ? 0 : text->NumberOfCapturingGroups() + 1;
    if (!text->Match(line, 0, line.size(), RE2::UNANCHORED, caught.data(), wanted)) return std::nullopt;
    seconds sum{0};
    for (const auto& [group, unit] : times) {
      const std::optional<seconds> part = time_of(caught[static_cast<std::size_t>(group)], unit);
      if (!part) continue;
      sum += *part;
      out.hinted = true;
    }
    if (out.hinted) out.time = std::clamp(sum, seconds(1), longest(action));
    return out;
  }
};

/// Reads one file after the other; names are unique among them all.
class ReplyRules::Reader {
 public:
  void read(const std::string& text, const std::string& file) {
    conf::Reading reading;
    reading.of_another_file = true;
    if (text.size() > kMostOctets) {
      reading.error("", conf::Place{file}, "is larger than 1 MiB");
    } else if (const std::optional<conf::Value> root = conf::parse_document(text, file, reading.errors)) {
      reading.places.put("", conf::Place{file});
      conf::Section top(*root, reading);
      for (conf::Section& section : top.sections("rule")) read_rule(section);
      top.finish();
    }
    std::stable_sort(reading.errors.begin(), reading.errors.end(), [](const conf::Finding& a, const conf::Finding& b) {
      return a.line != b.line ? a.line < b.line : a.column < b.column;
    });
    std::move(reading.errors.begin(), reading.errors.end(), std::back_inserter(errors));
  }

  std::vector<std::unique_ptr<const Rule>> rules;
  std::vector<conf::Finding> errors;

 private:
  void read_rule(conf::Section& section) {
    Rule rule;
    section.require("name", "such as name = \"b-example-throttle\"");
    section.parsed("name", rule.name, parse_rule_name);
    section.parsed_one_or_list("hosts", rule.hosts, conf::parse_pattern);
    const bool no_host =
        section.has("hosts") && rule.hosts.empty() && !section.reading().failed(section.shown("hosts"));
    if (no_host) wrong(section, "hosts", "names no host", "leave it out for any");
    section.parsed("code", rule.code, parse_code);
    section.parsed("enhanced", rule.enhanced, parse_enhanced_front);
    section.choice("stage", rule.stage, kStages);
    section.choice("family", rule.family, {{"ipv4", 4}, {"ipv6", 6}});
    read_text(section, rule);
    const bool narrow = section.has("code") || section.has("enhanced") || section.has("text");
    if (!narrow) wrong(section, "", "has neither code, enhanced nor text: every reply would match");
    read_action(section, rule);
    section.require("why", "a sentence for who reads the log");
    section.parsed("why", rule.why, parse_why);
    section.finish();
    if (rules.size() == kMostRules) {
      if (!full_) wrong(section, "", "is one rule too many: " + std::to_string(kMostRules) + " at most");
      full_ = true;
      return;
    }
    if (!rule.name.empty()) {
      const conf::Place place = section.reading().places.of(section.shown("name"));
      const auto [first, fresh] = places_.emplace(rule.name, place.text());
      if (!fresh) wrong(section, "name", conf::quoted(rule.name) + " is a rule already, at " + first->second);
    }
    rules.push_back(std::make_unique<const Rule>(std::move(rule)));
  }

  void read_text(conf::Section& section, Rule& rule) {
    std::string pattern;
    section.text("text", pattern);
    if (!section.is_text("text")) return;
    if (pattern.empty()) return wrong(section, "text", "is empty: every reply would match");
    if (pattern.size() > kMaxPattern)
      return wrong(section, "text", "is longer than " + std::to_string(kMaxPattern) + " octets");
    RE2::Options options;
    options.set_encoding(RE2::Options::EncodingLatin1);  // replies are octets
    options.set_case_sensitive(false);
    options.set_log_errors(false);
    options.set_dot_nl(true);
    options.set_max_mem(kPatternMemory);
    auto compiled = std::make_unique<RE2>(pattern, options);
    if (!compiled->ok()) {
      const bool perl =
          compiled->error().starts_with("invalid perl") || compiled->error().starts_with("invalid escape");
      const std::string hint = perl ? "RE2 knows no look-ahead and no back-references" : "";
      return wrong(section, "text", conf::quoted(pattern) + " is no pattern: " + escape(compiled->error()), hint);
    }
    if (compiled->NumberOfCapturingGroups() > kMostGroups)
      return wrong(section, "text", "has more than " + std::to_string(kMostGroups) + " groups", "write (?:...)");
    for (const auto& [name, group] : compiled->NamedCapturingGroups()) {
      const seconds unit = name == "hours" ? 3600s : name == "minutes" ? 60s : name == "seconds" ? 1s : 0s;
      if (unit == 0s)
        wrong(section, "text", "the group " + conf::quoted(name) + " is none of \"hours\", \"minutes\", \"seconds\"");
      rule.times.emplace_back(group, unit);
    }
    rule.text = std::move(compiled);
  }

  void read_action(conf::Section& section, Rule& rule) {
    std::optional<Action> action;
    section.require("action", "slow, wait, retry, other_address, fail or defer");
    section.choice("action", action, kActions);
    section.duration("for", rule.time, 1s, longest(action.value_or(Action::wait)));
    if (!action) return;
    rule.action = *action;
    const std::string name = conf::quoted(std::string(name_of(*action)));
    const bool needs_time = *action == Action::slow || *action == Action::wait;
    if (needs_time) section.require("for", name + " is for a time: for = \"30m\"");
    if (!waits(*action) && section.has("for")) wrong(section, "for", "has no meaning with " + name);
    if (!waits(*action) && !rule.times.empty())
      wrong(section, "text", "has a group for a time, which has no meaning with " + name);
    // What is right for one class makes no sense for the other, and costs mail where a rule was written carelessly.
    const char klass = *action == Action::fail ? '4' : *action == Action::defer ? '5' : '\0';
    if (klass != '\0' && !section.reading().failed(section.shown("code")) && !rule.code.starts_with(klass)) {
      const std::string digit(1, klass);
      wrong(section, "code", name + " is for replies of " + digit + "xx alone", "write code = \"" + digit + "\"");
    }
  }

  static void wrong(conf::Section& section, const std::string& key, const std::string& message,
                    const std::string& hint = "") {
    const std::string shown = key.empty() ? section.name() : section.shown(key);
    section.reading().error(shown, section.reading().places.of(shown), message, hint);
  }

  std::map<std::string, std::string> places_;  // of names
  bool full_ = false;
};

RemoteReply remote_reply(Stage stage, const smtp::Reply& reply, std::string host, int family) {
  RemoteReply out;
  out.code = reply.code;
  out.enhanced = reply.enhanced;
  out.text = escape(reply.text(), kMaxText);
  out.host = std::move(host);
  out.stage = stage;
  out.family = family;
  return out;
}

std::string_view name_of(Action action) {
  for (const auto& [name, each] : kActions)
    if (each == action) return name;
  return "";
}

bool defers(Action action) {
  return waits(action);
}

ReplyRules::ReplyRules() = default;
ReplyRules::~ReplyRules() = default;

ReplyRules::Parsed ReplyRules::parse(const std::vector<conf::RuleFile>& files) {
  Reader reader;
  for (const conf::RuleFile& file : files) {
    const bool shipped = file.path == conf::RuleFile::kShipped;
    reader.read(shipped ? std::string(shipped_reply_rules()) : file.text, shipped ? "reply-rules.toml" : file.path);
  }
  Parsed parsed;
  parsed.errors = std::move(reader.errors);
  if (!parsed.errors.empty()) return parsed;
  std::shared_ptr<ReplyRules> rules(new ReplyRules);
  rules->rules_ = std::move(reader.rules);
  parsed.rules = std::move(rules);
  return parsed;
}

std::optional<Reaction> ReplyRules::react(const RemoteReply& reply) const {
  if (reply.code < 400 || reply.code > 599) return std::nullopt;
  std::optional<std::string> host;
  if (reply.host) host = host_name(*reply.host);
  const std::string line = one_line(reply.text);
  for (const std::unique_ptr<const Rule>& rule : rules_) {
    if (reply.about_host && !concerns_site(rule->action)) continue;
    if (!rule->is_asked(reply, host)) continue;
    std::optional<Reaction> reaction = rule->reaction(line);
    if (reaction) return reaction;
  }
  return std::nullopt;
}

void react(const ReplyRules* rules, Stage stage, const smtp::Reply& reply, const Peer& peer, Outcome& outcome) {
  if (rules == nullptr || outcome.taken()) return;
  outcome.reaction = rules->react(remote_reply(stage, reply, peer.text(), peer.address.family));
  if (!outcome.reaction) return;
  const Action action = outcome.reaction->action;
  if (defers(action)) {
    outcome.event = queue::Event::attempt_deferred;
    outcome.status.front() = '4';
    outcome.try_next_host = false;
  } else if (action == Action::fail) {
    outcome.event = queue::Event::attempt_failed;
    outcome.status.front() = '5';
    outcome.try_next_host = false;
  } else {
    outcome.try_next_host = true;
  }
}

void react(const ReplyRules* rules, Stage stage, const smtp::Reply& reply, const Peer& peer, HostFailure& failure) {
  if (rules == nullptr) return;
  RemoteReply remote = remote_reply(stage, reply, peer.text(), peer.address.family);
  remote.about_host = true;
  failure.reaction = rules->react(remote);
}

std::optional<std::chrono::seconds> retry_after(const Reaction& reaction, std::uint32_t attempts) {
  const bool counts = reaction.action == Action::wait || reaction.action == Action::defer ||
                      (reaction.action == Action::retry && attempts == 0);
  if (!counts || reaction.time == seconds(0)) return std::nullopt;
  return reaction.time;
}

std::vector<std::chrono::seconds> not_before(std::chrono::seconds time) {
  return {time + time / 9 + seconds(1)};
}

std::vector<std::string> ReplyRules::names() const {
  std::vector<std::string> names;
  for (const std::unique_ptr<const Rule>& rule : rules_) names.push_back(rule->name);
  return names;
}

void check_reply_rules(conf::Loaded& loaded) {
  if (!loaded.errors.empty()) return;
  loaded.errors = ReplyRules::parse(loaded.config.delivery.reply_rules).errors;
}

std::optional<Stage> stage_named(std::string_view name) {
  for (const auto& [each, stage] : kStages)
    if (name == each) return stage;
  return std::nullopt;
}

std::vector<std::string> stage_names() {
  std::vector<std::string> names;
  for (const auto& [name, stage] : kStages) names.emplace_back(name);
  return names;
}

}  // namespace waypost::delivery
