// queue/disk_space.h: new mail stops before the disk is full, so that what is queued has the room to leave it
// (RELIABILITY F9).
#pragma once
#include <cstdint>

#include "base/result.h"
#include "queue/files.h"

namespace waypost::queue {

/// What new mail leaves free of a file system: the smaller of a tenth and 2 GiB.
std::uint64_t kept_free(std::uint64_t total);

/// The size of the ballast: 32 MiB, which is more than the largest WAL, a turn and a batch; a tenth
/// of a small file system.
std::uint64_t ballast_octets(std::uint64_t total);

/// For a body that grows in a spool file. Errors: full. Blocks, as Files does; any thread.
Result<> check_room(Files& files, std::uint64_t octets);

/// Should others fill the disk all the same, not even a removal can be written: then the ballast, a file of no content
/// but its size, is given up for outcomes and removals. Without it no mail is taken. One thread at a time.
class DiskSpace {
 public:
  explicit DiskSpace(Files& files) : files_(files) {}

  /// At the start, and then by itself: has_room() brings it back when the disk has room again.
  void keep_ballast();
  bool give_up_ballast();  ///< true if there was one

  /// For new mail that needs `octets` of a disk on which `reusable` octets are free within our own files.
  bool has_room(std::uint64_t octets, std::uint64_t reusable);

 private:
  Files& files_;
  bool has_ballast_ = false;
};

}  // namespace waypost::queue
