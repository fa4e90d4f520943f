// queue/admin_operations.h: what an administrator asks for, a slice of the queue in each operation.
#pragma once
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "queue/reading.h"
#include "queue/storage_thread.h"
#include "queue/store_core.h"

namespace waypost::queue {

class ContentOperation : public Operation {
 public:
  explicit ContentOperation(Id id);
  Result<> apply(Database& db) override;
  std::shared_ptr<const Content> content;

 private:
  Id id_;
};

class ListOperation : public Operation {
 public:
  ListOperation(const Filter& filter, const Conditions& conditions, Id after, std::size_t limit);
  Result<> apply(Database& db) override;
  std::vector<MessageRow> messages;
  Slice slice;

 private:
  const Filter& filter_;
  const Conditions& conditions_;
  Id after_;
  std::size_t limit_;
};

class CountOperation : public Operation {
 public:
  CountOperation(const Filter& filter, const Conditions& conditions, Id after, WallTime now);
  Result<> apply(Database& db) override;
  Counts counts;
  Slice slice;

 private:
  const Filter& filter_;
  const Conditions& conditions_;
  Id after_;
  WallTime now_;
};

/// What every slice of a change has in common.
struct ChangePlan {
  Change change;
  Filter filter;
  Conditions conditions;
  std::string reason;
  WallTime now;
};

/// One slice of Store::change(). `dry_run` counts alone, and is a read.
class ChangeOperation : public Operation {
 public:
  ChangeOperation(StoreCore& core, const ChangePlan& plan, Id after, bool dry_run);
  Result<> apply(Database& db) override;
  void committed() override;
  Changed changed;
  Slice slice;

 private:
  Result<> move(Database& db, const Match& match, State to);
  Result<> clear_back_off(Database& db, std::int64_t destination);
  StoreCore& core_;
  const ChangePlan& plan_;
  Id after_;
  bool dry_run_;
  struct Left {
    Id message;
    bool in_file;
  };
  std::vector<Left> left_;
  std::vector<HistoryEvent> history_;
  std::set<std::int64_t> cleared_;  // destinations whose back-off is over
};

/// After the last slice: tells the schedule.
class ChangedOperation : public Operation {
 public:
  explicit ChangedOperation(StoreCore& core);
  Result<> apply(Database& db) override;
  void committed() override;

 private:
  StoreCore& core_;
};

}  // namespace waypost::queue
