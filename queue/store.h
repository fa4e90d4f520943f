// queue/store.h: the queue as an interface. Acceptance, attempts' ends and bounces are transactions (DESIGN §4).
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "net/task.h"
#include "queue/body.h"
#include "queue/filter.h"
#include "queue/grouping.h"
#include "queue/message.h"
#include "queue/progress.h"

namespace waypost::queue {

/// Where the pages of a round of what is due go on.
struct DueResume {
  std::uint64_t destination = 0;          ///< the last that was visited
  std::unordered_set<std::string> asked;  ///< sites that fail, one of whose destinations came and will ask
};

/// One page of what is due (Store::due).
struct DuePage {
  std::vector<Due> due;                        ///< oldest first within a flow of a destination
  std::vector<DestinationState> destinations;  ///< of those in `due` and of those visited that wait; each
                                               ///< after its site
  struct More {
    std::string destination;
    std::optional<Flow> flow;  ///< nullopt: of some that were not looked at
  };
  std::vector<More> more;            ///< of what is due, more is in the store than in the page
  std::optional<DueResume> resume;   ///< pass to the next call; nullopt: all destinations were visited
  std::optional<WallTime> next_due;  ///< the earliest later moment among the destinations visited
};

struct DueQuery {
  WallTime now;
  std::size_t limit = 1000;           ///< recipients in the page, about
  std::size_t per_destination = 100;  ///< recipients of one destination, its flows alike
  std::uint64_t chance = 0;           ///< which of very many flows come first
  std::optional<DueResume> resume;
};

/// One page of what waits (Store::waiting).
struct WaitingPage {
  std::vector<Due> due;
  std::optional<Id> resume;  ///< pass to the next call; nullopt: that was all
};

/// What `waypost queue list|show` prints of a recipient.
struct RecipientRow {
  std::uint32_t index = 0;
  smtp::Path forward_path;
  smtp::Notify notify;
  std::string orcpt;
  State state = State::deferred;
  std::uint32_t attempts = 0;
  WallTime next_attempt;            ///< the later one of the recipient's and the destination's
  std::string status, reply, host;  ///< of the last attempt, or of the destination's last failure where that is later
  std::string destination;
};
struct MessageRow {
  MessageInfo info;
  Origin origin;
  std::string message_id;
  std::vector<RecipientRow> recipients;
};
struct Listing {
  std::vector<MessageRow> messages;
  std::optional<Id> resume;  ///< pass as `after` for the next page
};
struct Counts {
  std::uint64_t messages = 0, recipients = 0, active = 0, deferred = 0,
                held = 0;  ///< active: due now; the last three are recipients
  std::uint64_t octets = 0;
  std::optional<WallTime> oldest;  ///< by its id
};
enum class Change : std::uint8_t { hold, release, retry, remove };
/// What an administrator does to recipients.
struct ChangeRequest {
  Change change = Change::hold;
  Filter filter;
  std::string meant;  ///< the filter as it was given
  std::string who;    ///< "": no administrator, so that it is not recorded
  std::string reason;
  bool for_good = false;  ///< remove: nothing is kept to undo it with; also of what was removed before and is kept
  bool dry_run = false;   ///< counts alone
  WallTime now;
  Watched progress;  ///< in messages
};
struct Changed {
  std::uint64_t messages = 0, recipients = 0;
  std::uint64_t number = 0;  ///< of the change; 0 where nothing was changed
  bool stopped = false;      ///< by Progress::stop(), before the end of the queue
};
/// What was done, by whom: a line of the audit.
struct ChangeRecord {
  std::uint64_t number = 0;  ///< they grow, and none is given twice
  WallTime time;
  std::string what;  ///< "hold", "release", "retry", "delete", "undo", "bounce", "dest hold", ...
  std::string who, meant, reason;
  std::uint64_t messages = 0, recipients = 0;
  std::uint64_t undone_by = 0;                  ///< a change; 0: none
  static constexpr std::size_t kMost = 20'000;  ///< older ones are forgotten
};
/// Recipients of a message that are sent elsewhere, as an administrator wants it.
struct ForwardRequest {
  Id message;
  std::vector<std::uint32_t> recipients;  ///< their numbers
  std::optional<smtp::Path> to;  ///< another recipient takes their place, for good; nullopt: the next hop counts
  std::string next_hop;          ///< as the destination's name has it, behind that of the domain; "": the usual one
  std::string reason;
  WallTime now;
};
/// Recipients that a filter means (Store::match).
struct Matches {
  struct Message {
    Id id;
    std::vector<std::uint32_t> recipients;  ///< their numbers
  };
  std::vector<Message> messages;
  std::optional<Id> resume;  ///< pass as `after` to the next call; nullopt: that was all
};
/// For so long a change can be undone, and what was removed is kept.
inline constexpr std::chrono::hours kUndoTime{24};

/// What `waypost dest` prints.
struct DestinationRow {
  DestinationState state;
  std::uint64_t waiting = 0;  ///< recipients, of a site those of its destinations
  bool more = false;          ///< not all were counted
  static constexpr std::uint64_t kCounted = 100'000;
};
struct DestinationChange {
  enum class Kind : std::uint8_t { hold, resume, retry, limit };
  Kind kind = Kind::hold;
  std::string name;
  bool with_site = false;    ///< the site that the destination waits with is meant, where there is one
  WallTime until;            ///< hold, limit
  net::Duration spacing{0};  ///< limit: between two messages
  std::string reason;        ///< hold, limit
  WallTime now;
};

/// The queue, as seen from one loop: every await returns on the loop of the runtime it was made with.
/// Errors of all: full (disk; nothing was done), io (what is on disk is in doubt: the daemon ends), damaged, cancelled
/// (the store is closing; nothing was done), internal.
class Store {
 public:
  virtual ~Store() = default;

  /// Begins a message: its id, and a place for its body.
  virtual Draft draft() = 0;

  /// Promise 1: when this returns without error, message, envelope and body survive a power cut; and with them the
  /// notification that the acceptance causes (an alias was expanded), where there is one.
  virtual net::Task<Result<>> commit(NewMessage message, Draft draft, BodyNotes notes,
                                     std::optional<Notification> notification) = 0;

  /// Promise 2: the outcomes and the notifications they cause, all or nothing. A message whose recipients have all
  /// ended leaves the queue. Outcomes of recipients that are no longer there, or may not make that move, are without
  /// effect. True: the message has left the queue.
  virtual net::Task<Result<bool>> settle(Settlement settlement) = 0;

  /// Records success or failure of a destination, or of a site, as a whole, and whether it is slowed. A hold stays.
  virtual net::Task<Result<>> settle_destination(DestinationState state) = 0;

  /// Until then the destination waits with this site, whenever that waits; "": with none.
  virtual net::Task<Result<>> join_site(std::string destination, std::string site, WallTime until) = 0;

  /// Destinations and sites that fail, are held or slowed, by name; or the one of `name` and its site, whatever they
  /// do. What waits for them is counted if `count` says so: that is a question to many rows.
  virtual net::Task<Result<std::vector<DestinationRow>>> destinations(std::string name, bool count, WallTime now) = 0;
  /// What an administrator says of one. Errors: not_found (of a release or retry).
  virtual net::Task<Result<>> change_destination(DestinationChange change) = 0;
  /// `routes` stands for where mail goes. True if it is another value than the last time: then no destination waits any
  /// more for what failed before, by itself or with its site.
  virtual net::Task<Result<bool>> compare_routes(std::uint64_t routes, WallTime now) = 0;

  /// Errors: not_found.
  virtual net::Task<Result<std::shared_ptr<const Content>>> content(Id id) = 0;
  virtual BodyReader read_body(std::shared_ptr<const Content> content) = 0;

  /// What is due, destinations in turn. Those that wait, or wait with their site, are left out, but for next_due; of a
  /// site that fails and may be asked again, one destination is in a page.
  virtual net::Task<Result<DuePage>> due(DueQuery query) = 0;

  /// Messages with a deferred recipient that have expired or of which a delay notification is due; oldest first.
  virtual net::Task<Result<std::vector<Overdue>>> overdue(WallTime now, std::size_t limit) = 0;

  /// Recipients that are deferred, whenever they are due, of messages after `after` in the order of their ids: of these
  /// no more than their destination, their number, and whose mail it is.
  virtual net::Task<Result<WaitingPage>> waiting(Id after) = 0;
  /// From now on these recipients wait at the destination that is given with them, as long as they are deferred; but
  /// for those whose destination is held.
  virtual net::Task<Result<>> redirect(std::vector<Due> due, WallTime now) = 0;

  /// A message's recipients that are deferred or held, with what is known of their destinations. Errors: not_found.
  virtual net::Task<Result<Overdue>> unsettled(Id id) = 0;

  /// The wall time that was noted last, if one was; `now`, where given, is noted in its place. So a start can tell how
  /// long nothing ran, as far as the clock is to be believed.
  virtual net::Task<Result<std::optional<WallTime>>> note_time(std::optional<WallTime> now) = 0;

  /// What the postmaster was not told yet.
  virtual net::Task<Result<Undelivered>> undelivered() = 0;
  /// A message that tells of it, and that it was told: all or nothing. What came meanwhile stays for the next one.
  virtual net::Task<Result<>> commit_digest(Notification digest, Undelivered told) = 0;

  // For the administrator. These take turns with the mail: a change goes through in slices.
  virtual net::Task<Result<Listing>> list(Filter filter, std::optional<Id> after, std::size_t limit, WallTime now) = 0;
  virtual net::Task<Result<Counts>> count(Filter filter, WallTime now) = 0;
  /// The largest `limit` groups of what the filter means.
  virtual net::Task<Result<Groups>> group(Filter filter, GroupBy by, std::size_t limit, WallTime now) = 0;
  /// How many wait elsewhere now: tried at once where they are deferred. The others are there already, wait no more,
  /// or are damaged. No attempt for one of them is to be under way. Another recipient is as the old one was, and
  /// notifications call it by the address that the sender knows (RFC 3461 §5.2.7); there is none where the address is
  /// among those that wait.
  virtual net::Task<Result<std::size_t>> forward(ForwardRequest request) = 0;
  /// A slice of the recipients that the filter means.
  virtual net::Task<Result<Matches>> match(Filter filter, Id after, WallTime now) = 0;
  /// It is recorded before the first slice; where nothing was changed the record goes again. Stopped it ends after a
  /// slice: what was done until then is the change, which can be undone.
  virtual net::Task<Result<Changed>> change(ChangeRequest request) = 0;
  /// Takes back what is still as hold, release or remove left it; again, where the change went on meanwhile. What was
  /// removed is as it was, octet for octet. Errors: not_found (no such change), invalid (it cannot be undone, or is too
  /// old).
  virtual net::Task<Result<Changed>> undo(std::uint64_t number, std::string who, WallTime now, Watched progress) = 0;
  /// Records what was done to something else than recipients; its number is given to it.
  virtual net::Task<Result<>> record(ChangeRecord change) = 0;
  /// The newest first, with numbers below `before`.
  virtual net::Task<Result<std::vector<ChangeRecord>>> changes(std::uint64_t before, std::size_t limit) = 0;
  /// What was removed longer ago than kUndoTime goes for good, and the oldest records. Until `stop`: the rest next
  /// time.
  virtual net::Task<Result<>> forget_removed(WallTime now, std::stop_token stop) = 0;
};

/// What the store tells the schedule. Called on the storage thread after the commit; must not block or throw.
struct StoreEvents {
  /// Committed messages, by destination: the way from memory to the first attempt.
  std::function<void(std::vector<Due>)> arrived;
  /// An administrator changed what is due: forget what is read ahead, and read again.
  std::function<void()> changed;
  /// A write or sync failed: nothing more is accepted, the process must end with 74 (RELIABILITY F12).
  std::function<void(const Error&)> failed;
};

}  // namespace waypost::queue
