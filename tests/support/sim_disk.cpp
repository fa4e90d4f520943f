#include "tests/support/sim_disk.h"

#include <utility>

#include "tests/support/disk_run.h"

namespace waypost::tests {
namespace {

/// Another number for another purpose.
std::uint64_t mixed(std::uint64_t seed, std::uint64_t with) {
  std::uint64_t x = seed + 0x9E3779B97F4A7C15u * (with + 1);
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

DiskState with_data_folder() {
  DiskState state;
  DiskChange folder;
  folder.kind = DiskChange::Kind::make_folder;
  folder.path = SimDisk::data_dir();
  state.apply(folder);
  DiskChange certain;
  certain.kind = DiskChange::Kind::write_back;
  state.apply(certain);
  return state;
}

}  // namespace

const char* name_of(Call::Kind kind) {
  constexpr const char* kNames[] = {"open",   "create", "read",        "write",       "truncate", "sync",
                                    "rename", "remove", "make_folder", "sync_folder", "list"};
  return kNames[static_cast<std::size_t>(kind)];
}

SimDisk::SimDisk(std::uint64_t seed) : SimDisk(seed, with_data_folder()) {}

SimDisk::SimDisk(std::uint64_t seed, DiskState state) : seed_(seed), state_(std::move(state)) {
  begin_run();
}

SimDisk::~SimDisk() = default;

const std::string& SimDisk::data_dir() {
  static const std::string kDataDir = "/data";
  return kDataDir;
}

// A number of its own for each run: salts of a WAL that came twice would make old frames look new.
void SimDisk::begin_run() {
  runs_.push_back(std::make_unique<DiskRun>(*this, mixed(mixed(seed_, runs_.size()), position_)));
  in_use_.clear();
  off_ = false;
}

const std::string& SimDisk::vfs() const {
  return runs_.back()->vfs();
}

queue::Files& SimDisk::files() {
  return runs_.back()->files();
}

queue::OpenFolder SimDisk::open_folder() {
  DiskRun* run = runs_.back().get();
  return [run](const std::string& path, bool make) -> Result<std::unique_ptr<queue::Files>> {
    Result<> there = make ? run->make_folders(path) : run->open_folder(path);
    if (!there) return fail(there.error());
    return run->view(path);
  };
}

void SimDisk::lose_power(std::uint64_t seed, Loss policy) {
  state_.lose(seed, policy);
  begin_run();
}

void SimDisk::kill() {
  begin_run();
  state_.collect(in_use_);
}

void SimDisk::write_back() {
  DiskChange all;
  all.kind = DiskChange::Kind::write_back;
  all.position = position_++;
  apply(std::move(all));
}

std::optional<std::string> SimDisk::octets(const std::string& path) const {
  std::uint64_t file = state_.find(path);
  if (file == 0) return std::nullopt;
  const Octets& octets = state_.octets(file);
  std::string out(octets.size(), '\0');
  octets.read(0, out);
  return out;
}

void SimDisk::flip_bit(const std::string& path, std::uint64_t bit) {
  std::uint64_t file = state_.find(path);
  if (file != 0) state_.flip_bit(file, bit);
}

void SimDisk::start_recording() {
  recorded_from_ = state_;
  record_ = std::make_shared<std::vector<DiskChange>>();
}

SimDisk::Replay SimDisk::replay() {
  return Replay(std::exchange(recorded_from_, {}), std::exchange(record_, nullptr), position_);
}

void SimDisk::apply(DiskChange change) {
  state_.apply(change);
  if (record_) record_->push_back(std::move(change));
}

bool SimDisk::Replay::step() {
  if (next_ == changes_->size()) return false;
  state_.apply((*changes_)[next_++]);
  return true;
}

std::uint64_t SimDisk::Replay::position() const {
  return next_ < changes_->size() ? (*changes_)[next_].position : end_;
}

std::unique_ptr<SimDisk> SimDisk::Replay::image(std::uint64_t seed, Loss policy) const {
  DiskState left = state_;
  left.lose(seed, policy);
  return std::unique_ptr<SimDisk>(new SimDisk(seed, std::move(left)));
}

}  // namespace waypost::tests
