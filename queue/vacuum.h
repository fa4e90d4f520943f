// queue/vacuum.h: giving the free pages of queue.db back to the file system.
//
// By incremental_vacuum, with and without a daemon: each turn is a transaction of a megabyte, so that commits wait for
// one turn at most, and a crash leaves what was committed. VACUUM would write the queue twice beside itself, for which
// a disk that is to be emptied has no room, and all it would gain is an order of pages that a queue loses in a day.
#pragma once
#include <stop_token>

#include "net/runtime.h"
#include "net/task.h"
#include "queue/storage_thread.h"
#include "queue/upkeep.h"

namespace waypost::queue {

/// Of the running store, until no page is free. The file gets smaller with the checkpoints that follow.
/// Errors: full, cancelled (stop, or the store closes), unsupported (a file that cannot shrink so).
net::Task<Result<VacuumReport>> vacuum(StorageThread& storage, net::Runtime& runtime, std::stop_token stop);

}  // namespace waypost::queue
