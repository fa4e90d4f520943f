// tests/power/queue_on_disk.h: the real queue on a SimDisk, on the thread of the test.
#pragma once
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net/scope.h"
#include "queue/sqlite_store.h"
#include "tests/support/sim_disk.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::tests::power {

class NoHistory : public queue::History {
 public:
  void add(queue::HistoryEvent) override {}
  Result<std::vector<queue::HistoryEvent>> find(const queue::HistoryQuery&) override {
    return std::vector<queue::HistoryEvent>();
  }
  std::uint64_t dropped() const override { return 0; }
};

/// Knows where the disk stood when the storage thread told of an end, which is before the work that it does next.
class AckRuntime : public VirtualRuntime {
 public:
  explicit AckRuntime(SimDisk& disk) : disk_(disk) {}
  void post(std::function<void()> work) override {
    VirtualRuntime::post([this, work = std::move(work), position = disk_.position()] {
      acked_at_ = position;
      work();
    });
  }
  std::uint64_t acked_at() const { return acked_at_; }

 private:
  SimDisk& disk_;
  std::uint64_t acked_at_ = 0;
};

class QueueOnDisk {
 public:
  static constexpr std::uint64_t kInlineLimit = 2000;
  static constexpr const char* kMaildirs = "/mail/{domain}";

  explicit QueueOnDisk(SimDisk& disk) : disk_(disk), runtime_(disk) {
    disk_.clock = [this] { return runtime_.wall_now(); };
  }
  ~QueueOnDisk() {
    close();
    disk_.clock = nullptr;
  }
  QueueOnDisk(const QueueOnDisk&) = delete;
  QueueOnDisk& operator=(const QueueOnDisk&) = delete;

  Result<> open() {
    queue::StoreOptions options;
    options.data_dir = SimDisk::data_dir();
    options.vfs = disk_.vfs();
    options.inline_limit = kInlineLimit;
    options.own_thread = false;
    Result<std::unique_ptr<queue::SqliteQueue>> opened = queue::SqliteQueue::open(options, disk_.files(), history_);
    if (!opened) return fail(opened.error());
    queue_ = *std::move(opened);
    queue::StoreEvents events;
    events.failed = [this](const Error&) { failed_ = true; };
    queue_->set_events(std::move(events));
    store_ = queue_->store(runtime_);
    folders_ = disk_.open_folder();
    failed_ = false;
    return {};
  }
  /// As a stop of the daemon; of one that was killed where the disk's run is over.
  void close() {
    store_.reset();
    queue_.reset();
  }
  bool failed() const { return failed_; }

  void spawn(net::Task<> task) { scope_.spawn(std::move(task)); }
  /// Until nothing is left to do.
  void pump() {
    do runtime_.run_until_idle();
    while (queue_->run_pending());
    runtime_.run_until_idle();
  }
  template <class T>
  T run(net::Task<T> task) {
    std::optional<T> result;
    spawn(keep(std::move(task), result));
    pump();
    return *std::move(result);
  }

  SimDisk& disk() { return disk_; }
  AckRuntime& runtime() { return runtime_; }
  net::WallTime now() const { return runtime_.wall_now(); }
  std::uint64_t wal_pages() const { return queue_->stats().wal_pages; }
  queue::Store& store() { return *store_; }
  const queue::OpenFolder& folders() const { return folders_; }

  /// All that is queued.
  Result<std::vector<queue::MessageRow>> list() {
    Result<queue::Listing> listing = run(store_->list({}, {}, 100'000, runtime_.wall_now()));
    if (!listing) return fail(listing.error());
    return std::move(listing->messages);
  }
  Result<std::shared_ptr<const queue::Content>> content(queue::Id id) { return run(store_->content(id)); }
  /// The whole body, or why it is not to be had.
  Result<std::string> body(std::shared_ptr<const queue::Content> content) {
    queue::BodyReader reader = store_->read_body(std::move(content));
    std::string all;
    while (true) {
      Result<std::string_view> piece = run(reader.next());
      if (!piece) return fail(piece.error());
      if (piece->empty()) return all;
      all += *piece;
    }
  }

 private:
  template <class T>
  static net::Task<> keep(net::Task<T> task, std::optional<T>& result) {
    result = co_await task;
  }

  SimDisk& disk_;
  AckRuntime runtime_;
  net::Scope scope_{runtime_, [](std::string_view) { std::abort(); }};
  NoHistory history_;
  std::unique_ptr<queue::SqliteQueue> queue_;
  std::unique_ptr<queue::Store> store_;
  queue::OpenFolder folders_;
  bool failed_ = false;
};

inline smtp::Path path_to(const std::string& address) {
  smtp::Path path;
  std::size_t at = address.rfind('@');
  if (at == std::string::npos) return path;
  path.mailbox.local = address.substr(0, at);
  path.mailbox.domain = address.substr(at + 1);
  return path;
}

}  // namespace waypost::tests::power
