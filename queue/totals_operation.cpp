#include "queue/totals_operation.h"

namespace waypost::queue {
namespace {

/// For so long who asks has the rows counted, between commits, before it is told to come again.
constexpr net::Duration kPatience = std::chrono::seconds(2);

}  // namespace

Result<> TotalsOperation::apply(Database& db) {
  totals.reset();
  Result<bool> whole = core_.totals().count(db);
  if (!whole) return fail(whole.error());
  if (*whole) totals = core_.totals().totals();
  return {};
}

net::Task<Result<std::optional<Totals>>> totals_of(StoreCore& core, StorageThread& storage, net::Runtime& runtime) {
  const net::TimePoint until = runtime.now() + kPatience;
  for (;;) {
    TotalsOperation operation(core);
    Submit end(storage, runtime, operation);
    Result<> done = co_await end;
    if (!done) co_return fail(done.error());
    if (operation.totals || runtime.now() >= until) co_return operation.totals;
  }
}

}  // namespace waypost::queue
