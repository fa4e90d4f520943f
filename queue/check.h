// queue/check.h: whether a queue is sound: the trees of queue.db, the sums of its rows, every body. Reads alone.
#pragma once
#include <optional>
#include <stop_token>

#include "base/result.h"
#include "queue/files.h"
#include "queue/id.h"
#include "queue/progress.h"
#include "queue/sqlite.h"
#include "queue/upkeep.h"

namespace waypost::queue {

/// Of a database that nobody writes, with the spool files of `files`. Blocks: it reads all of both. Files of ids above
/// `settled` are not left over: their mail may be coming in.
/// Errors: as Files::list(); cancelled (`stop`). Damage is no error.
Result<CheckReport> check_database(Database& db, Files& files, std::optional<Id> settled, const std::stop_token& stop,
                                   const Watched& progress);

}  // namespace waypost::queue
