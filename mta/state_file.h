// mta/state_file.h: small files beside the queue: what the daemon keeps from one start to the next. Blocks: not on a
// loop.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"
#include "queue/files.h"

namespace waypost::mta {

/// Another file takes its name once that is on disk. Errors: those of Files.
Result<> replace_state(queue::Files& files, const std::string& name, std::string_view text);
/// All of it. Errors: those of Files.
Result<std::string> read_state(queue::Files& files, const std::string& name);

}  // namespace waypost::mta
