// mta/cmd_classify.h: `waypost classify`: what would be done about a reply. Asks no daemon.
#pragma once
#include <string>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

struct ClassifyOptions {
  std::string text;   ///< a reply: as a host says it, or as the log has it
  std::string host;   ///< "": any
  std::string stage;  ///< "": any
  std::string rules;  ///< a file, or "shipped", instead of those of the configuration; "": those
  bool ipv6 = false;
  bool json = false;
};
int classify(const ClassifyOptions& options, Console& console);
void add_classify(CLI::App& app, Console& console);

}  // namespace waypost::mta
