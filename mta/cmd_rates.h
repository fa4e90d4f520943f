// mta/cmd_rates.h: waypost rates: what clients have used of the rates of their class.
#pragma once
#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

int rates(bool json, Console& console);
void add_rates(CLI::App& app, Console& console);

}  // namespace waypost::mta
