// mta/cmd_attempt.h: `waypost attempt settle`: the end of an attempt of which nobody but a person can know.
#pragma once
#include <string>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

struct SettleOptions {
  std::string id;
  std::string to;  ///< one recipient; "": all that are in doubt
  bool delivered = false, failed = false;
  std::string reason;
};

int attempt_settle(const SettleOptions& options, Console& console);
void add_attempt(CLI::App& app, Console& console);

}  // namespace waypost::mta
