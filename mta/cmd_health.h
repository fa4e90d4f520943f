// mta/cmd_health.h: waypost health: an exit code for probes.
#pragma once
#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

int health(bool json, Console& console);
void add_health(CLI::App& app, Console& console);

}  // namespace waypost::mta
