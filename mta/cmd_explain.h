// mta/cmd_explain.h: waypost explain: what would become of a message, without sending one.
#pragma once
#include <string>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

struct ExplainOptions {
  std::string to, from, client, login, role;
  bool json = false, probe = false;
};

int explain(const ExplainOptions& options, Console& console);
void add_explain(CLI::App& app, Console& console);

}  // namespace waypost::mta
