// queue/admin_operations.h: what an administrator looks at, a slice of the queue in each operation.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "queue/reading.h"
#include "queue/storage_thread.h"

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

/// Store::match().
class MatchOperation : public Operation {
 public:
  MatchOperation(const Filter& filter, const Conditions& conditions, Id after);
  Result<> apply(Database& db) override;
  Matches matches;

 private:
  const Filter& filter_;
  const Conditions& conditions_;
  Id after_;
};

class CountOperation : public Operation {
 public:
  CountOperation(const Filter& filter, const Conditions& conditions, Id after, WallTime now, Counts& into);
  Result<> apply(Database& db) override;
  Slice slice;

 private:
  const Filter& filter_;
  const Conditions& conditions_;
  Id after_;
  WallTime now_;
  Counts& into_;
};

class GroupOperation : public Operation {
 public:
  GroupOperation(const Filter& filter, const Conditions& conditions, Id after, Grouping& into);
  Result<> apply(Database& db) override;
  Slice slice;

 private:
  const Filter& filter_;
  const Conditions& conditions_;
  Id after_;
  Grouping& into_;
};

}  // namespace waypost::queue
