#include "mta/cmd_classify.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <sysexits.h>

#include "base/escape.h"
#include "base/text.h"
#include "conf/load.h"
#include "conf/units.h"
#include "delivery/reply_rules.h"
#include "smtp/reply_parser.h"

namespace waypost::mta {
namespace {

/// The lines of a reply, or the one line that the log makes of them. nullopt: it is none.
std::optional<smtp::Reply> parse_reply(const std::string& text) {
  smtp::ReplyParser parser;
  std::optional<smtp::Reply> reply;
  for (std::string_view line : split(text, '\n')) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (trim(line).empty()) continue;
    if (reply) return std::nullopt;  // more after the last line
    Result<std::optional<smtp::Reply>> read = parser.on_line(trim(line));
    if (!read) return std::nullopt;
    reply = *std::move(read);
  }
  const bool refuses = reply && (reply->transient() || reply->permanent());
  return refuses ? reply : std::nullopt;
}

/// nullopt: said, and the exit code is set.
std::optional<std::vector<conf::RuleFile>> find_files(const std::string& rules, Console& console) {
  if (rules.empty()) {
    const std::string file = console.config_file();
    const conf::Loaded loaded = conf::load(file);
    // What it names is taken as far as it could be read; where it could not, the shipped rules are left.
    if (!loaded.errors.empty()) console.err << "waypost: note: " << escape(loaded.errors.front().text(), 2000) << "\n";
    return loaded.config.delivery.reply_rules;
  }
  if (rules == conf::RuleFile::kShipped) return std::vector<conf::RuleFile>{{rules, ""}};
  Result<std::string> text = conf::read_file(rules);
  if (text) return std::vector<conf::RuleFile>{{rules, *std::move(text)}};
  console.give_up(EX_NOINPUT, rules + " cannot be read: " + text.error().what);
  return std::nullopt;
}

std::string for_time(const delivery::Reaction& reaction) {
  return " for " + conf::duration_text(reaction.time) + (reaction.hinted ? ", as the host asks" : "");
}

std::string what_is_done(const delivery::Reaction& reaction) {
  switch (reaction.action) {
    case delivery::Action::slow:
      return "the site gets less mail" + for_time(reaction);
    case delivery::Action::wait:
      return "the site gets no mail" + for_time(reaction);
    case delivery::Action::other_address:
      return "another address is tried at once";
    case delivery::Action::fail:
      return "the recipient fails";
    case delivery::Action::retry:
    case delivery::Action::defer:
      break;
  }
  const bool by_schedule = reaction.time.count() == 0;
  return "the recipient waits" + (by_schedule ? std::string(" as queue.retry says") : for_time(reaction));
}

Json json_of(const std::optional<delivery::Reaction>& reaction) {
  Json json;
  json["rule"] = nullptr;
  if (!reaction) return json;
  json["rule"] = reaction->rule;
  json["action"] = delivery::name_of(reaction->action);
  json["seconds"] = reaction->time.count();
  json["hinted"] = reaction->hinted;
  json["why"] = reaction->why;
  return json;
}

}  // namespace

int classify(const ClassifyOptions& options, Console& console) {
  const std::optional<smtp::Reply> reply = parse_reply(options.text);
  if (!reply) {
    console.give_up(EX_USAGE, "that is no reply of 4xx or 5xx, such as '421 4.7.0 too many connections'");
    return console.exit_code;
  }
  const std::optional<std::vector<conf::RuleFile>> files = find_files(options.rules, console);
  if (!files) return console.exit_code;
  const delivery::ReplyRules::Parsed parsed = delivery::ReplyRules::parse(*files);
  if (!parsed.rules) {
    for (const conf::Finding& error : parsed.errors)
      console.err << "waypost: error: " << escape(error.text(), 2000) << "\n";
    return EX_CONFIG;
  }
  delivery::RemoteReply asked =
      delivery::remote_reply(delivery::Stage::rcpt, *reply, options.host, options.ipv6 ? 6 : 4);
  asked.stage = delivery::stage_named(options.stage);
  if (options.host.empty()) asked.host.reset();
  const std::optional<delivery::Reaction> reaction = parsed.rules->react(asked);
  if (options.json) {
    console.print(json_of(reaction));
  } else if (reaction) {
    console.out << escape(reaction->rule) << ": " << what_is_done(*reaction) << "\n" << escape(reaction->why) << "\n";
  } else {
    console.out << "no rule matches: the reply counts as its code says\n";
  }
  return reaction ? 0 : 1;
}

void add_classify(CLI::App& app, Console& console) {
  auto options = std::make_shared<ClassifyOptions>();
  auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* verb = app.add_subcommand("classify", "Which rule matches a reply of a host, and what is done about it");
  verb->add_option("text", *words, "The reply, with its code")->required()->type_name("TEXT");
  verb->add_option("--host", options->host, "The exchanger's name; without it rules of all hosts are asked")
      ->type_name("NAME");
  verb->add_option("--stage", options->stage, "What was answered; without it rules of all stages are asked")
      ->check(CLI::IsMember(delivery::stage_names()))
      ->type_name("STAGE");
  verb->add_flag("--ipv6", options->ipv6, "The session went to an IPv6 address");
  verb->add_option("--rules", options->rules, "Rules to ask instead of those of the configuration")->type_name("FILE");
  verb->add_flag("--json", options->json, "One JSON object, keys stable");
  verb->footer("Example: waypost classify --host mta5.am0.yahoodns.net '421 4.7.0 [TSS04] temporarily deferred'");
  verb->callback([options, words, &console] {
    options->text.clear();
    for (const std::string& word : *words) options->text += (options->text.empty() ? "" : " ") + word;
    console.exit_code = classify(*options, console);
  });
}

}  // namespace waypost::mta
