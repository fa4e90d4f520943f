// queue/write_operations.h: acceptance and the ends of attempts, as operations on queue.db.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "queue/message.h"
#include "queue/rows.h"
#include "queue/storage_thread.h"
#include "queue/store_core.h"

namespace waypost::queue {

/// A message ready to be written: all that can be done on the caller's loop is done there.
struct Prepared {
  NewMessage message;
  StoredMessage stored;
  std::string reverse_path;
  std::int64_t sum = 0;
  Flow flow;
  struct Recipient {
    std::string address, destination;
  };
  std::vector<Recipient> recipients;  ///< as those of the envelope
  std::shared_ptr<Content> content;
  bool keep_in_memory = false;  ///< content goes with the message to its first attempt
  std::optional<Id> cause;      ///< the message that it is a notification of
};

/// Any thread. Errors: invalid (a recipient without a domain, or none at all).
Result<Prepared> prepare(StoreCore& core, NewMessage message, Draft::Finished body, BodyNotes notes);
Result<Prepared> prepare(StoreCore& core, Notification notification, std::optional<Id> cause);

/// What history says of it; nullopt: nothing.
std::optional<HistoryEvent::Kind> kind_of(Event event);

/// Within a transaction.
Result<> insert(StoreCore& core, Database& db, const Prepared& prepared);
/// After its commit.
void announce(StoreCore& core, Prepared prepared);
/// Likewise, of one with a cause, whose history tells of it.
void announce_notification(StoreCore& core, Prepared prepared, WallTime now);

/// One recipient's row, to move it on.
struct RecipientMove {
  Id message;
  std::int64_t index = 0;
  State state = State::deferred;  ///< after the move
  std::uint32_t attempts = 0;
  WallTime next_attempt;
  std::string status, reply, host;
  std::optional<std::string> asked{};  ///< nullopt: stays as it is
};
Result<> write_move(Database& db, const RecipientMove& move);

/// Removes a message whose recipients have all ended; false if one has not, or is kept. `in_file`: it has a spool file.
Result<bool> remove_if_ended(Database& db, Id message, bool& in_file);
/// Its consequences, after the commit.
void announce_end(StoreCore& core, Id message, bool in_file);

class AcceptOperation : public Operation {
 public:
  AcceptOperation(StoreCore& core, Prepared prepared, std::optional<Prepared> notification);
  Result<> apply(Database& db) override;
  void committed() override;
  bool brings_mail() const override { return true; }

 private:
  StoreCore& core_;
  Prepared prepared_;
  std::optional<Prepared> notification_;
};

/// A spool file could not be synced: as if it had happened in the database (RELIABILITY F12).
class FailOperation : public Operation {
 public:
  explicit FailOperation(Error error) : Operation(Kind::write), error_(std::move(error)) {}
  Result<> apply(Database&) override { return fail(error_); }

 private:
  Error error_;
};

class SettleOperation : public Operation {
 public:
  SettleOperation(StoreCore& core, Settlement settlement, std::vector<Prepared> notifications, WallTime now);
  Result<> apply(Database& db) override;
  void committed() override;
  bool left() const { return left_; }  ///< the message has left the queue
  /// Rows that have ended stay: taking one out of a tree reads the pages beside its own, of which one may be damaged.
  /// An outcome that is not recorded would be attempted again and again.
  void keep_rows() { keeps_rows_ = true; }
  /// Nothing is noted for the digest.
  void without_note() { settlement_.for_digest = false; }

 private:
  Result<> apply_outcomes(Database& db);
  Result<> apply_warning(Database& db);
  Result<bool> is_digest(Database& db);
  Result<> note_undelivered(Database& db);
  StoreCore& core_;
  Settlement settlement_;
  std::vector<Prepared> notifications_;
  WallTime now_;
  // What apply() found.
  std::vector<HistoryEvent> history_;
  bool keeps_rows_ = false;
  bool moved_ = false, ended_ = false, warned_ = false, left_ = false, in_file_ = false;
};

/// Store::undelivered().
class UndeliveredOperation : public Operation {
 public:
  UndeliveredOperation() : Operation(Kind::read) {}
  Result<> apply(Database& db) override;

  Undelivered undelivered;
};

/// Store::commit_digest().
class DigestOperation : public Operation {
 public:
  DigestOperation(StoreCore& core, Prepared digest, std::uint64_t upto, std::uint64_t more);
  Result<> apply(Database& db) override;
  void committed() override { announce(core_, std::move(digest_)); }
  bool brings_mail() const override { return true; }

 private:
  StoreCore& core_;
  Prepared digest_;
  const std::uint64_t upto_, more_;
};

/// Store::note_time().
class NoteTimeOperation : public Operation {
 public:
  explicit NoteTimeOperation(std::optional<WallTime> now);
  Result<> apply(Database& db) override;

  std::optional<WallTime> noted;  ///< before

 private:
  std::optional<WallTime> now_;
};

}  // namespace waypost::queue
