// mta/cmd_dest.h: `waypost dest list|show|hold|release|retry`: destinations that fail or are held, and their sites.
#pragma once
#include <string>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

/// Those in trouble, or the one of `name` and its site.
int dest_list(const std::string& name, bool json, Console& console);

struct DestChangeOptions {
  std::string verb;  ///< "hold", "release", "retry"
  std::string name;
  bool site = false;
  std::string time;  ///< hold: "2h"
  std::string reason;
};
int dest_change(const DestChangeOptions& options, Console& console);

void add_dest(CLI::App& app, Console& console);

}  // namespace waypost::mta
