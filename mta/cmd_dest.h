// mta/cmd_dest.h: `waypost dest list|show|hold|limit|resume|retry`: destinations that fail, are held or slowed, and
// their sites.
#pragma once
#include <string>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

/// Those in trouble, or the one of `name` and its site.
int dest_list(const std::string& name, bool json, Console& console);

struct DestChangeOptions {
  std::string verb;  ///< "hold", "limit", "resume", "retry"
  std::string name;
  bool site = false;
  std::string rate;         ///< limit: "20/1m"
  std::string time, until;  ///< hold, limit: "2h", or "08:00"
  std::string reason;
};
int dest_change(const DestChangeOptions& options, Console& console);

void add_dest(CLI::App& app, Console& console);

}  // namespace waypost::mta
