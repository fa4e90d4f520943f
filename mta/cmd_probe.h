// mta/cmd_probe.h: waypost probe, watch: sessions without mail, and those that there are.
#pragma once
#include <chrono>
#include <functional>
#include <string>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

struct ProbeOptions {
  std::string destination;
  std::string next_hop;  ///< as `queue reroute --to`; "": the usual one
  bool dialogue = false, json = false;
};
int probe(const ProbeOptions& options, Console& console);
/// The hosts of an answer; for `waypost explain --probe`, too.
void write_probe(const Json& answer, bool dialogue, Console& console);
/// Whether mail would be taken by one of them.
bool is_ready(const Json& answer);

struct WatchOptions {
  std::string peer;  ///< a network; "": all
  bool in = false, out = false, json = false;
  std::string time;  ///< as conf::parse_duration(); "": until it is stopped
};
/// `sleep` waits for a moment between two questions.
int watch(const WatchOptions& options, Console& console, const std::function<void()>& sleep);

void add_probe(CLI::App& app, Console& console);
void add_watch(CLI::App& app, Console& console);

}  // namespace waypost::mta
