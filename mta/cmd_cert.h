// mta/cmd_cert.h: `waypost cert list|check|reload`: the certificates that clients are shown.
#pragma once
#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

/// Those of the configuration, as their files have them, and which of them the daemon shows. Ends with 1 if there is
/// none.
int cert_list(bool json, Console& console);
/// Ends with 1 if anything is found, or there is none.
int cert_check(bool json, Console& console);
/// `reload`, and what it made of the certificates.
int cert_reload(bool json, Console& console);

void add_cert(CLI::App& app, Console& console);

}  // namespace waypost::mta
