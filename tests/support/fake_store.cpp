#include "tests/support/fake_store.h"

#include <algorithm>
#include <utility>

namespace waypost::tests {

class MemoryFile : public queue::File {
 public:
  MemoryFile(MemoryFiles& files, std::shared_ptr<std::string> octets) : files_(files), octets_(std::move(octets)) {}

  Result<> append(std::string_view octets) override {
    if (files_.failure_) return fail(*files_.failure_, "append: told to fail");
    octets_->append(octets);
    return {};
  }
  Result<std::size_t> read_at(std::uint64_t offset, std::span<char> into) override {
    if (offset >= octets_->size()) return std::size_t{0};
    return octets_->copy(into.data(), into.size(), offset);
  }
  Result<> sync() override { return {}; }

 private:
  MemoryFiles& files_;
  std::shared_ptr<std::string> octets_;
};

Result<std::unique_ptr<queue::File>> MemoryFiles::create(const std::string& path) {
  auto octets = std::make_shared<std::string>();
  bool is_new = files_.emplace(path, octets).second;
  if (!is_new) return fail(Errc::exists, "create " + path);
  return std::make_unique<MemoryFile>(*this, std::move(octets));
}

Result<std::unique_ptr<queue::File>> MemoryFiles::open(const std::string& path) {
  auto found = files_.find(path);
  if (found == files_.end()) return fail(Errc::not_found, "open " + path);
  return std::make_unique<MemoryFile>(*this, found->second);
}

Result<> MemoryFiles::rename(const std::string& from, const std::string& to) {
  auto found = files_.find(from);
  if (found == files_.end()) return fail(Errc::not_found, "rename " + from);
  files_[to] = found->second;
  files_.erase(from);
  return {};
}

Result<> MemoryFiles::remove(const std::string& path) {
  if (files_.erase(path) == 0) return fail(Errc::not_found, "remove " + path);
  return {};
}

Result<> MemoryFiles::make_folder(const std::string&) {
  return {};
}

Result<> MemoryFiles::sync_folder(const std::string&) {
  return {};
}

Result<std::vector<std::string>> MemoryFiles::list(const std::string& folder) {
  std::vector<std::string> names;
  std::string front = folder + "/";
  for (const auto& [path, octets] : files_)
    if (path.starts_with(front)) names.push_back(path.substr(front.size()));
  return names;
}

std::optional<std::string> MemoryFiles::octets(const std::string& path) const {
  auto found = files_.find(path);
  if (found == files_.end()) return std::nullopt;
  return *found->second;
}

/// Lets commits pass, or holds them until they are released.
struct FakeStore::Gate {
  explicit Gate(FakeStore& of) : store(of) {}
  FakeStore& store;
  bool await_ready() const noexcept { return !store.held_; }
  void await_suspend(std::coroutine_handle<> waiting) const { store.waiting_.push_back(waiting); }
  void await_resume() const noexcept {}
};

void FakeStore::release_commits() {
  held_ = false;
  for (std::coroutine_handle<> waiting : std::exchange(waiting_, {})) runtime_.resume_later(waiting);
}

queue::Draft FakeStore::draft() {
  return queue::Draft(runtime_, files, ids_.next(runtime_.wall_now()), inline_limit_);
}

net::Task<Result<>> FakeStore::commit(queue::NewMessage message, queue::Draft draft, queue::BodyNotes notes,
                                      std::optional<queue::Notification> notification) {
  ++begun;
  Gate gate(*this);
  co_await gate;
  if (failure_) co_return fail(*failure_, "commit: told to fail");
  Result<> finished = co_await draft.finish();
  if (!finished) co_return fail(std::move(finished.error()));

  queue::Draft::Finished body = draft.take();
  Committed done;
  done.in_file = body.in_file;
  done.body = std::move(body.octets);
  if (body.in_file) done.body = files.octets(queue::body_path(message.id.text())).value_or("no such file");
  done.message = std::move(message);
  done.notes = notes;
  done.notification = std::move(notification);
  committed.push_back(std::move(done));
  co_return Result<>();
}

net::Task<Result<bool>> FakeStore::settle(queue::Settlement settlement) {
  settlements.push_back(std::move(settlement));
  co_return true;
}

net::Task<Result<>> FakeStore::settle_destination(queue::DestinationState state) {
  settled_destinations.push_back(std::move(state));
  co_return Result<>();
}

net::Task<Result<std::vector<queue::DestinationRow>>> FakeStore::destinations(std::string, bool, net::WallTime) {
  co_return fail(Errc::unsupported, "destinations");
}

net::Task<Result<>> FakeStore::join_site(std::string, std::string, net::WallTime) {
  co_return Result<>();
}

net::Task<Result<>> FakeStore::change_destination(queue::DestinationChange) {
  co_return fail(Errc::unsupported, "change_destination");
}

net::Task<Result<queue::WaitingPage>> FakeStore::waiting(queue::Id) {
  co_return queue::WaitingPage();
}

net::Task<Result<>> FakeStore::redirect(std::vector<queue::Due>, queue::WallTime) {
  co_return fail(Errc::unsupported, "redirect");
}

net::Task<Result<bool>> FakeStore::compare_routes(std::uint64_t, net::WallTime) {
  co_return false;
}

net::Task<Result<std::shared_ptr<const queue::Content>>> FakeStore::content(queue::Id id) {
  auto found =
      std::find_if(committed.begin(), committed.end(), [id](const Committed& each) { return each.message.id == id; });
  if (found == committed.end()) co_return fail(Errc::not_found, "content of " + id.text());
  auto content = std::make_shared<queue::Content>();
  content->trace = found->message.trace;
  content->id = id;
  content->octets = found->body;
  content->body_size = found->body.size();
  content->checksum = queue::checksum_of(found->body);
  std::shared_ptr<const queue::Content> shared = std::move(content);
  co_return shared;
}

queue::BodyReader FakeStore::read_body(std::shared_ptr<const queue::Content> content) {
  return queue::BodyReader(runtime_, files, std::move(content));
}

net::Task<Result<queue::DuePage>> FakeStore::due(queue::DueQuery) {
  co_return queue::DuePage();
}

net::Task<Result<std::vector<queue::Overdue>>> FakeStore::overdue(net::WallTime, std::size_t) {
  co_return std::vector<queue::Overdue>();
}

net::Task<Result<queue::Overdue>> FakeStore::unsettled(queue::Id) {
  co_return fail(Errc::unsupported, "unsettled");
}

net::Task<Result<std::size_t>> FakeStore::forward(queue::ForwardRequest) {
  co_return fail(Errc::unsupported, "forward");
}

net::Task<Result<queue::Matches>> FakeStore::match(queue::Filter, queue::Id, net::WallTime) {
  co_return fail(Errc::unsupported, "match");
}

net::Task<Result<std::optional<net::WallTime>>> FakeStore::note_time(std::optional<net::WallTime>) {
  co_return std::optional<net::WallTime>();
}

net::Task<Result<queue::Undelivered>> FakeStore::undelivered() {
  co_return queue::Undelivered();
}

net::Task<Result<>> FakeStore::commit_digest(queue::Notification, queue::Undelivered) {
  co_return fail(Errc::unsupported, "commit_digest");
}

net::Task<Result<queue::Listing>> FakeStore::list(queue::Filter, std::optional<queue::Id>, std::size_t, net::WallTime) {
  co_return fail(Errc::unsupported, "list");
}

net::Task<Result<queue::Counts>> FakeStore::count(queue::Filter, net::WallTime) {
  co_return fail(Errc::unsupported, "count");
}

net::Task<Result<queue::Groups>> FakeStore::group(queue::Filter, queue::GroupBy, std::size_t, net::WallTime) {
  co_return fail(Errc::unsupported, "group");
}

net::Task<Result<queue::Changed>> FakeStore::change(queue::ChangeRequest request) {
  asked_to_change = queue::in_words(request.filter);
  co_return changed;
}

net::Task<Result<queue::Changed>> FakeStore::undo(std::uint64_t, std::string, net::WallTime, queue::Watched) {
  co_return fail(Errc::unsupported, "undo");
}

net::Task<Result<>> FakeStore::record(queue::ChangeRecord) {
  co_return fail(Errc::unsupported, "record");
}

net::Task<Result<std::vector<queue::ChangeRecord>>> FakeStore::changes(std::uint64_t, std::size_t) {
  co_return fail(Errc::unsupported, "changes");
}

net::Task<Result<>> FakeStore::forget_removed(net::WallTime, std::stop_token) {
  co_return fail(Errc::unsupported, "forget_removed");
}

}  // namespace waypost::tests
