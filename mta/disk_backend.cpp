#include "mta/disk_backend.h"

#include <utility>

#include "mta/state_file.h"

namespace waypost::mta {
namespace {

Error needs_daemon() {
  return Error(Errc::unsupported, "only a running daemon can do this");
}

class DiskBackend : public ControlBackend {
 public:
  DiskBackend(std::string data_dir, std::unique_ptr<queue::QueueReader> reader, std::unique_ptr<queue::Files> files,
              std::unique_ptr<queue::History> history)
      : data_dir_(std::move(data_dir)),
        reader_(std::move(reader)),
        files_(std::move(files)),
        history_(std::move(history)) {}

  Result<queue::Listing> list(const queue::Filter& filter, std::optional<queue::Id> after, std::size_t limit) override {
    return reader_->list(filter, after, limit, now());
  }
  Result<queue::Counts> count(const queue::Filter& filter) override { return reader_->count(filter, now()); }
  Result<queue::Groups> group(const queue::Filter& filter, queue::GroupBy by, std::size_t limit) override {
    return reader_->group(filter, by, limit, now());
  }
  Result<queue::Changed> change(queue::ChangeRequest) override { return fail(needs_daemon()); }
  Result<delivery::ByHand> by_hand(delivery::HandOrder) override { return fail(needs_daemon()); }
  Result<queue::Changed> undo(std::uint64_t, const std::string&, queue::Watched) override {
    return fail(needs_daemon());
  }
  Result<> record(queue::ChangeRecord) override { return fail(needs_daemon()); }
  Result<std::vector<queue::ChangeRecord>> changes(std::uint64_t before, std::size_t limit) override {
    return reader_->changes(before, limit);
  }
  Result<std::shared_ptr<const queue::Content>> content(queue::Id id) override { return reader_->content(id); }
  Result<std::vector<queue::DestinationRow>> destinations(const std::string& name, bool count) override {
    return reader_->destinations(name, count, now());
  }
  Result<std::size_t> settle_doubt(queue::Id, const std::string&, bool, const std::string&) override {
    return fail(needs_daemon());
  }
  Result<> change_destination(queue::DestinationChange) override { return fail(needs_daemon()); }
  Result<Explanation> explain(const ExplainQuery&) override { return fail(needs_daemon()); }
  Result<delivery::Probe> probe(const std::string&) override { return fail(needs_daemon()); }
  queue::Files& files() override { return *files_; }
  Result<std::vector<queue::HistoryEvent>> find(const queue::HistoryQuery& query) override {
    // A queue that never had mail has no history yet.
    if (!history_) return std::vector<queue::HistoryEvent>();
    return history_->find(query);
  }
  Result<DaemonFacts> facts() override { return fail(needs_daemon()); }
  Result<std::vector<Rates::Row>> rates() override { return fail(needs_daemon()); }
  Result<ConfigEpochs> epochs() override {
    const Result<std::string> text = read_state(*files_, ConfigEpochs::kFile);
    if (!text && text.error().code != Errc::not_found) return fail(text.error());
    return ConfigEpochs::parse(text ? *text : "");
  }
  Result<std::vector<ReadCertificate>> certificates() override { return fail(needs_daemon()); }
  Result<ReloadReport> reload() override { return fail(needs_daemon()); }
  Result<queue::StoreStats> store_stats() override { return queue::stats_of_folder(data_dir_); }
  Result<queue::VacuumReport> vacuum_store() override { return queue::vacuum_folder(data_dir_); }
  Result<queue::CheckReport> check_store(queue::Watched progress) override {
    return queue::check_folder(data_dir_, progress);
  }
  Result<queue::BackupReport> back_up(const std::string& folder, queue::Watched progress) override {
    return queue::back_up_folder(data_dir_, folder, progress);
  }
  net::WallTime now() override {
    return std::chrono::time_point_cast<net::WallTime::duration>(std::chrono::system_clock::now());
  }

 private:
  std::string data_dir_;
  std::unique_ptr<queue::QueueReader> reader_;
  std::unique_ptr<queue::Files> files_;
  std::unique_ptr<queue::History> history_;
};

}  // namespace

Result<std::unique_ptr<ControlBackend>> open_disk_backend(const std::string& data_dir) {
  // The queue first: its lock keeps daemons out, and it says whether there is anything at all.
  Result<std::unique_ptr<queue::QueueReader>> reader = queue::QueueReader::open(data_dir);
  if (!reader) return fail(reader.error());
  Result<std::unique_ptr<queue::Files>> files = queue::open_files(data_dir);
  if (!files) return fail(files.error());
  Result<std::unique_ptr<queue::History>> history = queue::open_history_read_only(data_dir + "/history.db");
  if (!history && history.error().code != Errc::not_found) return fail(history.error());
  std::unique_ptr<queue::History> opened = history ? *std::move(history) : nullptr;
  return std::make_unique<DiskBackend>(data_dir, *std::move(reader), *std::move(files), std::move(opened));
}

std::unique_ptr<ControlBackend> open_store_backend(const std::string& data_dir) {
  return std::make_unique<DiskBackend>(data_dir, nullptr, nullptr, nullptr);
}

}  // namespace waypost::mta
