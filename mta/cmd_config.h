// mta/cmd_config.h: `waypost config ...`: of the file, and of what the daemon has in force.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

int config_check(const std::string& file, bool json, Console& console);
struct ConfigShowOptions {
  std::string key, file;
  bool all = false, origin = false, json = false;
};
int config_show(const ConfigShowOptions& options, Console& console);
int config_get(const std::string& key, bool json, Console& console);
int config_explain(const std::string& key, bool json, Console& console);
/// Ends with 1 where there is a difference.
int config_diff(const std::vector<std::string>& which, bool json, Console& console);
int config_epochs(bool json, Console& console);

/// "listener.role" of "listener[1].role".
std::string plain_key(const std::string& key);
struct ConfigDifference {
  std::optional<conf::Setting> before, after;
};
std::vector<ConfigDifference> differences(const std::vector<conf::Setting>& before,
                                          const std::vector<conf::Setting>& after);

void add_config(CLI::App& app, Console& console);

}  // namespace waypost::mta
