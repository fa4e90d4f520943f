// queue/due_operations.h: what is due, what is overdue, and what cannot be read, as operations on queue.db.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "queue/rows.h"
#include "queue/storage_thread.h"
#include "queue/store_core.h"

namespace waypost::queue {

/// Store::due(). Goes from destination to destination by one seek each: a backlog in back-off costs no more than that.
class DueOperation : public Operation {
 public:
  /// What is done about recipients in the index that are held, or were removed: found first in a page they end it, to
  /// be taken out; or those of the first destination are passed, however many they are.
  enum class SetAside : std::uint8_t { find, pass };
  DueOperation(DueQuery query, SetAside of_them);
  Result<> apply(Database& db) override;

  DuePage page;
  std::vector<Id> damaged;  ///< messages that were left out
  /// Of the one destination that was visited, by message and index. The page is empty then, and resumes with it.
  std::vector<std::pair<Id, std::int64_t>> set_aside;

 private:
  struct Destination {
    std::int64_t id = 0;
    DestinationState state, site;  ///< a site without a name: none that it waits with
  };
  Result<std::optional<Destination>> next_destination(Database& db, std::int64_t after);
  Result<std::size_t> visit(Database& db, const Destination& destination);
  void add_states(const Destination& destination);
  /// One of a destination's flows with recipients that are due.
  struct DueFlow {
    Flow flow;
    std::size_t read = 0;  ///< rows of the index
    bool more = true;      ///< there may be
  };
  Result<std::vector<DueFlow>> due_flows(Database& db, std::int64_t destination);
  /// How many that are deferred; at most `limit`.
  Result<std::size_t> read(Database& db, const Destination& destination, DueFlow& flow, std::size_t limit);
  Result<> note_later(Database& db, std::int64_t destination, Flow flow);
  void later(std::int64_t moment);
  /// The same for every recipient of the page; null if it is damaged.
  Result<std::shared_ptr<const MessageInfo>> message(Database& db, Id id);

  DueQuery query_;
  SetAside of_them_;
  std::unordered_set<std::string> asked_;                  ///< DueResume::asked, of this page and of those before
  std::unordered_map<std::uint64_t, std::size_t> places_;  ///< of a message of the destination, in page.due
  std::unordered_map<std::uint64_t, std::shared_ptr<const MessageInfo>> messages_;
};

/// Up to where overdue messages were looked at, in their order.
struct OverduePlace {
  std::int64_t check_at = 0;
  Id id;
};

/// Store::overdue(), a page. A read: SQLite commits no transaction in which it met a damaged page, not even one that
/// was read.
class OverdueOperation : public Operation {
 public:
  OverdueOperation(WallTime now, std::size_t limit, OverduePlace after);
  Result<> apply(Database& db) override;

  std::vector<Overdue> overdue;
  std::vector<Id> damaged;
  std::vector<Id> later;  ///< of which all is held: to be looked at again later
  OverduePlace place;     ///< of the last one
  bool last = true;       ///< there are no more

 private:
  WallTime now_;
  std::size_t limit_;
  OverduePlace after_;
};

/// Store::unsettled().
class UnsettledOperation : public Operation {
 public:
  explicit UnsettledOperation(Id id) : Operation(Kind::read), id_(id) {}
  Result<> apply(Database& db) override;
  Overdue found;

 private:
  Id id_;
};

/// `message.check_at` where only an undo brings recipients back: they were all removed.
constexpr std::int64_t kNeverLookedAt = INT64_MAX / 2;
constexpr std::chrono::hours kLookAgainAfter{1};

/// Messages of which all is held are not overdue again for an hour.
class LookAgainOperation : public Operation {
 public:
  LookAgainOperation(std::vector<Id> messages, WallTime now);
  Result<> apply(Database& db) override;

 private:
  std::vector<Id> messages_;
  WallTime now_;
};

/// Takes recipients out of the index of what is due, those that are set aside still.
class TakeOutOperation : public Operation {
 public:
  explicit TakeOutOperation(std::vector<std::pair<Id, std::int64_t>> recipients);
  Result<> apply(Database& db) override;
  /// Not for this is the disk's last room: what stays in the index can be passed.
  bool brings_mail() const override { return true; }
  bool any = false;  ///< false: none is set aside any more, or none can be taken out

 private:
  std::vector<std::pair<Id, std::int64_t>> recipients_;
};

/// Takes damaged messages out of what is due, until an administrator looks at them.
class HoldDamagedOperation : public Operation {
 public:
  HoldDamagedOperation(StoreCore& core, std::vector<Id> messages, WallTime now);
  Result<> apply(Database& db) override;
  void committed() override;

 private:
  static Result<> keep_destinations(Database& db, Id id);

  StoreCore& core_;
  std::vector<Id> messages_, held_;
  WallTime now_;
};

}  // namespace waypost::queue
