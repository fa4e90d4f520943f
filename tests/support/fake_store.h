// tests/support/fake_store.h: a queue::Store in memory: holds commits back, fails them, and shows what was committed.
#pragma once
#include <coroutine>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "queue/files.h"
#include "queue/store.h"

namespace waypost::tests {

/// Files in memory. No power is ever lost.
class MemoryFiles : public queue::Files {
 public:
  Result<std::unique_ptr<queue::File>> create(const std::string& path) override;
  Result<std::unique_ptr<queue::File>> open(const std::string& path) override;
  Result<> rename(const std::string& from, const std::string& to) override;
  Result<> remove(const std::string& path) override;
  Result<> make_folder(const std::string& path) override;
  Result<> sync_folder(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& folder) override;

  /// Appends fail with this from now on; nullopt: they succeed again.
  void fail_appends(std::optional<Errc> code) { failure_ = code; }
  /// What is in the file, or nullopt if there is none.
  std::optional<std::string> octets(const std::string& path) const;
  std::size_t count() const { return files_.size(); }

 private:
  friend class MemoryFile;
  std::map<std::string, std::shared_ptr<std::string>> files_;
  std::optional<Errc> failure_;
};

class FakeStore : public queue::Store {
 public:
  struct Committed {
    queue::NewMessage message;
    std::string body;
    bool in_file = false;
    queue::BodyNotes notes;
    std::optional<queue::Notification> notification;
  };

  explicit FakeStore(net::Runtime& runtime, std::uint64_t inline_limit = 64 * 1024)
      : runtime_(runtime), inline_limit_(inline_limit) {}

  /// Commits wait from now on, until release_commits().
  void hold_commits() { held_ = true; }
  /// Those that wait are done, in their order, and later ones wait no more.
  void release_commits();
  /// Commits fail with this from now on, after they were released; nullopt: they succeed again.
  void fail_commits(std::optional<Errc> code) { failure_ = code; }

  std::vector<Committed> committed;                           ///< durable by now
  std::vector<queue::Settlement> settlements;                 ///< in their order
  std::vector<queue::DestinationState> settled_destinations;  ///< likewise
  std::size_t begun = 0;                                      ///< commits that were asked for
  std::size_t waiting() const { return waiting_.size(); }     ///< commits that are held back
  MemoryFiles files;

  queue::Draft draft() override;
  net::Task<Result<>> commit(queue::NewMessage message, queue::Draft draft, queue::BodyNotes notes,
                             std::optional<queue::Notification> notification) override;
  net::Task<Result<bool>> settle(queue::Settlement settlement) override;
  net::Task<Result<>> settle_destination(queue::DestinationState state) override;
  net::Task<Result<std::vector<queue::DestinationRow>>> destinations(std::string name, bool count,
                                                                     net::WallTime now) override;
  net::Task<Result<>> join_site(std::string destination, std::string site, net::WallTime until) override;
  net::Task<Result<>> change_destination(queue::DestinationChange change) override;
  net::Task<Result<queue::WaitingPage>> waiting(queue::Id after) override;
  net::Task<Result<>> redirect(std::vector<queue::Due> due, queue::WallTime now) override;
  net::Task<Result<bool>> compare_routes(std::uint64_t routes, net::WallTime now) override;
  net::Task<Result<std::shared_ptr<const queue::Content>>> content(queue::Id id) override;
  queue::BodyReader read_body(std::shared_ptr<const queue::Content> content) override;
  /// Nothing is ever due, and nothing overdue: there is no schedule in it.
  net::Task<Result<queue::DuePage>> due(queue::DueQuery query) override;
  net::Task<Result<std::vector<queue::Overdue>>> overdue(net::WallTime now, std::size_t limit) override;
  net::Task<Result<queue::Overdue>> unsettled(queue::Id id) override;
  net::Task<Result<std::size_t>> forward(queue::ForwardRequest request) override;
  net::Task<Result<queue::Matches>> match(queue::Filter filter, queue::Id after, net::WallTime now) override;
  net::Task<Result<std::optional<net::WallTime>>> note_time(std::optional<net::WallTime> now) override;
  net::Task<Result<queue::Undelivered>> undelivered() override;
  net::Task<Result<>> commit_digest(queue::Notification digest, queue::Undelivered told) override;
  /// Errors: unsupported, as the others of the administrator, but for change().
  net::Task<Result<queue::Listing>> list(queue::Filter filter, std::optional<queue::Id> after, std::size_t limit,
                                         net::WallTime now) override;
  net::Task<Result<queue::Counts>> count(queue::Filter filter, net::WallTime now) override;
  net::Task<Result<queue::Groups>> group(queue::Filter filter, queue::GroupBy by, std::size_t limit,
                                         net::WallTime now) override;
  Result<queue::Changed> changed = queue::Changed();  ///< what change() answers
  std::string asked_to_change;                        ///< its last filter, in words
  net::Task<Result<queue::Changed>> change(queue::ChangeRequest request) override;
  net::Task<Result<queue::Changed>> undo(std::uint64_t number, std::string who, net::WallTime now,
                                         queue::Watched progress) override;
  net::Task<Result<>> record(queue::ChangeRecord change) override;
  net::Task<Result<std::vector<queue::ChangeRecord>>> changes(std::uint64_t before, std::size_t limit) override;
  net::Task<Result<>> forget_removed(net::WallTime now, std::stop_token stop) override;

 private:
  struct Gate;
  net::Runtime& runtime_;
  const std::uint64_t inline_limit_;
  queue::IdSource ids_;
  bool held_ = false;
  std::optional<Errc> failure_;
  std::vector<std::coroutine_handle<>> waiting_;
};

}  // namespace waypost::tests
