// queue/salvage.h: what a damaged queue.db still has, row by row, becomes a new queue.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "queue/id.h"

namespace waypost::queue {

struct SalvageReport {
  std::string folder;                          ///< that has the new queue
  std::string kept;                            ///< in place: where the old queue.db is now
  std::uint64_t messages = 0, recipients = 0;  ///< in the new queue
  std::uint64_t in_doubt = 0;  ///< of these recipients: it cannot be told whether they had left, so they are held
  std::uint64_t unreadable_pages = 0, broken_rows = 0;
  /// A message, or a recipient of one, that is not in the new queue.
  struct Lost {
    Id message;
    std::string why;                      ///< fit for a terminal
    std::string reverse_path;             ///< "" where it is not known; escaped
    std::vector<std::string> recipients;  ///< as far as they are known; escaped
  };
  std::vector<Lost> lost;  ///< by id
};

/// Reads pages without SQLite, so that no damage to a tree hides a row whose own pages are intact; what does not pass
/// its checksums is left out, and what had left the queue stays out. The new queue comes to be at `folder`, absolute;
/// "": it takes the place of the old one, which is kept beside it. Nothing of the old one is changed. Blocks.
/// Errors: busy (a daemon has it), not_found, exists, denied, full, io.
Result<SalvageReport> salvage(const std::string& data_dir, const std::string& folder);

}  // namespace waypost::queue
