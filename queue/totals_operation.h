// queue/totals_operation.h: asking for the totals, from a loop.
#pragma once
#include <optional>

#include "net/runtime.h"
#include "net/task.h"
#include "queue/storage_thread.h"
#include "queue/store_core.h"
#include "queue/totals.h"

namespace waypost::queue {

/// One turn of TotalsKeeper::count().
class TotalsOperation : public Operation {
 public:
  explicit TotalsOperation(StoreCore& core) : Operation(Kind::read), core_(core) {}
  Result<> apply(Database& db) override;

  std::optional<Totals> totals;  ///< nullopt: there is more to count

 private:
  StoreCore& core_;
};

/// As SqliteQueue::totals().
net::Task<Result<std::optional<Totals>>> totals_of(StoreCore& core, StorageThread& storage, net::Runtime& runtime);

}  // namespace waypost::queue
