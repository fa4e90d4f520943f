// mta/cmd_log.h: `waypost log level|tail|reopen`: the running daemon's log.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

struct LogLevelOptions {
  std::string level;  ///< "": which one it is
  std::string time;   ///< as conf::parse_duration(); "": until a restart or reload
  bool json = false;
};
int log_level(const LogLevelOptions& options, Console& console);

struct LogTailOptions {
  std::uint64_t lines = 20;
  bool follow = false, json = false;
  std::string id, level;  ///< "": all
};
/// `sleep` waits for a moment between two questions.
int log_tail(const LogTailOptions& options, Console& console, const std::function<void()>& sleep);

int log_reopen(Console& console);
void add_log(CLI::App& app, Console& console);

}  // namespace waypost::mta
