// queue/reading.h: what an administrator asks of queue.db, in slices: for the store, and for the tool while no daemon
// runs.
#pragma once
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "queue/filter_sql.h"
#include "queue/grouping.h"
#include "queue/rows.h"
#include "queue/store.h"

namespace waypost::queue {

/// Recipients that are looked at together, and those of the last one's message.
constexpr std::size_t kSlice = 300, kSliceToCount = 1000;

/// Messages with ids over `after`, up to `upto`.
struct Slice {
  Id after, upto;
  bool last = false;  ///< there are none behind it
};
/// Where the filter names ids all of them are one slice: they are sought, not looked through.
Result<Slice> next_slice(Database& db, const Filter& filter, Id after, std::size_t recipients = kSlice);

/// At most `limit` of those in the slice that the filter means.
Result<std::vector<MessageRow>> list_slice(Database& db, const Conditions& conditions, const Slice& slice,
                                           std::size_t limit);
/// These two do not read the messages: what is left of one that is lost is counted, as it is changed, and not listed.
Result<> count_slice(Database& db, const Conditions& conditions, const Slice& slice, WallTime now, Counts& into);
Result<> group_slice(Database& db, const Conditions& conditions, const Slice& slice, Grouping& into);

/// The recipients in the slice that the filter means.
struct Match {
  Id message;
  std::int64_t index = 0;  ///< as it stands in the row, though it be damaged
  State state = State::deferred;
  State was = State::deferred;  ///< before the last change
  bool is_kept = false;         ///< it was removed, which may be undone
  std::int64_t next_attempt = 0;
  bool in_due = true;  ///< in the index of what is due
  std::int64_t destination = 0;
  std::string address;
};
Result<std::vector<Match>> match_slice(Database& db, const Conditions& conditions, const Slice& slice);

/// Errors: not_found, damaged.
Result<std::shared_ptr<const Content>> read_content(Database& db, Id id);

}  // namespace waypost::queue
