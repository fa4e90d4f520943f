// mta/cmd_config.h: `waypost config check`. Asks no daemon.
#pragma once
#include <string>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

int config_check(const std::string& file, bool json, Console& console);
void add_config(CLI::App& app, Console& console);

}  // namespace waypost::mta
