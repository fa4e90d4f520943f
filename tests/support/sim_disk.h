// tests/support/sim_disk.h: a disk in memory that keeps account of its syncs, fails on demand and loses power. It is a
// data folder (queue::Files), a maker of other folders, and a VFS of SQLite.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/clock.h"
#include "queue/files.h"
#include "tests/support/disk_state.h"

namespace waypost::tests {

/// What is about to be done to the disk.
struct Call {
  enum class Kind : std::uint8_t {
    open,  ///< an existing file
    create,
    read,
    write,
    truncate,
    sync,
    rename,
    remove,
    make_folder,
    sync_folder,
    list,
  };
  Kind kind;
  const std::string& path;  ///< of a rename the old one
  std::uint64_t position;
};
const char* name_of(Call::Kind kind);

enum class Fault : std::uint8_t {
  none,
  full,  ///< ENOSPC
  io,    ///< EIO. Of a sync: of what was not synced some is written, and the rest is gone for ever, as with Linux
  cut,   ///< the power goes: this and every later call fails with io and changes nothing, until lose_power()
};

class DiskRun;

/// One thread at a time. What was got from it (files, connections of SQLite) may outlive its run, but not the disk.
/// The same calls and seeds give the same disk, octet for octet: SQLite's random numbers are seeded at each start.
class SimDisk {
 public:
  explicit SimDisk(std::uint64_t seed = 1);
  ~SimDisk();
  SimDisk(const SimDisk&) = delete;
  SimDisk& operator=(const SimDisk&) = delete;

  /// Where files() stands: StoreOptions::data_dir.
  static const std::string& data_dir();  // "/data"

  // Of the run that begins now and ends with the next lose_power() or kill(). What is left over of an earlier one fails
  // with io for ever, and may be closed or destroyed at any time.
  const std::string& vfs() const;   ///< the name for StoreOptions::vfs
  queue::Files& files();            ///< the data folder
  queue::OpenFolder open_folder();  ///< any folder

  /// Calls so far: all files, folders and databases share one count. The next call has this number.
  std::uint64_t position() const { return position_; }
  /// Asked before each call.
  std::function<Fault(const Call&)> before;

  void power_off() { off_ = true; }  ///< as Fault::cut, at once
  bool off() const { return off_; }
  /// The power goes (unless it is off already) and comes back: the disk is one of the images that may be left.
  void lose_power(std::uint64_t seed, Loss policy);
  /// The process ends: what was written is there, synced or not, and is still to be lost with the power.
  void kill();
  /// All that was not synced becomes certain, as the kernel does after half a minute. It is one call.
  void write_back();

  /// SQLite's clock; 2026-01-01 where none is set.
  std::function<net::WallTime()> clock;
  /// Octets of all files that have a name. Writes beyond it fail with full, after what still fits. No end if not set.
  void set_capacity(std::optional<std::uint64_t> octets) { capacity_ = octets; }

  // Lies and slips, to show that they would be found.
  /// Syncs of files and folders for which it is true succeed and do nothing.
  std::function<bool(const Call&)> ignored;
  /// `PRAGMA synchronous` sets this whatever it says: 0 is OFF, 1 is NORMAL.
  std::optional<int> synchronous;

  // What is there, by path from the root: "/data/queue.db".
  std::map<std::string, std::uint64_t> list() const { return state_.list(); }  ///< files and their sizes
  std::optional<std::string> octets(const std::string& path) const;
  void flip_bit(const std::string& path, std::uint64_t bit);

  /// From now on changes are recorded.
  void start_recording();
  /// Walks through a record from its beginning. A cut is a moment before a change, or after the last one.
  class Replay {
   public:
    /// Past one more change; false at the end.
    bool step();
    /// The last moment before the next change: what was done before this call has been done.
    std::uint64_t position() const;
    /// The disk that a cut here may leave, switched on again. It stands alone.
    std::unique_ptr<SimDisk> image(std::uint64_t seed, Loss policy) const;

   private:
    friend class SimDisk;
    Replay(DiskState start, std::shared_ptr<const std::vector<DiskChange>> changes, std::uint64_t end)
        : state_(std::move(start)), changes_(std::move(changes)), end_(end) {}
    DiskState state_;
    std::shared_ptr<const std::vector<DiskChange>> changes_;
    std::size_t next_ = 0;
    std::uint64_t end_;
  };
  /// Of what was recorded so far; recording ends.
  Replay replay();

 private:
  friend class DiskRun;
  SimDisk(std::uint64_t seed, DiskState state);
  void begin_run();
  void apply(DiskChange change);

  std::uint64_t seed_;
  DiskState state_;
  std::uint64_t position_ = 0;
  bool off_ = false;
  std::optional<std::uint64_t> capacity_;
  std::map<std::uint64_t, int> in_use_;         // open files
  std::vector<std::unique_ptr<DiskRun>> runs_;  // the last one is under way
  DiskState recorded_from_;
  std::shared_ptr<std::vector<DiskChange>> record_;
};

}  // namespace waypost::tests
