// mta/completion.h: waypost completion: what a shell may put at the end of a command line.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

/// Values of a kind that a running relay knows: "ID", "DOMAIN". None where it does not answer at once.
using LiveValues = std::function<std::vector<std::string>(const std::string& kind)>;

/// What may stand for the last of `words` (those behind the program's name; the last one may be empty or half a word):
/// verbs, options, fields of a filter, ids and domains. Pure, but for `live`.
std::vector<std::string> candidates(const CLI::App& app, const std::vector<std::string>& words, const LiveValues& live);

/// The script that a shell sources. "": no such shell.
std::string completion_script(const std::string& shell);

/// `completion SHELL`, and the hidden `complete` that its scripts call.
void add_completion(CLI::App& app, Console& console);

}  // namespace waypost::mta
