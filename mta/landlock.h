// mta/landlock.h: folders are all that this process may read or write of the file system from now on: landlock(7).
#pragma once
#include <string>
#include <vector>

#include "base/result.h"

namespace waypost::mta {

/// The version of landlock that this kernel has. Errors: unsupported (none, none in use, or one that cannot rename from
/// a folder to another).
Result<int> landlock_version();

/// For this thread, and all that it starts. Connecting to Unix sockets, stat(2) and what is open already stay as they
/// are. `read` may hold files. What is not there is left out.
/// Errors: unsupported, denied, io.
Result<> restrict_to_folders(int version, const std::vector<std::string>& read, const std::vector<std::string>& write);

}  // namespace waypost::mta
