// queue/stats.h: how much is in the queue's files, asked of the running store; of others: queue/upkeep.h.
#pragma once
#include "net/runtime.h"
#include "net/task.h"
#include "queue/storage_thread.h"
#include "queue/store_core.h"
#include "queue/upkeep.h"

namespace waypost::queue {

/// No row of a message is read but by TotalsKeeper, and destinations are counted some thousand a turn, so that no
/// commit waits for it; spool files are counted off the loop. References outlive it.
net::Task<Result<StoreStats>> stats_of(StoreCore& core, StorageThread& storage, net::Runtime& runtime);

}  // namespace waypost::queue
