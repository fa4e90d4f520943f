// mta/cmd_health.h: waypost health: an exit code for probes. waypost log: the daemon's log.
#pragma once
#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

int health(Console& console);
int log_reopen(Console& console);
void add_health(CLI::App& app, Console& console);
void add_log(CLI::App& app, Console& console);

}  // namespace waypost::mta
