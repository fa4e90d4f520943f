// mta/cmd_why.h: waypost why: why a message waits, and what happens next.
#pragma once
#include <string>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

/// One sentence about a recipient as `queue show --json` has it, and its destination and the site of it as `dest show
/// --json` has them (null where nothing is known); `id`: of the message. Pure, but for the zone of the machine.
std::string why_it_waits(const std::string& id, const Json& recipient, const Json& destination, const Json& site,
                         net::WallTime now);

int why(const std::string& id, bool json, Console& console);
void add_why(CLI::App& app, Console& console);

}  // namespace waypost::mta
