// queue/replacement.h: another queue takes the place of the one in a data folder, which is kept beside it. A power cut
// on the way leaves either, and the next start finishes what was begun. Calls block, under the folder's lock.
#pragma once
#include <string>

#include "base/result.h"
#include "queue/new_folder.h"

namespace waypost::queue {

/// What is filled with queue.db and body/, and then replace()d. The old files get `suffix`, or that and a number where
/// there are such already. Errors: as NewFolder::make().
Result<NewFolder> make_replacement(const std::string& data_dir, const std::string& suffix);

/// The old queue.db is then at the path that is returned; "" if there was none. Errors: io, full, denied.
Result<std::string> replace_queue(const std::string& data_dir, NewFolder replacement);

/// At the start of whatever opens the queue to write: also what a restore, a salvage or a check left that was cut off
/// is removed. Errors: io, denied.
Result<> finish_replacements(const std::string& data_dir);

}  // namespace waypost::queue
