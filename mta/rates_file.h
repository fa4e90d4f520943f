// mta/rates_file.h: the counts of Rates on disk, beside the queue. Blocks: not on a loop.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"
#include "queue/files.h"

namespace waypost::mta {

/// Replaces the file. Errors: those of Files.
Result<> save_rates(queue::Files& files, std::string_view text);
/// What was saved last. Errors: those of Files.
Result<std::string> load_rates(queue::Files& files);

}  // namespace waypost::mta
