// queue/totals.h: how much is in the queue, counted once and then kept up with what each transaction changes.
#pragma once
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "base/result.h"
#include "queue/message.h"
#include "queue/sqlite.h"

namespace waypost::queue {

/// What was removed and is kept for an undo is among messages and octets, too.
struct Totals {
  std::uint64_t messages = 0, octets = 0;
  std::uint64_t deferred = 0, held = 0, removed = 0;  ///< recipients; removed: those that can be taken back
  /// When the oldest message with such a recipient came, by its id.
  std::optional<WallTime> oldest_deferred, oldest_held;
};

/// Triggers of the connection tell it of each row, so that no operation has to know of it. They are made, and rows are
/// counted, when somebody asks for the first time: who never asks pays nothing. Storage thread.
class TotalsKeeper {
 public:
  /// One turn, of some milliseconds at most. True: totals() is right until the next commit; false: there is more to do.
  Result<bool> count(Database& db);
  Totals totals() const;

  /// What the transaction changed stands, or does not.
  void committed();
  void rolled_back() { changes_.clear(); }

 private:
  enum Kind : std::int64_t { none = -1, deferred = 0, held = 1, removed = 2 };
  /// Of a message's row or of a recipient's.
  struct Change {
    std::int64_t id = 0, messages = 0, octets = 0;
    Kind before = none, after = none;
  };
  /// The oldest message with a recipient of a kind.
  struct Oldest {
    std::int64_t id = std::numeric_limits<std::int64_t>::max();  ///< none is older
    bool known = true;                                           ///< it is this one
  };
  Result<> watch(Database& db);
  Result<> count_slice(Database& db);
  Result<> look_for(Database& db, Kind kind);
  void apply(const Change& change);
  void found(Kind kind, std::int64_t id);

  bool watching_ = false;
  std::int64_t counted_to_ = 0;  // rows of later messages are not in it yet
  std::int64_t messages_ = 0, octets_ = 0;
  std::array<std::int64_t, 3> recipients_{};
  std::array<Oldest, 2> oldest_;
  std::vector<Change> changes_;  // of the transaction
};

}  // namespace waypost::queue
