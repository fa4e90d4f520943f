// queue/destination_operations.h: destinations and sites as operations on queue.db: what became of them, what an
// administrator sees and says of them.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "queue/storage_thread.h"
#include "queue/store.h"
#include "queue/store_core.h"

namespace waypost::queue {

/// Store::settle_destination().
class SettleDestinationOperation : public Operation {
 public:
  explicit SettleDestinationOperation(DestinationState state);
  Result<> apply(Database& db) override;

 private:
  DestinationState state_;
};

/// Store::join_site().
class JoinSiteOperation : public Operation {
 public:
  JoinSiteOperation(std::string name, std::string site, WallTime until);
  Result<> apply(Database& db) override;

 private:
  std::string name_, site_;
  WallTime until_;
};

/// Store::destinations(), a slice: destinations that fail, are held or wait with a site that does, and these sites.
class DestinationsOperation : public Operation {
 public:
  DestinationsOperation(std::int64_t after, bool count, WallTime now);
  Result<> apply(Database& db) override;

  std::vector<DestinationRow> rows;  ///< of a site once for each of its destinations: `waiting` is of that one
  std::int64_t upto = 0;
  bool last = false;

 private:
  Result<> take(Database& db, const Run& row);
  std::int64_t after_;
  bool count_;
  WallTime now_;
  std::uint64_t counted_ = 0;
};

/// A site whose destinations are in several slices is one row.
void gather(std::map<std::string, DestinationRow>& into, std::vector<DestinationRow> rows);
std::vector<DestinationRow> by_name(std::map<std::string, DestinationRow> gathered);

/// The same for one, whatever it does.
class DestinationOperation : public Operation {
 public:
  explicit DestinationOperation(std::string name);
  Result<> apply(Database& db) override;

  std::vector<DestinationRow> rows;  ///< none: there is none of that name; the destination first

 private:
  std::string name_;
};

/// Store::change_destination().
class ChangeDestinationOperation : public Operation {
 public:
  ChangeDestinationOperation(StoreCore& core, DestinationChange change);
  Result<> apply(Database& db) override;
  void committed() override;

 private:
  StoreCore& core_;
  DestinationChange change_;
};

/// Store::waiting().
class WaitingOperation : public Operation {
 public:
  explicit WaitingOperation(Id after) : Operation(Kind::read), after_(after) {}
  Result<> apply(Database& db) override;

  WaitingPage page;

 private:
  Id after_;
};

/// Store::redirect().
class RedirectOperation : public Operation {
 public:
  RedirectOperation(StoreCore& core, std::vector<Due> due, WallTime now);
  Result<> apply(Database& db) override;

 private:
  Result<> redirect(Database& db, const Due& due, std::uint32_t index, std::int64_t destination);
  StoreCore& core_;
  std::vector<Due> due_;
  WallTime now_;
};

/// Store::compare_routes().
class CompareRoutesOperation : public Operation {
 public:
  CompareRoutesOperation(std::uint64_t routes, WallTime now);
  Result<> apply(Database& db) override;

  bool differ = false;

 private:
  std::int64_t routes_;
  WallTime now_;
};

}  // namespace waypost::queue
