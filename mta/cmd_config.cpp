#include "mta/cmd_config.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include <sysexits.h>

#include "base/escape.h"
#include "base/text.h"
#include "conf/load.h"
#include "conf/suggest.h"
#include "delivery/reply_rules.h"
#include "mta/certificates.h"
#include "mta/host_checks.h"
#include "mta/output.h"

namespace waypost::mta {

int config_check(const std::string& file, bool json, Console& console) {
  conf::Loaded loaded = conf::load(file);
  delivery::check_reply_rules(loaded);
  check_certificates(loaded, net::system_clock().wall_now());
  check_host(loaded);
  const auto print = [&](const std::vector<conf::Finding>& findings, const char* severity) {
    for (const conf::Finding& finding : findings) {
      if (json)
        console.print(finding_json(finding, severity));
      else
        console.out << severity << ": " << escape(finding.text(), 2000) << "\n";
    }
  };
  print(loaded.errors, "error");
  print(loaded.warnings, "warning");
  if (!json) {
    console.out << escape(file) << ": ";
    if (loaded.errors.empty() && loaded.warnings.empty()) {
      console.out << "no errors\n";
    } else {
      console.out << (loaded.errors.empty() ? "no errors" : counted(loaded.errors.size(), "error", "errors")) << ", "
                  << counted(loaded.warnings.size(), "warning", "warnings") << "\n";
    }
  }
  return loaded.errors.empty() ? 0 : EX_CONFIG;
}

namespace {

/// "listener" covers "listener[1].role", and "listener[1]" that alone.
bool covers(const std::string& wanted, const std::string& key) {
  if (wanted.empty() || key == wanted) return true;
  const auto ends = [&key](std::size_t at) { return at < key.size() && (key[at] == '.' || key[at] == '['); };
  if (key.starts_with(wanted) && ends(wanted.size())) return true;
  return plain_key(key) == wanted || (plain_key(key).starts_with(wanted + "."));
}

/// nullopt: said why, and the exit code is set.
std::optional<std::vector<conf::Setting>> read_settings(const std::string& file, Console& console) {
  conf::Loaded loaded = conf::load(file);
  if (!loaded.settings.empty()) {
    if (!loaded.errors.empty())
      console.err << "waypost: " << escape(file) << " has errors (waypost config check): what is wrong is not shown\n";
    return std::move(loaded.settings);
  }
  console.give_up(EX_CONFIG, loaded.errors.empty() ? file + " is empty" : loaded.errors.front().text());
  return std::nullopt;
}

/// Of an answer of the control socket.
std::vector<conf::Setting> settings_of(const Json& epoch) {
  std::vector<conf::Setting> out;
  for (const Json& each : list_of(epoch, "settings"))
    out.push_back({text_of(each, "key"), text_of(each, "value"), text_of(each, "place")});
  return out;
}

std::optional<std::vector<conf::Setting>> fetch_epoch(const std::string& number, Console& console) {
  ControlRequest request;
  request.path = "/v1/config";
  if (!number.empty()) request.query["epoch"] = number;
  const std::optional<Json> epoch = console.fetch(request);
  if (epoch) return settings_of(*epoch);
  if (console.exit_code == 1) console.exit_code = EX_NOINPUT;  // no such number: 1 is a difference
  return std::nullopt;
}

int no_such_key(const std::string& key, Console& console) {
  const std::string meant = conf::nearest(key, conf::all_keys());
  console.give_up(EX_USAGE, "there is no key " + escape(key) + (meant.empty() ? "" : " (did you mean " + meant + "?)"));
  return console.exit_code;
}

bool is_key(const std::string& key) {
  const std::vector<std::string> keys = conf::all_keys();
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

std::string line_of(const conf::Setting& setting) {
  return escape(setting.key) + " = " + (setting.value.empty() ? "(not set)" : setting.value);
}

}  // namespace

std::string plain_key(const std::string& key) {
  std::string out;
  bool inside = false;
  for (const char c : key) {
    if (c == '[') inside = true;
    if (!inside) out += c;
    if (c == ']') inside = false;
  }
  return out;
}

int config_show(const ConfigShowOptions& options, Console& console) {
  const auto settings = read_settings(options.file.empty() ? console.config_file() : options.file, console);
  if (!settings) return console.exit_code;
  bool any = false;
  for (const conf::Setting& setting : *settings) {
    if (!covers(options.key, setting.key)) continue;
    // Who asks for a key wants to know it whoever has set it.
    if (setting.place.empty() && !options.all && options.key.empty()) continue;
    any = true;
    if (options.json) {
      console.print(setting_json(setting));
      continue;
    }
    console.out << line_of(setting);
    if (options.origin) console.out << "  # " << (setting.place.empty() ? "default" : escape(setting.place));
    console.out << "\n";
  }
  if (any) return 0;
  const std::vector<std::string> keys = conf::all_keys();
  const std::string plain = plain_key(options.key);
  const bool known =
      std::any_of(keys.begin(), keys.end(), [&plain](const std::string& key) { return covers(plain, key); });
  return known ? 1 : no_such_key(options.key, console);
}

int config_get(const std::string& key, bool json, Console& console) {
  const auto settings = read_settings(console.config_file(), console);
  if (!settings) return console.exit_code;
  bool any = false;
  for (const conf::Setting& setting : *settings) {
    if (setting.key != key && plain_key(setting.key) != key) continue;
    any = true;
    if (json) {
      console.print(setting_json(setting));
      continue;
    }
    // A string without its quotes, for scripts: TOML's strings are JSON's.
    const Json value = parse_json(setting.value);
    console.out << (value.is_string() ? value.get<std::string>() : setting.value) << "\n";
  }
  if (any) return 0;
  return is_key(key) ? 1 : no_such_key(key, console);
}

int config_diff(const std::vector<std::string>& which, bool json, Console& console) {
  const auto is_number = [](const std::string& text) { return parse_decimal(text).has_value(); };
  std::optional<std::vector<conf::Setting>> before, after;
  if (which.size() == 2) {
    before = fetch_epoch(which[0], console);
    if (before) after = fetch_epoch(which[1], console);
  } else {
    const bool of_epoch = !which.empty() && is_number(which[0]);
    before = fetch_epoch(of_epoch ? which[0] : "", console);
    const std::string file = which.empty() || of_epoch ? console.config_file() : which[0];
    if (before && of_epoch) after = fetch_epoch("", console);
    if (before && !of_epoch) after = read_settings(file, console);
  }
  if (!before || !after) return console.exit_code;
  bool any = false;
  for (const ConfigDifference& each : differences(*before, *after)) {
    any = true;
    if (json) {
      Json line;
      line["key"] = (each.before ? each.before : each.after)->key;
      line["before"] = each.before ? Json(each.before->value) : Json(nullptr);
      line["after"] = each.after ? Json(each.after->value) : Json(nullptr);
      console.print(line);
      continue;
    }
    if (each.before) console.out << "- " << line_of(*each.before) << "\n";
    if (each.after) console.out << "+ " << line_of(*each.after) << "\n";
  }
  if (!any) console.err << "no difference\n";
  return any ? 1 : 0;
}

std::vector<ConfigDifference> differences(const std::vector<conf::Setting>& before,
                                          const std::vector<conf::Setting>& after) {
  // Of one that was in force long values are kept in short.
  const auto is_same = [](const std::string& a, const std::string& b) {
    return ConfigEpochs::short_value(a) == ConfigEpochs::short_value(b);
  };
  const auto by_key = [](const std::vector<conf::Setting>& settings) {
    std::map<std::string_view, const conf::Setting*> out;
    for (const conf::Setting& setting : settings) out.emplace(setting.key, &setting);
    return out;
  };
  const auto old = by_key(before), now = by_key(after);
  std::vector<ConfigDifference> out;
  for (const conf::Setting& setting : before) {
    const auto found = now.find(setting.key);
    if (found == now.end()) out.push_back({setting, std::nullopt});
    if (found != now.end() && !is_same(found->second->value, setting.value)) out.push_back({setting, *found->second});
  }
  for (const conf::Setting& setting : after)
    if (!old.contains(setting.key)) out.push_back({std::nullopt, setting});
  return out;
}

int config_epochs(bool json, Console& console) {
  ControlRequest request;
  request.path = "/v1/config/epochs";
  const std::optional<Json> answer = console.fetch(request);
  if (!answer) return console.exit_code;
  Table table;
  for (const Json& epoch : list_of(*answer, "epochs")) {
    if (!json && table.empty()) table.add({"EPOCH", "SINCE", "FILE"});
    if (json)
      console.print(epoch);
    else
      table.add({std::to_string(number_of(epoch, "epoch")), shown_time(epoch, "since"), shown(epoch, "file")});
  }
  console.out << table.text();
  return list_of(*answer, "epochs").empty() ? 1 : 0;
}

int config_explain(const std::string& key, bool json, Console& console) {
  if (!is_key(key)) return no_such_key(key, console);
  const auto settings = read_settings(console.config_file(), console);
  if (!settings) return console.exit_code;
  std::string usual;
  for (const conf::Setting& setting : conf::all_defaults())
    if (setting.key == key) usual = setting.value;
  if (json) {
    Json line;
    line["key"] = key;
    line["default"] = usual.empty() ? Json(nullptr) : Json(usual);
    line["set"] = Json::array();
    for (const conf::Setting& setting : *settings)
      if (plain_key(setting.key) == key && !setting.place.empty()) line["set"].push_back(setting_json(setting));
    console.print(line);
    return 0;
  }
  console.out << key << ": " << (usual.empty() ? "no default" : "default " + usual) << "\n";
  bool any = false;
  for (const conf::Setting& setting : *settings) {
    if (plain_key(setting.key) != key || setting.place.empty()) continue;
    any = true;
    console.out << "set: " << line_of(setting) << "  # " << escape(setting.place) << "\n";
  }
  if (!any) console.out << "not set in " << escape(console.config_file()) << "\n";
  console.out << "what it means: man 5 waypost.toml, " << key << "\n";
  return 0;
}

void add_config(CLI::App& app, Console& console) {
  CLI::App* config = app.add_subcommand("config", "The configuration");
  config->require_subcommand(1);
  config->footer("Example: waypost config check");
  struct Options {
    std::string file;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* check = config->add_subcommand("check", "Report every mistake in the configuration, and change nothing");
  check->add_option("file", options->file, "Another file than the one that --config names")->type_name("FILE");
  check->add_flag("--json", options->json, "JSON Lines, one per finding, keys stable");
  check->footer("Example: waypost config check /etc/waypost/waypost.toml.new");
  check->callback([options, &console] {
    const std::string file = options->file.empty() ? console.config_file() : options->file;
    console.exit_code = config_check(file, options->json, console);
  });

  auto show_options = std::make_shared<ConfigShowOptions>();
  CLI::App* show = config->add_subcommand("show", "Keys and their values, as the file sets them");
  show->add_option("key", show_options->key, "A key or a section alone; defaults too")->type_name("KEY");
  show->add_option("--file", show_options->file, "Another file than the one that --config names")->type_name("FILE");
  show->add_flag("--all", show_options->all, "What is at its default, too");
  show->add_flag("--origin", show_options->origin, "Where each is set");
  show->add_flag("--json", show_options->json, "JSON Lines, keys stable");
  show->footer("Example: waypost config show queue --origin");
  show->callback([show_options, &console] { console.exit_code = config_show(*show_options, console); });

  auto key = std::make_shared<std::string>();
  CLI::App* get = config->add_subcommand("get", "The value of a key alone, for scripts");
  get->add_option("key", *key, "Such as queue.expire")->type_name("KEY")->required();
  auto get_json = std::make_shared<bool>(false);
  get->add_flag("--json", *get_json, "JSON Lines, as of show");
  get->footer("Example: waypost config get data_dir");
  get->callback([key, get_json, &console] { console.exit_code = config_get(*key, *get_json, console); });

  auto explained = std::make_shared<std::string>();
  CLI::App* explain = config->add_subcommand("explain", "A key: its default, and where it is set");
  explain->add_option("key", *explained, "Such as queue.expire")->type_name("KEY")->required();
  auto explain_json = std::make_shared<bool>(false);
  explain->add_flag("--json", *explain_json, "One JSON object, keys stable");
  explain->footer("Example: waypost config explain queue.expire");
  explain->callback(
      [explained, explain_json, &console] { console.exit_code = config_explain(*explained, *explain_json, console); });

  auto which = std::make_shared<std::array<std::string, 2>>();
  CLI::App* diff = config->add_subcommand("diff", "What differs from the configuration that is in force");
  diff->add_option("from", which->front(), "A file, or the number of a configuration; none: the usual file")
      ->type_name("FILE|N");
  diff->add_option("to", which->back(), "The number of another one")->type_name("N");
  auto diff_json = std::make_shared<bool>(false);
  diff->add_flag("--json", *diff_json, "JSON Lines, one per difference, keys stable");
  diff->footer("Example: waypost config diff 41 42");
  diff->callback([which, diff_json, &console] {
    std::vector<std::string> given;
    for (const std::string& each : *which)
      if (!each.empty()) given.push_back(each);
    console.exit_code = config_diff(given, *diff_json, console);
  });

  auto epochs_json = std::make_shared<bool>(false);
  CLI::App* epochs = config->add_subcommand("epochs", "The configurations that were in force, by number");
  epochs->add_flag("--json", *epochs_json, "JSON Lines, keys stable");
  epochs->footer("Example: waypost config epochs");
  epochs->callback([epochs_json, &console] { console.exit_code = config_epochs(*epochs_json, console); });
}

}  // namespace waypost::mta
