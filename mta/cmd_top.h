// mta/cmd_top.h: `waypost top`: the relay live, on a terminal.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "base/result.h"
#include "mta/console.h"
#include "mta/screen.h"
#include "mta/top.h"

namespace waypost::mta {

/// What the state shows, asked anew. `last`: the answers before, which stay where there is trouble.
top::Answers ask_top(const top::State& state, top::Answers last, Console& console);

struct TopOptions {
  std::string interval = "2s";  ///< as conf::parse_duration()
};
/// `open` makes the screen.
int run_top(const TopOptions& options, Console& console, const std::function<Result<std::unique_ptr<Screen>>()>& open);

void add_top(CLI::App& app, Console& console);

}  // namespace waypost::mta
