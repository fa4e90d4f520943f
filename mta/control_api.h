// mta/control_api.h: what an administrator can ask of a relay, without a transport: a request in, an answer out.
//
// The Unix socket serves it (mta/control.h), and the tool itself while no daemon runs (mta/disk_backend.h).
//   GET  /v1/status
//   GET  /v1/health                         {"alerts":[...]}: what has to be looked at; quick whatever the queue holds
//   GET  /v1/queue?filter=&sort=&after=&limit=  a page: {"messages":[...],"resume":ID or null}
//   GET  /v1/queue/count?filter=&by=&limit=  with `by` (queue/grouping.h) {"groups":[...],"others":...}
//   GET  /v1/queue/ID
//   GET  /v1/queue/ID/content?offset=       at most 1 MiB of the message as octets; none at its end
//   POST /v1/queue/change {"change":"hold","ids":[]|"filter":""|"all":true,"reason":"","dry_run":true}
//                                           hold, release, retry, delete ("for_good"), bounce, reroute ("to": a next
//                                           hop, or "usual"), redirect ("to": an address)
//   POST /v1/undo {"change":77}
//   GET  /v1/progress?of=                   how far the work has come that was begun with ?progress= and this name: a
//                                           change, an undo, a check, a backup. 404 before it and after it
//   POST /v1/progress/stop {"of":""}        it ends soon; a change keeps what was done
//   GET  /v1/audit?before=&limit=           the newest first
//   GET  /v1/trace?id=&message_id=&from=&to=&since=&limit=
//   GET  /v1/dest?name=                     those that fail or are held; with a name that one and its site
//   POST /v1/dest/change {"change":"hold","name":"b.example","site":true,"seconds":3600,"reason":""}
//                                           hold, resume, retry, limit; the last with "spacing_ms"
//   POST /v1/attempt/settle {"id":ID,"to":"","delivered":true,"reason":""}
//   GET  /v1/rates
//   GET  /v1/explain?to=&from=&client=&login=&role=
//   GET  /v1/probe?destination=&next_hop=   a session with each of its hosts: may take a minute
//   GET  /v1/watch?from=&direction=in|out&peer=  what was said since line `from`; 0 begins, and says where
//   GET  /v1/config?epoch=                  a configuration that was in force, or the one that is; a list of all
//                                           without their settings: GET /v1/config/epochs
//   GET  /v1/certificates                   those that are in force
//   POST /v1/reload
//   GET  /v1/log?from=&limit=&id=&level=    lines of the log from number `from` on; without it the last ones
//   POST /v1/log/level {"level":"debug","seconds":600}
//   POST /v1/log/reopen
//   GET  /v1/store/stats                    how much is in the queue's files
//   POST /v1/store/vacuum                   gives free pages back, while mail goes on
//   POST /v1/store/check
//   POST /v1/store/backup {"folder":"/srv/backup/monday"}
// An answer over 299 is {"error":"..."}: 400 the request makes no sense, 403 no permission for that folder, 404, 405,
// 409 it is there already, 413 too big, 422 errors in the configuration, 503 try again, 507 disk full, 500 trouble that
// is in the daemon's log.
#pragma once
#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "conf/load.h"
#include "delivery/dispatcher.h"
#include "delivery/probe.h"
#include "mta/certificates.h"
#include "mta/config_epochs.h"
#include "mta/confinement.h"
#include "mta/explain.h"
#include "mta/lately.h"
#include "mta/message_order.h"
#include "mta/rates.h"
#include "net/clock.h"
#include "queue/files.h"
#include "queue/history.h"
#include "queue/progress.h"
#include "queue/sqlite_store.h"
#include "queue/store.h"
#include "queue/upkeep.h"

namespace waypost::mta {

struct ControlRequest {
  std::string method = "GET";
  std::string path;
  std::map<std::string, std::string> query;
  std::string body;
  std::uint32_t uid = std::numeric_limits<std::uint32_t>::max();  ///< who asks, for the log
  bool live = false;                    ///< of the tool: of a running daemon alone, no file is read for it
  std::chrono::milliseconds within{0};  ///< of the tool: an answer in that time is wanted, or none; 0: any time
  std::string parameter(const std::string& name) const;  ///< "" if it is not there
};

struct ControlAnswer {
  int status = 200;
  std::string body;
  std::string type = "application/json";
};

/// What is known of the running daemon.
struct DaemonFacts {
  std::string hostname, config_file, data_dir;
  net::WallTime started, config_loaded;
  std::uint64_t config_epoch = 0;
  bool reload_failed = false;      ///< the last one: the file has errors, the configuration before it is in force
  std::size_t in_connections = 0;  ///< of clients
  Lately lately;
  delivery::Dispatcher::Stats out;
  queue::SqliteQueue::Stats store;
  std::uint64_t history_dropped = 0;
  std::uint64_t corrupt_drops = 0;  ///< files of the drop folder that could not be taken
  Confinement confinement;
};

/// What a reload made of the file. With errors the configuration before it stays in force.
struct ReloadReport {
  std::string file;
  std::vector<conf::Finding> errors, warnings;
  std::vector<std::string> restart;  ///< keys that were changed, and take effect after a restart only
};

/// What the handlers stand on. Calls block, on any thread that is no loop's.
/// Errors of all: those of queue::Store; timed_out, cancelled (the daemon stops), unsupported (not without a daemon).
class ControlBackend {
 public:
  virtual ~ControlBackend() = default;
  virtual Result<queue::Listing> list(const queue::Filter& filter, std::optional<queue::Id> after,
                                      std::size_t limit) = 0;
  virtual Result<queue::Counts> count(const queue::Filter& filter) = 0;
  virtual Result<queue::Groups> group(const queue::Filter& filter, queue::GroupBy by, std::size_t limit) = 0;
  virtual Result<queue::Changed> change(queue::ChangeRequest request) = 0;
  /// As Dispatcher::by_hand().
  virtual Result<delivery::ByHand> by_hand(delivery::HandOrder order) = 0;
  virtual Result<queue::Changed> undo(std::uint64_t number, const std::string& who, queue::Watched progress) = 0;
  virtual Result<> record(queue::ChangeRecord change) = 0;
  virtual Result<std::vector<queue::ChangeRecord>> changes(std::uint64_t before, std::size_t limit) = 0;
  virtual Result<std::shared_ptr<const queue::Content>> content(queue::Id id) = 0;
  /// As Dispatcher::settle_doubt().
  virtual Result<std::size_t> settle_doubt(queue::Id id, const std::string& address, bool delivered,
                                           const std::string& reason) = 0;
  /// `count`: how much waits for each, too.
  virtual Result<std::vector<queue::DestinationRow>> destinations(const std::string& name, bool count) = 0;
  virtual Result<> change_destination(queue::DestinationChange change) = 0;
  virtual Result<Explanation> explain(const ExplainQuery& query) = 0;
  /// As delivery::probe(), of a destination's name.
  virtual Result<delivery::Probe> probe(const std::string& destination) = 0;
  virtual queue::Files& files() = 0;
  virtual Result<std::vector<queue::HistoryEvent>> find(const queue::HistoryQuery& query) = 0;
  virtual Result<DaemonFacts> facts() = 0;
  virtual Result<std::vector<Rates::Row>> rates() = 0;
  virtual Result<ConfigEpochs> epochs() = 0;
  virtual Result<std::vector<ReadCertificate>> certificates() = 0;
  /// Errors: busy (one is under way).
  virtual Result<ReloadReport> reload() = 0;
  virtual Result<queue::StoreStats> store_stats() = 0;
  virtual Result<queue::VacuumReport> vacuum_store() = 0;
  /// Errors of both: busy (one is under way), and as SqliteQueue::back_up() and check().
  virtual Result<queue::CheckReport> check_store(queue::Watched progress) = 0;
  virtual Result<queue::BackupReport> back_up(const std::string& folder, queue::Watched progress) = 0;
  virtual net::WallTime now() = 0;
};

/// Any thread, several at once.
class ControlApi {
 public:
  static constexpr std::size_t kMaxPage = 200;         ///< messages in a page of the queue
  static constexpr std::size_t kMaxRecipients = 5000;  ///< a page ends with the message that goes over it
  static constexpr std::size_t kMaxContent = 1 << 20;  ///< octets of content in one answer
  static constexpr std::size_t kMaxGroups = 1000;      ///< in the answer to a count
  static constexpr std::size_t kMaxTrace = 1000;       ///< messages in the answer to a trace
  static constexpr std::size_t kMaxWatched = 1000;     ///< lines in the answer to a watch
  static constexpr std::size_t kMaxLogged = 2000;      ///< lines in the answer to a question for the log
  static constexpr std::size_t kMaxName = 64;          ///< octets of a name that work is watched by
  static constexpr std::size_t kSample = 3;            ///< ids that show what a change would meet

  explicit ControlApi(ControlBackend& backend) : backend_(backend) {}

  /// Blocks as the backend does. Never throws: trouble is an answer.
  ControlAnswer handle(const ControlRequest& request) noexcept;

 private:
  ControlAnswer route(const ControlRequest& request);
  ControlAnswer status();
  ControlAnswer health();
  ControlAnswer log_lines(const ControlRequest& request);
  ControlAnswer set_log_level(const ControlRequest& request);
  ControlAnswer reopen_log(const ControlRequest& request);
  ControlAnswer list(const ControlRequest& request);
  ControlAnswer sorted(const queue::Filter& filter, MessageOrder order, std::size_t limit);
  ControlAnswer count(const ControlRequest& request);
  ControlAnswer group(const queue::Filter& filter, const ControlRequest& request);
  ControlAnswer show(queue::Id id);
  ControlAnswer content(queue::Id id, const ControlRequest& request);
  ControlAnswer change(const ControlRequest& request);
  ControlAnswer undo(const ControlRequest& request);
  ControlAnswer audit(const ControlRequest& request);
  ControlAnswer progress(const ControlRequest& request);
  ControlAnswer stop_progress(const ControlRequest& request);
  /// Of the work that a request begins; nullptr where it gives it no name. It is known until nobody has it any more.
  queue::Watched begin_work(const ControlRequest& request);
  queue::Watched work_of(const std::string& name);
  ControlAnswer trace(const ControlRequest& request);
  ControlAnswer settle_attempt(const ControlRequest& request);
  ControlAnswer destinations(const ControlRequest& request);
  ControlAnswer change_destination(const ControlRequest& request);
  Result<std::string> state_before(const queue::DestinationChange& change);
  ControlAnswer rates();
  ControlAnswer explain(const ControlRequest& request);
  ControlAnswer probe(const ControlRequest& request);
  ControlAnswer watch(const ControlRequest& request);
  ControlAnswer config(const ControlRequest& request);
  ControlAnswer epochs();
  ControlAnswer certificates();
  ControlAnswer reload(const ControlRequest& request);
  ControlAnswer store_stats();
  ControlAnswer vacuum_store(const ControlRequest& request);
  ControlAnswer check_store(const ControlRequest& request);
  ControlAnswer back_up(const ControlRequest& request);
  /// Into the log, and into the audit.
  void record(const ControlRequest& request, const std::string& what, const std::string& meant,
              const std::string& reason, std::uint64_t messages, std::uint64_t recipients = 0);
  /// All that match, up to `limit` messages.
  Result<std::vector<queue::MessageRow>> rows(const queue::Filter& filter, std::size_t limit);

  ControlBackend& backend_;
  std::mutex mutex_;  // of what follows
  std::map<std::string, std::weak_ptr<queue::Progress>> works_;
};

/// The name of a user of this machine, or "uid=1000".
std::string who_asks(std::uint32_t uid);

/// A parameter that is a number; `otherwise` if it is not there. Errors: invalid.
Result<std::uint64_t> number(const ControlRequest& request, const char* name, std::uint64_t otherwise);

/// The answer that an error makes, with its text.
ControlAnswer answer_of(const Error& error);

}  // namespace waypost::mta
