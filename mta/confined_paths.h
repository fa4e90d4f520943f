// mta/confined_paths.h: what of the file system the daemon needs once it runs, as its configuration has it. Pure.
#pragma once
#include <string>
#include <vector>

#include "conf/config.h"

namespace waypost::mta {

/// Whole folders, with all below them, and not single files: these are replaced by others of the same name (by editors,
/// certificates' renewals, useradd), and what was allowed goes with the old one.
struct ConfinedPaths {
  std::vector<std::string> read;   ///< files, whose folders are meant, and folders, with a slash at the end
  std::vector<std::string> write;  ///< folders; may be read, too
};

/// What the configuration names. Sorted, each once.
ConfinedPaths confined_paths(const conf::Config& config);

/// Where mail and logs usually go, and the packaged unit lets them: a first Maildir, or a log file, needs no restart
/// then. They need not be there.
std::vector<std::string> usual_folders();

/// What libraries read; much of it need not be there.
std::vector<std::string> system_paths();

/// `/var/mail/` of `/var/mail/{domain}/{local}`: the folder above the first part with a placeholder; where there is
/// none, the path itself.
std::string fixed_part(const std::string& maildir);

/// True if `path` is one of these folders, or below one. All are absolute, without ".", ".." and symbolic links.
bool is_within(const std::string& path, const std::vector<std::string>& folders);

}  // namespace waypost::mta
