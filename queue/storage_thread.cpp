// queue/storage_thread.cpp
#include "queue/storage_thread.h"

#include <algorithm>
#include <utility>

#include "base/metrics.h"
#include "base/thread_name.h"

namespace waypost::queue {
namespace {

constexpr std::size_t kBatchOperations = 256;
constexpr std::size_t kBatchOctets = 8 << 20;
// Waiting a moment makes batches larger where several sessions are at it; a single one would only be slowed down
// (MEASURED: gather pause).
constexpr std::size_t kGatherFrom = 3;
constexpr std::chrono::microseconds kGather{60};
// A WAL that is used again and again is faster than one that grows, and a page that many messages change is moved once.
// Mail waits meanwhile, for 20 to 60 ms.
constexpr std::uint64_t kCheckpointPages = 4000;
constexpr std::chrono::milliseconds kIdle{100};
// What goes through the queue goes on so long. One that only reads ends sooner when somebody waits: to come again costs
// it little, where a change would commit once more.
constexpr std::chrono::milliseconds kTurn{4}, kLeastTurnOfRead{2};
// Of a bulk change, whose pages lie apart: their moving keeps mail waiting.
constexpr std::uint64_t kCheckpointPagesOfBulk = 800;
constexpr std::chrono::milliseconds kBulkGoesOn{300};
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kWorthMoving = 256;  // pages of the WAL, when it is the disk's room that is looked for

}  // namespace

StorageThread::StorageThread(Database db, StorageHooks& hooks, bool own_thread)
    : db_(std::move(db)), hooks_(hooks), own_thread_(own_thread) {
  db_->watch_wal([this](int pages) { wal_pages_ = static_cast<std::uint64_t>(std::max(pages, 0)); });
  if (own_thread) thread_ = std::thread([this] { thread_main(); });
}

StorageThread::~StorageThread() {
  stop();
}

void StorageThread::submit(Operation& operation) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    incoming_.push_back(&operation);
    others_wait_.store(true, std::memory_order_relaxed);
    // A thread that runs a batch looks here again by itself.
    wake = std::exchange(asleep_, false);
  }
  if (wake) wake_.notify_one();
}

// noexcept: an exception here ends the process, whose queue is on disk (STYLE: three kinds of "no").
void StorageThread::thread_main() noexcept {
  name_thread("storage");
  std::size_t last = 0;
  while (wait_for_work()) {
    if (last >= kGatherFrom) std::this_thread::sleep_for(kGather);
    last = run_batch();
  }
}

/// False when there is nothing left to do and the end was asked for.
bool StorageThread::wait_for_work() {
  std::unique_lock lock(mutex_);
  while (incoming_.empty() && bulk_.empty() && !stopping_) {
    asleep_ = true;
    if (!work_for_idle_) {
      wake_.wait(lock);
      continue;
    }
    auto awake = [this] { return !incoming_.empty() || stopping_; };
    bool woken = wake_.wait_for(lock, kIdle, awake);
    if (woken) break;
    asleep_ = false;
    lock.unlock();
    idle_work();
    lock.lock();
  }
  asleep_ = false;
  return !incoming_.empty() || !bulk_.empty();
}

bool StorageThread::run_pending() {
  return run_batch() > 0;
}

bool StorageThread::run_idle() {
  if (work_for_idle_) idle_work();
  return work_for_idle_;
}

void StorageThread::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  while (run_batch() > 0) continue;
  // Closing makes the last checkpoint: not when a sync failed, since what it would move is in doubt.
  if (db_ && (failed_ || !hooks_.closing(*db_))) db_->abandon();
  db_.reset();
}

bool StorageThread::take_batch() {
  writes_.clear();
  reads_.clear();
  std::size_t octets = 0;
  std::lock_guard lock(mutex_);
  for (std::size_t taken = 0; !incoming_.empty() && taken < kBatchOperations && octets < kBatchOctets; ++taken) {
    Operation* next = incoming_.front();
    incoming_.pop_front();
    octets += next->octets_;
    if (next->kind_ == Operation::Kind::bulk)
      bulk_.push_back(next);
    else
      (next->kind_ == Operation::Kind::write ? writes_ : reads_).push_back(next);
  }
  others_wait_.store(!incoming_.empty(), std::memory_order_relaxed);
  return !writes_.empty() || !bulk_.empty() || !reads_.empty();
}

/// The operations that were done; 0: none waited.
std::size_t StorageThread::run_batch() {
  if (!take_batch()) return 0;
  std::size_t count = writes_.size() + reads_.size() + (bulk_.empty() ? 0 : 1);
  operations_ += count;
  work_for_idle_ = true;
  if (!writes_.empty()) {
    run_writes(writes_);
    complete(writes_);
  }
  if (!bulk_.empty()) {
    // What came with the batch is on its way before anything is made of it.
    hooks_.batch_done();
    run_bulk();
  }
  if (!reads_.empty()) {
    run_reads();
    complete(reads_);
  }
  hooks_.batch_done();
  // After the completions: nobody waits for the checkpoint but who comes next.
  if (wal_pages_ >= (bulk_goes_on() ? kCheckpointPagesOfBulk : kCheckpointPages)) checkpoint();
  housekeep(false);
  return count;
}

void StorageThread::run_writes(const Batch& writes) {
  const Batch batch = admitted(writes);
  if (batch.empty()) return;
  Result<> all = run_together(batch);
  const bool full = !all && all.error().code == Errc::full;
  if (all || failed_ || (batch.size() == 1 && !full)) {
    for (Operation* operation : batch) operation->result_ = all;
    return;
  }
  // One of them failed, or the disk is full. Each for itself, so that it fails alone; where it is full, what makes room
  // goes through. Pages that were moved out of the WAL make room in it. New mail first, so that it takes nothing of the
  // room that is made for the others.
  if (full) checkpoint();
  for (Operation* operation : batch) operation->turn_ = {};  // as little as may be
  for (const bool mail : {true, false})
    for (Operation* operation : batch)
      if (operation->brings_mail() == mail) operation->result_ = mail ? run_together({operation}) : run_out(*operation);
}

/// What may make room, and must go through. Where the database cannot even grow by what stands in the WAL, which then
/// cannot begin anew, the ballast makes the room for that.
Result<> StorageThread::run_out(Operation& operation) {
  Result<> done = run_together({&operation});
  if (done || done.error().code != Errc::full || !hooks_.make_room()) return done;
  checkpoint();
  return run_together({&operation});
}

/// What waits, without new mail for which there is no room: that is refused before it costs the others a transaction.
StorageThread::Batch StorageThread::admitted(const Batch& writes) {
  std::uint64_t octets = 0;
  for (const Operation* operation : writes)
    if (operation->brings_mail()) octets += operation->octets_;
  if (octets == 0 || failed_ || !db_ || has_room(octets)) return writes;
  Batch rest;
  for (Operation* operation : writes) {
    if (operation->brings_mail())
      operation->result_ = fail(Errc::full, "the disk is nearly full");
    else
      rest.push_back(operation);
  }
  return rest;
}

/// New mail is written to the WAL first and to the database later, as what stands in the WAL will be.
bool StorageThread::has_room(std::uint64_t octets) {
  if (hooks_.has_room(*db_, 2 * octets + wal_pages_ * kPage)) return true;
  if (wal_pages_ < kWorthMoving) return false;
  checkpoint();
  return !failed_ && hooks_.has_room(*db_, 2 * octets + wal_pages_ * kPage);
}

/// One transaction. Nothing of it stands after an error.
Result<> StorageThread::run_together(const Batch& operations) {
  if (failed_) return fail(*failed_);
  if (!db_) return fail(Errc::cancelled, "the store is closed");
  const auto began = std::chrono::steady_clock::now();
  Transaction transaction(*db_);
  Result<> done = transaction.begin();
  bool of_operation = false;
  for (std::size_t i = 0; done && i < operations.size(); ++i) {
    done = operations[i]->apply(*db_);
    of_operation = !done;
  }
  if (done) done = transaction.commit();
  if (!done) {
    db_->roll_back();
    hooks_.rolled_back();
    // Damage that no operation met is of the whole database: nothing would be recorded any more.
    const bool damaged = done.error().code == Errc::damaged && !of_operation;
    if (damaged || done.error().code == Errc::io) fail_for_good(done.error());
    return done;
  }
  commits_ += 1;
  metrics::events().commit.observe(std::chrono::steady_clock::now() - began);
  metrics::events().commit_batch.observe(static_cast<double>(operations.size()));
  hooks_.committed();
  for (Operation* operation : operations) operation->committed();
  return done;
}

/// The next one. Those behind it come after the mail that comes meanwhile.
void StorageThread::run_bulk() {
  const Batch alone{bulk_.front()};
  bulk_.pop_front();
  alone.front()->turn_ = turn(kTurn);
  run_writes(alone);
  complete(alone);
  if (own_thread_) last_bulk_ = std::chrono::steady_clock::now();
}

/// Without a thread of its own, in tests, each slice is a turn: time is not the clock's then.
Operation::Turn StorageThread::turn(std::chrono::milliseconds least) const {
  if (!own_thread_) return {};
  const auto now = std::chrono::steady_clock::now();
  return {now + least, now + kTurn, &others_wait_};
}

bool StorageThread::bulk_goes_on() const {
  return !bulk_.empty() || (own_thread_ && std::chrono::steady_clock::now() - last_bulk_ < kBulkGoesOn);
}

void StorageThread::run_reads() {
  const Operation::Turn turn = this->turn(kLeastTurnOfRead);
  for (Operation* operation : reads_) {
    if (failed_) {
      operation->result_ = fail(*failed_);
    } else if (!db_) {
      operation->result_ = fail(Errc::cancelled, "the store is closed");
    } else {
      operation->turn_ = turn;
      operation->result_ = operation->apply(*db_);
      if (operation->result_) operation->committed();
    }
  }
}

/// One post for each runtime. An operation may be gone as soon as its runtime has it.
void StorageThread::complete(const Batch& operations) {
  std::vector<std::pair<net::Runtime*, std::vector<std::coroutine_handle<>>>> ends;
  for (Operation* operation : operations) {
    auto mine = std::find_if(ends.begin(), ends.end(),
                             [operation](const auto& end) { return end.first == operation->runtime_; });
    if (mine == ends.end()) mine = ends.insert(ends.end(), {operation->runtime_, {}});
    mine->second.push_back(operation->waiting_);
  }
  for (auto& [runtime, waiting] : ends)
    runtime->post([mine = std::move(waiting)] {
      for (std::coroutine_handle<> handle : mine) handle.resume();
    });
}

void StorageThread::fail_for_good(const Error& error) {
  if (failed_) return;
  failed_ = error;
  hooks_.failed(error);
}

void StorageThread::checkpoint() {
  if (!db_ || failed_) return;
  const auto began = std::chrono::steady_clock::now();
  Result<Database::Checkpointed> done = db_->checkpoint();
  metrics::events().checkpoint.observe(std::chrono::steady_clock::now() - began);
  if (!done) {
    // A full disk: the WAL goes on growing where it can, and the next checkpoint tries again.
    if (done.error().code == Errc::io) fail_for_good(done.error());
    return;
  }
  // The next writer begins at the start of the WAL again.
  if (done->moved == done->wal_pages) wal_pages_ = 0;
}

void StorageThread::idle_work() {
  work_for_idle_ = false;
  if (wal_pages_ > 0) checkpoint();
  housekeep(true);
}

void StorageThread::housekeep(bool idle) {
  if (!db_ || failed_) return;
  Result<bool> more = hooks_.housekeeping(*db_, idle);
  if (!more && more.error().code == Errc::io) fail_for_good(more.error());
  if (more && *more) work_for_idle_ = true;
}

}  // namespace waypost::queue
