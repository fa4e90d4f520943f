// queue/restore.h: a backup becomes the queue again.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "queue/upkeep.h"

namespace waypost::queue {

struct RestoreReport {
  std::uint64_t messages = 0, recipients = 0;  ///< that the backup holds
  std::uint64_t again = 0;    ///< of these messages, such as have left the queue since: they will be delivered again
  std::uint64_t dropped = 0;  ///< messages in the queue that the backup does not have: only the old queue.db has them
  bool compared = true;       ///< false: there was no queue to compare with, or it could not be read
  std::string kept;           ///< where the old queue.db is now; "" if there was none
};

/// What a restore found in the way. Nothing was changed then.
struct RestoreRefusal {
  std::optional<CheckReport> damaged;              ///< the backup
  std::optional<std::uint64_t> messages_in_queue;  ///< and `force` was not given; 0: it cannot be read
};

/// While no daemon runs. A backup of an older version is brought up to date in its copy. `force`: also where the queue that is there holds mail or cannot be read, and where the backup
/// is damaged: the daemon sends none of what is. Blocks.
/// Errors: exists (`refusal` says why), busy (a daemon has the queue), not_found, denied, full, io, unsupported,
/// cancelled (nothing was changed).
Result<RestoreReport> restore(const std::string& backup, const std::string& data_dir, bool force,
                              RestoreRefusal& refusal, const Watched& progress = nullptr);

}  // namespace waypost::queue
