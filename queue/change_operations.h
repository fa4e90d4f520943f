// queue/change_operations.h: what an administrator changes, a slice of the queue in each operation, and the record of
// it.
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "queue/reading.h"
#include "queue/storage_thread.h"
#include "queue/store_core.h"

namespace waypost::queue {

std::string_view to_text(Change change);  ///< "hold", ..., "delete": ChangeRecord::what

/// What undoes a change of a recipient that `was` in that state before it; nullopt: nothing does.
std::optional<Event> undoing(Change change, State was);

/// What every slice of a change has in common.
struct ChangePlan {
  Change change;  ///< also where it is to be undone
  bool undo = false;
  Filter filter;
  Conditions conditions;
  std::string reason;
  bool for_good = false;
  bool dry_run = false;
  WallTime now;
  Id newest;                 ///< message, when it began
  std::uint64_t number = 0;  ///< of its record; that of the undo, where it is one
  Watched progress;
};

/// Writes the record; `change.number` is its number then.
class RecordOperation : public Operation {
 public:
  explicit RecordOperation(ChangeRecord& record) : Operation(Kind::write, 512), record_(record) {}
  Result<> apply(Database& db) override;

 private:
  ChangeRecord& record_;
};

/// Reads one that may be undone. Errors: as Store::undo().
class UndoableOperation : public Operation {
 public:
  UndoableOperation(std::uint64_t number, WallTime now) : Operation(Kind::read), number_(number), now_(now) {}
  Result<> apply(Database& db) override;

  Change change = Change::hold;

 private:
  std::uint64_t number_;
  WallTime now_;
};

/// One turn of Store::change() or undo(). A dry run counts alone, and is a read.
class ChangeOperation : public Operation {
 public:
  ChangeOperation(StoreCore& core, const ChangePlan& plan, Id after);
  Result<> apply(Database& db) override;
  void committed() override;
  Changed changed;
  Slice slice;

 private:
  Result<> change_slice(Database& db);
  std::optional<Event> event_for(const Match& match) const;
  Result<> move(Database& db, const Match& match, Event event, State to);
  Result<> clear_back_off(Database& db, std::int64_t destination);
  Result<> message_done(Database& db, Id message);
  Result<> add_to_record(Database& db);

  StoreCore& core_;
  const ChangePlan& plan_;
  Id after_;
  struct Left {
    Id message;
    bool in_file;
  };
  std::vector<Left> left_;
  std::vector<HistoryEvent> history_;
  std::set<std::int64_t> destinations_;  // whose back-off is over, or whose rows stay
};

/// After the last slice: a record of nothing goes, one that was undone says so, and the schedule is told.
class ChangedOperation : public Operation {
 public:
  ChangedOperation(StoreCore& core, std::uint64_t number, std::uint64_t undone, bool any);
  Result<> apply(Database& db) override;
  void committed() override;

 private:
  StoreCore& core_;
  std::uint64_t number_, undone_;
  bool any_;
};

/// Store::changes().
class ChangesOperation : public Operation {
 public:
  ChangesOperation(std::uint64_t before, std::size_t limit) : Operation(Kind::read), before_(before), limit_(limit) {}
  Result<> apply(Database& db) override;

  std::vector<ChangeRecord> changes;

 private:
  std::uint64_t before_;
  std::size_t limit_;
};

/// Whether recipients are kept that were removed too long ago; and the oldest records go.
class ForgettableOperation : public Operation {
 public:
  explicit ForgettableOperation(WallTime now) : Operation(Kind::write, 512), now_(now) {}
  Result<> apply(Database& db) override;

  bool any = false;

 private:
  WallTime now_;
};

/// One slice of all that is kept: what was removed too long ago goes for good.
class ForgetOperation : public Operation {
 public:
  /// As recipient_kept has them in order.
  struct Place {
    Id message;
    std::int64_t index = 0;
  };
  ForgetOperation(StoreCore& core, Place after, WallTime now);
  Result<> apply(Database& db) override;
  void committed() override;
  Place place;  ///< of the last one
  bool last = false;

 private:
  StoreCore& core_;
  Place after_;
  WallTime now_;
  std::vector<Id> files_;
};

}  // namespace waypost::queue
