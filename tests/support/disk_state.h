// tests/support/disk_state.h: what is on a disk, and what of it a power cut leaves. No faults and no handles here.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace waypost::tests {

/// What becomes of that which was not synced when the power goes. Each page of a write and each folder entry by itself,
/// so that whatever subset is left, in any order. A rename is one entry: the old name or the new one, never both or
/// none.
enum class Loss : std::uint8_t {
  drop_all,
  keep_all,   ///< all had been written by chance
  keep_half,  ///< each with p = 1/2
  tear,       ///< the same, and of one page only the part before or after a multiple of 512 octets
  keep_most,  ///< each with p = 9/10
};

/// The octets of a file, in chunks that copies share until one writes to them.
class Octets {
 public:
  static constexpr std::size_t kChunk = 4096;
  std::uint64_t size() const { return size_; }
  void write(std::uint64_t offset, std::string_view octets);
  void resize(std::uint64_t size);  ///< with zeros where it grows
  std::size_t read(std::uint64_t offset, std::span<char> into) const;
  void flip(std::uint64_t bit);

 private:
  using Chunk = std::string;  // kChunk octets
  std::string& writable(std::size_t chunk);
  std::vector<std::shared_ptr<Chunk>> chunks_;  // null: zeros
  std::uint64_t size_ = 0;
};

/// A change to the disk, as recorded.
struct DiskChange {
  enum class Kind : std::uint8_t {
    write,        ///< `octets` at `number`
    truncate,     ///< to `number`
    sync,         ///< of a file's octets, not of its name
    sync_failed,  ///< what was not synced is written or gone for ever, each by a coin; `number` is the seed
    create,       ///< a file at `path`
    make_folder,
    rename,  ///< from `path` to `to`
    remove,
    sync_folder,  ///< the entries of `path`
    write_back,   ///< all that was not synced, as the kernel does after half a minute
  };
  Kind kind = Kind::write;
  std::uint64_t position = 0;  ///< of the call that made it
  std::uint64_t file = 0;      ///< write, truncate, sync
  std::uint64_t number = 0;
  std::shared_ptr<const std::string> octets;
  std::string path, to;
};

/// Files by number, and folders with their entries; each as it is now, as it is for certain after a power cut, and what
/// lies between the two. Paths begin with a slash. Copies are cheap.
class DiskState {
 public:
  DiskState();

  /// The change must be possible: its file, or its path's folder, is there.
  void apply(const DiskChange& change);
  /// The power is gone: what remains is now, and certain.
  void lose(std::uint64_t seed, Loss policy);
  /// Both now and for certain.
  void flip_bit(std::uint64_t file, std::uint64_t bit);
  /// Forgets files that have no name any more, nor can have one again, unless `in_use` has them.
  void collect(const std::map<std::uint64_t, int>& in_use);

  std::uint64_t find(const std::string& path) const;  ///< a file's number; 0: there is none
  bool has_folder(const std::string& path) const { return folders_.contains(path); }
  const Octets& octets(std::uint64_t file) const { return files_.at(file)->now; }
  std::vector<std::string> names(const std::string& folder) const;  ///< sorted
  std::map<std::string, std::uint64_t> list() const;                ///< all files with their sizes
  std::uint64_t used() const { return used_; }                      ///< octets of all files that have a name

 private:
  struct Unsynced {
    bool is_write = true;  ///< else a truncation
    std::uint64_t number = 0;
    std::shared_ptr<const std::string> octets;
  };
  struct File {
    Octets now, certain;
    std::vector<Unsynced> unsynced;
    bool named = true;    ///< now
    bool parted = false;  ///< a sync failed: what is read is not what is on the disk
  };
  /// A name that is given to a file, or taken from it.
  struct Entry {
    std::uint64_t file = 0;          ///< 0: a folder
    std::string old_name, new_name;  ///< paths; "": none
  };
  using Entries = std::map<std::string, std::uint64_t>;  // name to file; 0: a folder
  struct Folder {
    Entries now, certain;
  };
  File& writable(std::uint64_t file);
  void grow(File& file, std::uint64_t before);
  void change_entry(Entry entry);
  void settle(const Entry& entry);
  template <class Wanted>
  void settle_entries(Wanted wanted);
  void lose_octets(std::mt19937_64& chance, Loss policy);
  void lose_entries(std::mt19937_64& chance, Loss policy);
  void begin_anew();

  std::map<std::uint64_t, std::shared_ptr<File>> files_;
  std::map<std::string, Folder> folders_;
  std::map<std::uint64_t, std::string> certain_names_;
  std::vector<Entry> entries_;  // not synced, in their order
  std::uint64_t next_file_ = 1;
  std::uint64_t used_ = 0;
};

}  // namespace waypost::tests
