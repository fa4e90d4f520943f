// mta/cmd_audit.h: waypost audit, undo: what administrators did, and taking it back.
#pragma once
#include <cstdint>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

int audit(std::uint64_t limit, bool json, Console& console);
int undo(std::uint64_t change, Console& console);
void add_audit(CLI::App& app, Console& console);

}  // namespace waypost::mta
