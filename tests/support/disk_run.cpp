#include "tests/support/disk_run.h"

#include <algorithm>
#include <utility>

namespace waypost::tests {
namespace {

constexpr std::size_t kCollectEvery = 256;  // names taken

class SimFile : public queue::File {
 public:
  SimFile(DiskRun& run, std::uint64_t file, std::string path) : run_(run), file_(file), path_(std::move(path)) {}
  ~SimFile() override { run_.close(file_); }
  SimFile(const SimFile&) = delete;
  SimFile& operator=(const SimFile&) = delete;

  Result<> append(std::string_view octets) override {
    Result<std::uint64_t> size = run_.size(file_);
    if (!size) return fail(size.error());
    return run_.write(file_, path_, *size, octets);
  }
  Result<std::size_t> read_at(std::uint64_t offset, std::span<char> into) override {
    return run_.read(file_, path_, offset, into);
  }
  Result<> sync() override { return run_.sync(file_, path_); }

 private:
  DiskRun& run_;
  std::uint64_t file_;
  std::string path_;
};

class SimFolder : public queue::Files {
 public:
  SimFolder(DiskRun& run, std::string root) : run_(run), root_(std::move(root)) {}

  Result<std::unique_ptr<queue::File>> create(const std::string& path) override { return open_file(path, true); }
  Result<std::unique_ptr<queue::File>> open(const std::string& path) override { return open_file(path, false); }
  Result<> rename(const std::string& from, const std::string& to) override { return run_.rename(at(from), at(to)); }
  Result<> remove(const std::string& path) override { return run_.remove(at(path)); }
  Result<> make_folder(const std::string& path) override { return run_.make_folder(at(path)); }
  Result<> sync_folder(const std::string& path) override { return run_.sync_folder(at(path)); }
  Result<std::vector<std::string>> list(const std::string& folder) override { return run_.list(at(folder)); }
  Result<queue::Space> space() override { return run_.space(); }

  Result<> rewrite(const std::string& path) override {
    const std::string full = at(path);
    Result<std::uint64_t> file = run_.open(full);
    if (!file) return fail(file.error());
    Result<> done = write_again(*file, full);
    run_.close(*file);
    return done;
  }

  // Of zeros, which cost nothing here.
  Result<> set_aside(const std::string& path, std::uint64_t octets) override {
    std::string full = at(path);
    Result<std::uint64_t> file = run_.open(full);
    if (!file && file.error().code == Errc::not_found) file = run_.create(full);
    if (!file) return fail(file.error());
    Result<std::uint64_t> size = run_.size(*file);
    Result<> done;
    if (!size) done = fail(size.error());
    if (size && *size < octets) done = run_.truncate(*file, full, octets);
    run_.close(*file);
    if (done) return done;
    Result<> removed = run_.remove(full);
    (void)removed;
    return done;
  }

 private:
  std::string at(const std::string& path) const { return path == "." ? root_ : root_ + "/" + path; }

  Result<std::unique_ptr<queue::File>> open_file(const std::string& path, bool is_new) {
    std::string full = at(path);
    Result<std::uint64_t> file = is_new ? run_.create(full) : run_.open(full);
    if (!file) return fail(file.error());
    return std::make_unique<SimFile>(run_, *file, std::move(full));
  }

  Result<> write_again(std::uint64_t file, const std::string& path) {
    std::string piece(1 << 20, '\0');
    for (std::uint64_t offset = 0;;) {
      Result<std::size_t> got = run_.read(file, path, offset, piece);
      if (!got) return fail(got.error());
      if (*got == 0) return run_.sync(file, path);
      Result<> put = run_.write(file, path, offset, std::string_view(piece).substr(0, *got));
      if (!put) return put;
      offset += *got;
    }
  }

  DiskRun& run_;
  std::string root_;
};

}  // namespace

std::string folder_above(const std::string& path) {
  std::size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

DiskRun::DiskRun(SimDisk& disk, std::uint64_t seed)
    : disk_(disk), vfs_(make_vfs(*this, seed)), files_(view(SimDisk::data_dir())) {}

std::unique_ptr<queue::Files> DiskRun::view(const std::string& folder) {
  return std::make_unique<SimFolder>(*this, folder);
}

/// The number of a call, and whether it is done.
Result<> DiskRun::begin(Call::Kind kind, const std::string& path, bool* ignored) {
  if (over()) return fail(Errc::io, path + ": the power is off");
  Call call{kind, path, disk_.position_};
  Fault fault = disk_.before ? disk_.before(call) : Fault::none;
  // The hook may have cut the power by itself.
  if (over()) return fail(Errc::io, path + ": the power is off");
  disk_.position_ += 1;
  if (ignored) *ignored = disk_.ignored && disk_.ignored(call);
  switch (fault) {
    case Fault::none:
      return {};
    case Fault::full:
      return fail(Errc::full, path + ": no space left, as told");
    case Fault::io:
      return fail(Errc::io, path + ": failed as told");
    case Fault::cut:
      disk_.power_off();
      return fail(Errc::io, path + ": the power went");
  }
  return {};
}

void DiskRun::change(DiskChange change) {
  change.position = disk_.position_ - 1;
  disk_.apply(std::move(change));
}

Result<std::uint64_t> DiskRun::open(const std::string& path) {
  Result<> begun = begin(Call::Kind::open, path);
  if (!begun) return fail(begun.error());
  std::uint64_t file = disk_.state_.find(path);
  if (file == 0) return fail(Errc::not_found, path + " is not there");
  disk_.in_use_[file] += 1;
  return file;
}

Result<std::uint64_t> DiskRun::create(const std::string& path) {
  Result<> begun = begin(Call::Kind::create, path);
  if (!begun) return fail(begun.error());
  if (!disk_.state_.has_folder(folder_above(path))) return fail(Errc::not_found, "there is no folder for " + path);
  if (disk_.state_.find(path) != 0 || disk_.state_.has_folder(path)) return fail(Errc::exists, path + " exists");
  DiskChange created;
  created.kind = DiskChange::Kind::create;
  created.path = path;
  change(std::move(created));
  std::uint64_t file = disk_.state_.find(path);
  disk_.in_use_[file] += 1;
  return file;
}

void DiskRun::close(std::uint64_t file) {
  if (disk_.runs_.back().get() != this) return;
  auto open = disk_.in_use_.find(file);
  if (open != disk_.in_use_.end() && --open->second == 0) disk_.in_use_.erase(open);
}

Result<std::size_t> DiskRun::read(std::uint64_t file, const std::string& path, std::uint64_t offset,
                                  std::span<char> into) {
  Result<> begun = begin(Call::Kind::read, path);
  if (!begun) return fail(begun.error());
  return disk_.state_.octets(file).read(offset, into);
}

Result<> DiskRun::write(std::uint64_t file, const std::string& path, std::uint64_t offset, std::string_view octets) {
  Result<> begun = begin(Call::Kind::write, path);
  if (!begun) return begun;
  std::uint64_t size = disk_.state_.octets(file).size();
  std::uint64_t used = disk_.state_.used();
  std::string_view fits = octets;
  if (disk_.capacity_ && offset + octets.size() > size) {
    std::uint64_t end = size + (*disk_.capacity_ > used ? *disk_.capacity_ - used : 0);
    fits = octets.substr(0, end > offset ? end - offset : 0);
  }
  if (!fits.empty()) {
    DiskChange written;
    written.file = file;
    written.number = offset;
    written.octets = std::make_shared<const std::string>(fits);
    change(std::move(written));
  }
  if (fits.size() < octets.size()) return fail(Errc::full, path + ": no space left");
  return {};
}

Result<> DiskRun::truncate(std::uint64_t file, const std::string& path, std::uint64_t size) {
  Result<> begun = begin(Call::Kind::truncate, path);
  if (!begun) return begun;
  std::uint64_t before = disk_.state_.octets(file).size();
  if (size > before && disk_.capacity_ && disk_.state_.used() + size - before > *disk_.capacity_)
    return fail(Errc::full, path + ": no space left");
  DiskChange resized;
  resized.kind = DiskChange::Kind::truncate;
  resized.file = file;
  resized.number = size;
  change(std::move(resized));
  return {};
}

Result<> DiskRun::sync(std::uint64_t file, const std::string& path) {
  bool ignored = false;
  Result<> begun = begin(Call::Kind::sync, path, &ignored);
  if (ignored && begun) return {};
  if (!begun && over()) return begun;
  DiskChange synced;
  synced.kind = begun ? DiskChange::Kind::sync : DiskChange::Kind::sync_failed;
  synced.file = file;
  synced.number = disk_.seed_ ^ disk_.position_;
  if (begun || begun.error().code == Errc::io) change(std::move(synced));
  return begun;
}

Result<std::uint64_t> DiskRun::size(std::uint64_t file) const {
  if (over()) return fail(Errc::io, "the power is off");
  return disk_.state_.octets(file).size();
}

Result<> DiskRun::rename(const std::string& from, const std::string& to) {
  Result<> begun = begin(Call::Kind::rename, from);
  if (!begun) return begun;
  if (disk_.state_.find(from) == 0) return fail(Errc::not_found, from + " is not there");
  if (!disk_.state_.has_folder(folder_above(to))) return fail(Errc::not_found, "there is no folder for " + to);
  DiskChange renamed;
  renamed.kind = DiskChange::Kind::rename;
  renamed.path = from;
  renamed.to = to;
  change(std::move(renamed));
  return {};
}

Result<> DiskRun::remove(const std::string& path) {
  Result<> begun = begin(Call::Kind::remove, path);
  if (!begun) return begun;
  if (disk_.state_.find(path) == 0) return fail(Errc::not_found, path + " is not there");
  DiskChange removed;
  removed.kind = DiskChange::Kind::remove;
  removed.path = path;
  change(std::move(removed));
  if (disk_.position_ % kCollectEvery == 0) disk_.state_.collect(disk_.in_use_);
  return {};
}

Result<> DiskRun::make_folder(const std::string& path) {
  Result<> begun = begin(Call::Kind::make_folder, path);
  if (!begun) return begun;
  if (disk_.state_.has_folder(path)) return {};
  if (!disk_.state_.has_folder(folder_above(path))) return fail(Errc::not_found, "there is no folder for " + path);
  if (disk_.state_.find(path) != 0) return fail(Errc::io, path + " is a file");
  DiskChange made;
  made.kind = DiskChange::Kind::make_folder;
  made.path = path;
  change(std::move(made));
  return sync_folder(folder_above(path));
}

Result<> DiskRun::make_folders(const std::string& path) {
  if (path == "/") return {};
  Result<> done = make_folders(folder_above(path));
  if (!done) return done;
  if (over() || !disk_.state_.has_folder(path)) return make_folder(path);
  return sync_folder(folder_above(path));
}

Result<> DiskRun::open_folder(const std::string& path) {
  Result<> begun = begin(Call::Kind::open, path);
  if (!begun) return begun;
  if (disk_.state_.has_folder(path)) return {};
  return fail(disk_.state_.find(path) != 0 ? Errc::io : Errc::not_found, path + " is no folder");
}

Result<> DiskRun::sync_folder(const std::string& path) {
  bool ignored = false;
  Result<> begun = begin(Call::Kind::sync_folder, path, &ignored);
  if (!begun || ignored) return begun;
  if (!disk_.state_.has_folder(path)) return fail(Errc::not_found, path + " is not there");
  DiskChange synced;
  synced.kind = DiskChange::Kind::sync_folder;
  synced.path = path;
  change(std::move(synced));
  return {};
}

Result<std::vector<std::string>> DiskRun::list(const std::string& path) {
  Result<> begun = begin(Call::Kind::list, path);
  if (!begun) return fail(begun.error());
  if (!disk_.state_.has_folder(path)) return fail(Errc::not_found, path + " is not there");
  return disk_.state_.names(path);
}

Result<queue::Space> DiskRun::space() const {
  if (over()) return fail(Errc::io, "the power is off");
  queue::Space space;
  if (!disk_.capacity_) return space;
  space.total = *disk_.capacity_;
  space.free = space.total - std::min(space.total, disk_.state_.used());
  return space;
}

bool DiskRun::exists(const std::string& path) const {
  std::uint64_t file = over() ? 0 : disk_.state_.find(path);
  return file != 0 && disk_.state_.octets(file).size() > 0;
}

net::WallTime DiskRun::now() const {
  using namespace std::chrono;
  return disk_.clock ? disk_.clock() : net::WallTime(sys_days(year(2026) / 1 / 1));
}

}  // namespace waypost::tests
