#include "mta/cmd_log.h"

#include <memory>
#include <optional>
#include <thread>

#include <sysexits.h>

#include "base/event_log.h"
#include "conf/units.h"
#include "mta/follow.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

std::string no_level(const std::string& text) {
  return log::parse_level(text) ? "" : text + " is none of debug, info, warning, error";
}

/// What stands in a line was escaped before it was logged. One of JSON has its time.
void write_line(const Json& line, bool json, Console& console) {
  const std::string text = text_of(line, "text");
  if (json)
    console.print(line);
  else
    console.out << (text.starts_with('{') ? "" : shown_time(line, "time") + " ") << text << "\n";
}

}  // namespace

int log_level(const LogLevelOptions& options, Console& console) {
  ControlRequest request;
  request.path = "/v1/log/level";
  if (!options.level.empty()) {
    Json order;
    order["level"] = options.level;
    if (!options.time.empty()) {
      const Result<std::chrono::seconds> time = parse_seconds(options.time);
      if (!time) {
        console.give_up(EX_USAGE, "--for: " + time.error().what);
        return console.exit_code;
      }
      order["seconds"] = static_cast<std::uint64_t>(time->count());
    }
    request.method = "POST";
    request.body = to_line(order);
  } else if (!options.time.empty()) {
    console.give_up(EX_USAGE, "--for belongs to a level");
    return console.exit_code;
  } else {
    request.path = "/v1/log";
    request.query["limit"] = "0";
  }
  const std::optional<Json> answer = console.fetch(request);
  if (!answer) return console.exit_code;
  Json level;
  for (const char* key : {"level", "usual", "until"}) level[key] = answer->contains(key) ? (*answer)[key] : Json();
  if (options.json) {
    console.print(level);
    return 0;
  }
  const std::string now = shown(level, "level"), usual = shown(level, "usual"), until = shown_time(level, "until");
  console.out << now;
  if (!until.empty()) console.out << " until " << until << ", then " << usual;
  if (until.empty() && now != usual) console.out << " until a restart or reload, then " << usual;
  console.out << "\n";
  return 0;
}

int log_tail(const LogTailOptions& options, Console& console, const std::function<void()>& sleep) {
  ControlRequest request;
  request.path = "/v1/log";
  if (!options.id.empty()) request.query["id"] = options.id;
  if (!options.level.empty()) request.query["level"] = options.level;
  ControlRequest first = request;
  first.query["limit"] = std::to_string(options.lines);
  const std::optional<Json> answer = console.fetch(first);
  if (!answer) return console.exit_code;
  const auto write = [&](const Json& line) { write_line(line, options.json, console); };
  for (const Json& line : list_of(*answer, "lines")) write(line);
  if (!options.follow) return 0;
  return follow({request, number_of(*answer, "next"), std::nullopt}, write, sleep, console);
}

int log_reopen(Console& console) {
  ControlRequest request;
  request.method = "POST";
  request.path = "/v1/log/reopen";
  const std::optional<Json> answer = console.fetch(request);
  return answer ? 0 : console.exit_code;
}

void add_log(CLI::App& app, Console& console) {
  CLI::App* log = app.add_subcommand("log", "The daemon's log");
  log->require_subcommand(1);
  log->footer("Example: waypost log tail");

  auto level_options = std::make_shared<LogLevelOptions>();
  CLI::App* level = log->add_subcommand("level", "What it has, or is to have for a time");
  level->add_option("level", level_options->level, "debug, info, warning or error; without one: which it is")
      ->check(CLI::Validator(no_level, ""))
      ->type_name("LEVEL");
  level->add_option("--for", level_options->time, "For how long: 90s, 5m; without it until a restart or reload")
      ->type_name("TIME");
  level->add_flag("--json", level_options->json, "One JSON object, keys stable");
  level->footer("Example: waypost log level debug --for 10m");
  level->callback([level_options, &console] { console.exit_code = log_level(*level_options, console); });

  auto tail_options = std::make_shared<LogTailOptions>();
  CLI::App* tail = log->add_subcommand("tail", "Its last lines, wherever it goes");
  tail->add_option("-n,--lines", tail_options->lines, "So many, of at most 2000 that are kept; 20 otherwise")
      ->type_name("N");
  tail->add_flag("-f,--follow", tail_options->follow, "And those that come, until it is interrupted");
  tail->add_option("--id", tail_options->id, "Of this message")->type_name("ID");
  tail->add_option("--level", tail_options->level, "Of this level or a graver one")
      ->check(CLI::Validator(no_level, ""))
      ->type_name("LEVEL");
  tail->add_flag("--json", tail_options->json, "A JSON object a line, keys stable");
  tail->footer("Example: waypost log tail -f --level warning");
  tail->callback([tail_options, &console] {
    console.exit_code = log_tail(*tail_options, console, [] { std::this_thread::sleep_for(kBetweenPages); });
  });

  CLI::App* reopen = log->add_subcommand("reopen", "Have it written to a file of its name again, after a rotation");
  reopen->footer("Example: waypost log reopen");
  reopen->callback([&console] { console.exit_code = log_reopen(console); });
}

}  // namespace waypost::mta
