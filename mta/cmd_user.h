// mta/cmd_user.h: `waypost user ...`: who may log in. Asks no daemon: it changes the file, which the daemon reads
// again.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

/// Asks for a password: read_secret() of mta/secret.h.
using AskSecret = std::function<Result<std::string>(const std::string& prompt, bool confirm)>;

int user_add(const std::string& name, const AskSecret& ask, Console& console);
int user_password(const std::string& name, const AskSecret& ask, Console& console);
int user_delete(const std::string& name, Console& console);
int user_lock(const std::string& name, Console& console);
int user_unlock(const std::string& name, Console& console);
int user_senders(const std::string& name, const std::vector<std::string>& senders, Console& console);
int user_list(bool json, Console& console);
int user_check(const std::string& name, const AskSecret& ask, Console& console);

void add_user(CLI::App& app, Console& console, AskSecret ask);

}  // namespace waypost::mta
