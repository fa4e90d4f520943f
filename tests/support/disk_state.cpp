#include "tests/support/disk_state.h"

#include <algorithm>
#include <set>
#include <utility>

namespace waypost::tests {
namespace {

constexpr std::uint64_t kSector = 512, kPage = 4096;

/// `/data/queue.db` -> `/data` and `queue.db`.
std::pair<std::string, std::string> split_path(const std::string& path) {
  std::size_t slash = path.rfind('/');
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

double kept_of(Loss policy) {
  switch (policy) {
    case Loss::drop_all:
      return 0;
    case Loss::keep_all:
      return 1;
    case Loss::keep_half:
    case Loss::tear:
      return 0.5;
    case Loss::keep_most:
      return 0.9;
  }
  return 0;
}

// Not std::bernoulli_distribution, which may differ from one library to the next.
bool coin(std::mt19937_64& chance, double p) {
  return static_cast<double>(chance() >> 11) * 0x1p-53 < p;
}

/// The first multiple of 512 within, or 0 if there is none.
std::uint64_t first_edge(std::uint64_t offset, std::size_t size) {
  std::uint64_t edge = (offset / kSector + 1) * kSector;
  return edge < offset + size ? edge : 0;
}

/// A write in the pieces that a power cut keeps or loses by themselves: a kernel writes back by pages.
template <class Take>
void by_pages(std::uint64_t offset, std::string_view octets, Take take) {
  while (!octets.empty()) {
    const std::string_view piece = octets.substr(0, kPage - offset % kPage);
    take(offset, piece);
    offset += piece.size();
    octets.remove_prefix(piece.size());
  }
}

/// Only what stands before some multiple of 512, or behind it. `first`: the first one.
void tear(std::uint64_t offset, std::string_view piece, std::uint64_t first, std::mt19937_64& chance, Octets& into) {
  const std::uint64_t edges = (offset + piece.size() - first - 1) / kSector + 1;
  const std::uint64_t edge = first + chance() % edges * kSector - offset;
  if (coin(chance, 0.5))
    into.write(offset, piece.substr(0, edge));
  else
    into.write(offset + edge, piece.substr(edge));
}

}  // namespace

std::string& Octets::writable(std::size_t chunk) {
  std::shared_ptr<Chunk>& mine = chunks_[chunk];
  if (!mine)
    mine = std::make_shared<Chunk>(kChunk, '\0');
  else if (mine.use_count() > 1)
    mine = std::make_shared<Chunk>(*mine);
  return *mine;
}

void Octets::write(std::uint64_t offset, std::string_view octets) {
  if (octets.empty()) return;
  if (offset + octets.size() > size_) resize(offset + octets.size());
  while (!octets.empty()) {
    std::size_t within = offset % kChunk;
    std::size_t size = std::min(octets.size(), kChunk - within);
    octets.copy(writable(offset / kChunk).data() + within, size);
    offset += size;
    octets.remove_prefix(size);
  }
}

void Octets::resize(std::uint64_t size) {
  // What is cut off must read as zeros should the file grow again.
  if (size < size_ && size % kChunk != 0 && chunks_[size / kChunk]) {
    std::string& last = writable(size / kChunk);
    std::fill(last.begin() + static_cast<std::ptrdiff_t>(size % kChunk), last.end(), '\0');
  }
  chunks_.resize((size + kChunk - 1) / kChunk);
  size_ = size;
}

std::size_t Octets::read(std::uint64_t offset, std::span<char> into) const {
  if (offset >= size_) return 0;
  std::size_t got = std::min<std::uint64_t>(into.size(), size_ - offset);
  for (std::size_t done = 0; done < got;) {
    std::size_t within = (offset + done) % kChunk;
    std::size_t size = std::min(got - done, kChunk - within);
    const std::shared_ptr<Chunk>& chunk = chunks_[(offset + done) / kChunk];
    if (chunk)
      chunk->copy(into.data() + done, size, within);
    else
      std::fill_n(into.data() + done, size, '\0');
    done += size;
  }
  return got;
}

void Octets::flip(std::uint64_t bit) {
  std::uint64_t octet = bit / 8;
  if (octet >= size_) return;
  writable(octet / kChunk)[octet % kChunk] ^= static_cast<char>(1 << (bit % 8));
}

DiskState::DiskState() {
  folders_["/"];
}

void DiskState::apply(const DiskChange& change) {
  using Kind = DiskChange::Kind;
  switch (change.kind) {
    case Kind::write:
    case Kind::truncate: {
      if (!files_.contains(change.file)) return;  // open, without a name, and forgotten here
      File& file = writable(change.file);
      std::uint64_t before = file.now.size();
      bool is_write = change.kind == Kind::write;
      if (is_write)
        file.now.write(change.number, *change.octets);
      else
        file.now.resize(change.number);
      grow(file, before);
      file.unsynced.push_back({is_write, change.number, change.octets});
      break;
    }
    case Kind::sync: {
      if (!files_.contains(change.file) || files_[change.file]->unsynced.empty()) return;
      File& file = writable(change.file);
      if (!file.parted) file.certain = file.now;
      for (const Unsynced& one : file.unsynced) {
        if (!file.parted) break;
        one.is_write ? file.certain.write(one.number, *one.octets) : file.certain.resize(one.number);
      }
      file.unsynced.clear();
      break;
    }
    case Kind::sync_failed: {
      if (!files_.contains(change.file)) return;
      File& file = writable(change.file);
      std::mt19937_64 chance(change.number);
      for (const Unsynced& one : file.unsynced)
        if (coin(chance, 0.5))
          one.is_write ? file.certain.write(one.number, *one.octets) : file.certain.resize(one.number);
      file.unsynced.clear();
      file.parted = true;
      break;
    }
    case Kind::create:
      files_[next_file_] = std::make_shared<File>();
      change_entry({next_file_++, "", change.path});
      break;
    case Kind::make_folder:
      folders_[change.path];
      change_entry({0, "", change.path});
      break;
    case Kind::rename:
      change_entry({find(change.path), change.path, change.to});
      break;
    case Kind::remove:
      change_entry({find(change.path), change.path, ""});
      break;
    case Kind::sync_folder:
      settle_entries([&change](const std::string& name) { return split_path(name).first == change.path; });
      break;
    case Kind::write_back:
      for (auto& [number, file] : files_) {
        DiskChange sync;
        sync.kind = Kind::sync;
        sync.file = number;
        apply(sync);
      }
      settle_entries([](const std::string&) { return true; });
      break;
  }
}

DiskState::File& DiskState::writable(std::uint64_t file) {
  std::shared_ptr<File>& mine = files_.at(file);
  if (mine.use_count() > 1) mine = std::make_shared<File>(*mine);
  return *mine;
}

void DiskState::grow(File& file, std::uint64_t before) {
  if (file.named) used_ += file.now.size() - before;
}

/// Now, and some time for certain.
void DiskState::change_entry(Entry entry) {
  if (!entry.old_name.empty()) {
    auto [folder, name] = split_path(entry.old_name);
    folders_[folder].now.erase(name);
  }
  std::uint64_t nameless = entry.new_name.empty() ? entry.file : 0;
  if (!entry.new_name.empty()) {
    auto [folder, name] = split_path(entry.new_name);
    auto [at, is_new] = folders_[folder].now.emplace(name, entry.file);
    if (!is_new) nameless = std::exchange(at->second, entry.file);
  }
  if (nameless != 0) {
    File& file = writable(nameless);
    file.named = false;
    used_ -= file.now.size();
  }
  entries_.push_back(std::move(entry));
}

/// A file has one name: what it was called before does not matter.
void DiskState::settle(const Entry& entry) {
  auto called = certain_names_.find(entry.file);
  if (called != certain_names_.end()) {
    auto [folder, name] = split_path(called->second);
    folders_[folder].certain.erase(name);
    certain_names_.erase(called);
  }
  if (entry.new_name.empty()) return;
  auto [folder, name] = split_path(entry.new_name);
  auto [at, is_new] = folders_[folder].certain.emplace(name, entry.file);
  if (!is_new) certain_names_.erase(std::exchange(at->second, entry.file));
  if (entry.file != 0) certain_names_[entry.file] = entry.new_name;
}

/// A rename is settled with either of its folders: a file system that had only one half of it would not be atomic.
template <class Wanted>
void DiskState::settle_entries(Wanted wanted) {
  std::vector<Entry> settled, rest;
  std::set<std::uint64_t> known;
  for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
    bool now =
        (!entry->old_name.empty() && wanted(entry->old_name)) || (!entry->new_name.empty() && wanted(entry->new_name));
    // Whatever was done before to a file that is settled is of no effect any more.
    if (known.contains(entry->file)) continue;
    if (now && entry->file != 0) known.insert(entry->file);
    (now ? settled : rest).push_back(std::move(*entry));
  }
  for (auto entry = settled.rbegin(); entry != settled.rend(); ++entry) settle(*entry);
  entries_.assign(std::make_move_iterator(rest.rbegin()), std::make_move_iterator(rest.rend()));
}

void DiskState::lose(std::uint64_t seed, Loss policy) {
  std::mt19937_64 chance(seed);
  lose_octets(chance, policy);
  lose_entries(chance, policy);
  begin_anew();
}

void DiskState::lose_octets(std::mt19937_64& chance, Loss policy) {
  std::uint64_t may_tear = 0;
  for (const auto& [number, file] : files_)
    for (const Unsynced& one : file->unsynced)
      if (one.is_write)
        by_pages(one.number, *one.octets, [&may_tear](std::uint64_t offset, std::string_view piece) {
          if (first_edge(offset, piece.size()) != 0) may_tear += 1;
        });
  std::uint64_t torn = policy == Loss::tear && may_tear > 0 ? chance() % may_tear + 1 : 0;

  const double kept = kept_of(policy);
  for (auto& [number, shared] : files_) {
    if (shared->unsynced.empty()) continue;
    File& file = writable(number);
    for (const Unsynced& one : file.unsynced) {
      if (!one.is_write) {
        if (coin(chance, kept)) file.certain.resize(one.number);
        continue;
      }
      by_pages(one.number, *one.octets, [&](std::uint64_t offset, std::string_view piece) {
        const bool keep = coin(chance, kept);
        const std::uint64_t first = first_edge(offset, piece.size());
        if (first != 0 && torn > 0 && --torn == 0)
          tear(offset, piece, first, chance, file.certain);
        else if (keep)
          file.certain.write(offset, piece);
      });
    }
  }
}

void DiskState::lose_entries(std::mt19937_64& chance, Loss policy) {
  const double kept = kept_of(policy);
  std::vector<const Entry*> left;
  std::set<std::string> used_again;  // by an entry that is left: then what freed the name is too
  for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
    bool keep = coin(chance, kept);
    if (!keep && (entry->old_name.empty() || !used_again.contains(entry->old_name))) continue;
    if (!entry->new_name.empty()) used_again.insert(entry->new_name);
    left.push_back(&*entry);
  }
  for (auto entry = left.rbegin(); entry != left.rend(); ++entry) settle(**entry);
}

/// What is certain is all there is. A folder without a name is gone with what is in it.
void DiskState::begin_anew() {
  entries_.clear();
  certain_names_.clear();
  used_ = 0;
  std::map<std::string, Folder> folders;
  std::map<std::uint64_t, std::shared_ptr<File>> files;
  std::vector<std::string> to_visit = {"/"};
  while (!to_visit.empty()) {
    std::string path = std::move(to_visit.back());
    to_visit.pop_back();
    Folder& folder = folders[path];
    folder.certain = std::move(folders_[path].certain);
    for (const auto& [name, number] : folder.certain) {
      std::string full = (path == "/" ? path : path + "/") + name;
      if (number == 0) {
        to_visit.push_back(std::move(full));
        continue;
      }
      files[number] = files_.at(number);
      certain_names_[number] = std::move(full);
    }
    folder.now = folder.certain;
  }
  folders_ = std::move(folders);
  files_ = std::move(files);
  for (auto& [number, shared] : files_) {
    if (!shared->unsynced.empty() || !shared->named || shared->parted) {
      File& file = writable(number);
      file.now = file.certain;
      file.unsynced.clear();
      file.named = true;
      file.parted = false;
    }
    used_ += shared->now.size();
  }
}

void DiskState::flip_bit(std::uint64_t file, std::uint64_t bit) {
  File& mine = writable(file);
  mine.now.flip(bit);
  mine.certain.flip(bit);
}

void DiskState::collect(const std::map<std::uint64_t, int>& in_use) {
  std::set<std::uint64_t> wanted;
  for (const auto& [number, count] : in_use) wanted.insert(number);
  for (const auto& [path, folder] : folders_)
    for (const Entries* entries : {&folder.now, &folder.certain})
      for (const auto& [name, number] : *entries) wanted.insert(number);
  for (const Entry& entry : entries_) wanted.insert(entry.file);
  std::erase_if(files_, [&wanted](const auto& file) { return !wanted.contains(file.first); });
}

std::uint64_t DiskState::find(const std::string& path) const {
  auto [parent, name] = split_path(path);
  auto folder = folders_.find(parent);
  if (folder == folders_.end()) return 0;
  auto entry = folder->second.now.find(name);
  return entry == folder->second.now.end() ? 0 : entry->second;
}

std::vector<std::string> DiskState::names(const std::string& folder) const {
  std::vector<std::string> out;
  for (const auto& [name, file] : folders_.at(folder).now) out.push_back(name);
  return out;
}

std::map<std::string, std::uint64_t> DiskState::list() const {
  std::map<std::string, std::uint64_t> out;
  for (const auto& [path, folder] : folders_)
    for (const auto& [name, file] : folder.now)
      if (file != 0) out[(path == "/" ? path : path + "/") + name] = files_.at(file)->now.size();
  return out;
}

}  // namespace waypost::tests
