#include "queue/disk_space.h"

#include <algorithm>

namespace waypost::queue {
namespace {

constexpr const char* kBallast = "ballast";
constexpr std::uint64_t kMostKeptFree = std::uint64_t{2} << 30;
constexpr std::uint64_t kLargestBallast = 32 << 20;

}  // namespace

std::uint64_t kept_free(std::uint64_t total) {
  return std::min(total / 10, kMostKeptFree);
}

std::uint64_t ballast_octets(std::uint64_t total) {
  return std::min(total / 10, kLargestBallast);
}

Result<> check_room(Files& files, std::uint64_t octets) {
  Result<Space> space = files.space();
  // What cannot be told is tried.
  if (!space || space->free >= kept_free(space->total) + octets) return {};
  return fail(Errc::full, "the disk is nearly full");
}

void DiskSpace::keep_ballast() {
  Result<Space> space = files_.space();
  if (!space) return;
  // The last octets are not for it: on a full disk others begin with these.
  const bool is_there = files_.open(kBallast).has_value();
  if (!is_there && space->free < kept_free(space->total) + ballast_octets(space->total)) return;
  Result<> kept = files_.set_aside(kBallast, ballast_octets(space->total));
  // Where nothing can be set aside, for another reason, there is none to be missed.
  has_ballast_ = kept || kept.error().code != Errc::full;
}

bool DiskSpace::give_up_ballast() {
  has_ballast_ = false;
  return files_.remove(kBallast).has_value();
}

bool DiskSpace::has_room(std::uint64_t octets, std::uint64_t reusable) {
  Result<Space> space = files_.space();
  if (!space) return true;  // the write will tell
  const std::uint64_t kept = kept_free(space->total);
  if (!has_ballast_) {
    keep_ballast();
    space = files_.space();
  }
  if (!has_ballast_ || !space) return false;
  // The WAL grows outside of the database, whatever is free within that.
  return space->free >= kept / 2 && space->free + std::min(reusable, kMostKeptFree) >= kept + octets;
}

}  // namespace waypost::queue
