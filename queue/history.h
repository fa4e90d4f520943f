// queue/history.h: what became of each message, also after it left. history.db, written in the background.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/clock.h"
#include "queue/id.h"

namespace waypost::queue {

/// One event of a message or of one of its recipients, written after the commit that made it true.
struct HistoryEvent {
  /// Kept in the database by these numbers: add, never renumber.
  enum class Kind : std::uint8_t {
    accepted = 0,
    deferred = 1,
    delivered = 2,
    relayed = 3,
    bounced = 4,
    expired = 5,
    removed = 6,
    held = 7,
    released = 8,
    notified = 9,
    restored = 10
  };
  Id message;
  net::WallTime time;
  Kind kind = Kind::accepted;
  std::string from;       ///< accepted: the reverse-path; "" for the null one
  std::string recipient;  ///< "" for an event of the whole message
  std::string host;       ///< the remote host, or the client for `accepted`
  std::string status;
  std::string text;                           ///< the remote's reply, our reason, or for `accepted` how it came in
  std::string tls;                            ///< of an attempt by SMTP: version, cipher, verdict, policy, names
  std::string message_id;                     ///< accepted
  std::uint64_t size = 0;                     ///< accepted
  std::optional<net::WallTime> next_attempt;  ///< deferred
  std::optional<Id> other;                    ///< notified: the notification; accepted: the message that caused it
};

/// What to look for; what is set must hold. `from` and `to` take patterns as the filter language has them.
struct HistoryQuery {
  std::optional<Id> id;
  std::string message_id, from, to;
  std::optional<net::WallTime> since;
  std::size_t limit = 1000;  ///< messages
};

/// Any thread. Bounded: when its writer does not keep up, events are dropped and counted.
class History {
 public:
  virtual ~History() = default;  ///< writes what is left
  virtual void add(HistoryEvent event) = 0;
  /// Blocks; not on a loop. Writes what is waiting first. Events in order of message and time.
  virtual Result<std::vector<HistoryEvent>> find(const HistoryQuery& query) = 0;
  virtual std::uint64_t dropped() const = 0;
};

/// Opens or makes the file; older events than `keep` go away in the background. Errors: io, damaged, unsupported (newer
/// schema).
Result<std::unique_ptr<History>> open_history(const std::string& path, std::chrono::seconds keep);
/// Reads it while no daemon runs. Never writes. Errors: busy (a daemon has the folder), not_found, and as above.
Result<std::unique_ptr<History>> open_history_read_only(const std::string& path);

}  // namespace waypost::queue
