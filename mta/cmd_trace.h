// mta/cmd_trace.h: `waypost trace`: the life of a message, also after it left.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

struct TraceOptions {
  std::string id, message_id, from, to, since;
  std::uint64_t limit = 0;  ///< 0: as many as one answer has
  bool json = false;
};

/// An event, or a recipient that waits, as a line of `waypost trace`; for `waypost top`, too.
std::vector<std::string> event_row(const Json& event);

int trace(const TraceOptions& options, Console& console);
void add_trace(CLI::App& app, Console& console);

}  // namespace waypost::mta
