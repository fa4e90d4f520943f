// mta/cmd_bench.h: `waypost bench`: a self test of this machine.
#pragma once
#include <string>

#include <CLI/CLI.hpp>

#include "mta/bench.h"
#include "mta/console.h"

namespace waypost::mta {

struct BenchOptions {
  std::string time = "5s";  ///< as conf::parse_duration(): of each part
  bool json = false;
};
int run_bench(const BenchOptions& options, Console& console);
void write_bench(const BenchReport& report, bool json, Console& console);

void add_bench(CLI::App& app, Console& console);

}  // namespace waypost::mta
