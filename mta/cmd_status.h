// mta/cmd_status.h: `waypost status` and `waypost reload`.
#pragma once
#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

int status(bool json, Console& console);
int reload(Console& console);
void add_status(CLI::App& app, Console& console);
void add_reload(CLI::App& app, Console& console);

}  // namespace waypost::mta
