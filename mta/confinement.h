// mta/confinement.h: the daemon gives up what it needs no more, whoever started it: rights, system calls, folders.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "conf/config.h"
#include "mta/confined_paths.h"

namespace waypost::mta {

/// What is in force.
struct Confinement {
  std::string user;              ///< whose rights the process has
  bool no_capabilities = false;  ///< and not dumpable: no core, no debugger but root's
  bool system_calls = false;     ///< those that are listed alone: seccomp
  int landlock = 0;              ///< its version in this kernel; 0: the file system is as open as to any of the user's
  std::vector<std::string> missing;  ///< what could not be had, and why: "seccomp: Function not implemented"
  /// Where landlock is: folders, and files without one but "/", all as is_within() wants them.
  ConfinedPaths open{};
};

/// Becomes `config.user`, then drops all else that `config.confine` says. From the main thread, before others are
/// started: they inherit it. What the kernel has not is left out and told, once, in the log.
/// Errors: as become(), io and full where the data folder cannot be made or synced.
Result<Confinement> confine(const conf::Config& config);

/// "user waypost, no capabilities, seccomp, landlock (version 2)"; of what is missing nothing.
std::string text_of(const Confinement& confinement);

/// What a reload would need that the process gave up; empty where landlock is not. Looks at symbolic links.
std::vector<std::string> beyond(const Confinement& confinement, const conf::Config& config);

/// Whether the process may write there, as far as landlock goes. The path need not exist.
bool may_write(const Confinement& confinement, const std::string& path);

}  // namespace waypost::mta
