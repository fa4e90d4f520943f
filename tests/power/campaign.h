// tests/power/campaign.h: workloads, cuts of them everywhere, and the images that each cut may leave.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/power/check.h"
#include "tests/power/workload.h"

namespace waypost::tests::power {

/// One image: all that is by chance follows from these.
struct ImageName {
  std::uint64_t seed = 0;  ///< of the workload
  Position cut = 0;
  Loss policy = Loss::drop_all;
  std::string text() const;  ///< "12:3456:tear"
  static std::optional<ImageName> parse(const std::string& text);
};

struct Summary {
  std::uint64_t workloads = 0, images = 0, faults = 0, flips = 0;
  std::map<Broken::Kind, std::uint64_t> broken;
  std::vector<std::string> told;  ///< of the first ones
  std::uint64_t count(Broken::Kind kind) const;
  bool good() const { return broken.empty(); }
};

struct CampaignOptions {
  std::uint64_t seed = 1;         ///< of the first workload; the next has the next
  std::uint64_t images = 1000;    ///< about: a workload is not broken off within a cut
  std::uint64_t cuts_one_in = 1;  ///< 1: every cut, at each change of the disk
  WorkloadOptions workload;
  std::function<void(SimDisk&)> lies;  ///< SimDisk::ignored, SimDisk::synchronous
  bool forgets = false;                ///< what was accepted, before flipped bits: to show that it is found
};

// Each line of `told` begins with a name and ": ". A name is that of an image, or "12", of a workload without a cut,
// "fault:1+7", of the seed 1 and a workload with errors of the disk, or "flip:1+7.3", of one of the disks of that seed
// and a workload.

/// The power goes at each change; of one image in eight once more during the recovery.
Summary cut_power(const CampaignOptions& options);
/// `runs` workloads, each with an error of the disk somewhere, or several in a row; then the power goes.
Summary fail_calls(const CampaignOptions& options, std::uint64_t runs);
/// Bits of queue.db, its WAL and spool files are flipped: nothing altered may be sent.
Summary flip_bits(const CampaignOptions& options, std::uint64_t flips);
/// What has this name, once more, with the options that it was found with; their seed does not matter. nullopt if
/// nothing has.
std::optional<Summary> replay(CampaignOptions options, const std::string& name);

}  // namespace waypost::tests::power
