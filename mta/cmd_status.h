// mta/cmd_status.h: `waypost status` and `waypost reload`.
#pragma once
#include <optional>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

int status(bool json, Console& console);
int reload(Console& console);
/// Has the daemon reload, and tells what is wrong or waits for a restart. The report; nullopt: the configuration before
/// it stays in force, or nobody was there, and the exit code is set.
std::optional<Json> ask_for_reload(Console& console);
void add_status(CLI::App& app, Console& console);
void add_reload(CLI::App& app, Console& console);

}  // namespace waypost::mta
