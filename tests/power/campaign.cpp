#include "tests/power/campaign.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <random>
#include <string_view>

namespace waypost::tests::power {
namespace {

constexpr std::pair<Loss, const char*> kPolicies[] = {{Loss::drop_all, "drop"},
                                                      {Loss::keep_all, "keep"},
                                                      {Loss::keep_half, "half"},
                                                      {Loss::tear, "tear"},
                                                      {Loss::keep_most, "most"}};
constexpr std::size_t kTold = 20;
constexpr std::uint64_t kCallsOfRecovery = 80;  // about

std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
  std::mt19937_64 chance(a ^ (b * 0x9E3779B97F4A7C15u));
  return chance();
}

void note(Summary& summary, const std::string& name, const std::vector<Broken>& all) {
  for (const Broken& one : all) {
    summary.broken[one.kind] += 1;
    if (summary.told.size() < kTold) summary.told.push_back(name + ": " + name_of(one.kind) + ": " + one.text);
  }
}

/// A workload on its disk, recorded from the making of the queue to its end.
struct Recorded {
  SimDisk disk;
  std::unique_ptr<Workload> workload;

  Recorded(std::uint64_t seed, const CampaignOptions& options, const WorkloadOptions& of_workload) : disk(seed) {
    if (options.lies) options.lies(disk);
    disk.start_recording();
    workload = std::make_unique<Workload>(disk, seed, of_workload);
    if (of_workload.bulk) {
      workload->prepare();
      disk.start_recording();
    }
    workload->run();
    workload->end();
  }
};

WorkloadOptions workload_of(const CampaignOptions& options, std::uint64_t seed) {
  WorkloadOptions out = options.workload;
  out.bulk = out.bulk || seed % 16 == 0;
  return out;
}

std::vector<Broken> check_image(const SimDisk::Replay& replay, const Ledger& ledger, const ImageName& name) {
  std::uint64_t seed = mixed(mixed(name.seed, name.cut), static_cast<std::uint64_t>(name.policy));
  std::unique_ptr<SimDisk> image = replay.image(seed, name.policy);
  if (seed % 8 == 0) {
    Position again = mixed(seed, 1) % kCallsOfRecovery;
    image->before = [again](const Call& call) { return call.position == again ? Fault::cut : Fault::none; };
    {
      QueueOnDisk queue(*image);
      Result<> opened = queue.open();
      if (!opened && !image->off()) return {{Broken::Kind::corrupt, "opening: " + opened.error().what}};
    }
    image->before = nullptr;
    image->lose_power(mixed(seed, 2), static_cast<Loss>(mixed(seed, 3) % std::size(kPolicies)));
  }
  return check(*image, ledger, name.cut);
}

/// The `i`-th workload with errors of the disk.
void fail_one(Summary& summary, const CampaignOptions& campaign, std::uint64_t i) {
  std::uint64_t own = mixed(campaign.seed, i);
  std::mt19937_64 chance(own);
  SimDisk disk(own);
  if (campaign.lies) campaign.lies(disk);
  WorkloadOptions options = campaign.workload;
  options.steps = 25;
  const Position first = chance() % 1500;
  const Position last = first + (chance() % 4 == 0 ? chance() % 60 : 0);
  const bool full = chance() % 2 == 0;
  const bool small = chance() % 4 == 0;  // a disk that is full sooner or later, and stays so
  if (small) disk.set_capacity(100'000 + chance() % 500'000);
  options.fault = [first, last, full, small](const Call& call) {
    if (small || call.position < first || call.position > last) return Fault::none;
    bool takes_room = call.kind == Call::Kind::write || call.kind == Call::Kind::create ||
                      call.kind == Call::Kind::make_folder || call.kind == Call::Kind::rename;
    return full && takes_room ? Fault::full : Fault::io;
  };
  std::string name = "fault:" + std::to_string(campaign.seed) + "+" + std::to_string(i);
  Workload workload(disk, own, options);
  workload.run();
  note(summary, name, workload.broken());
  summary.faults += 1;
  disk.before = nullptr;
  disk.set_capacity(std::nullopt);
  disk.lose_power(chance(), static_cast<Loss>(chance() % std::size(kPolicies)));
  workload.end();
  note(summary, name, check(disk, workload.ledger(), disk.position()));
}

/// Of the disk of the `i`-th workload: `count` times bits of it are flipped, beginning with the `first`-th time.
void flip_some(Summary& summary, const CampaignOptions& campaign, std::uint64_t i, std::uint64_t first,
               std::uint64_t count) {
  WorkloadOptions options = campaign.workload;
  options.kills = false;
  std::uint64_t own = mixed(campaign.seed, i);
  Recorded run(own, campaign, options);
  const Ledger ledger = campaign.forgets ? Ledger() : run.workload->ledger();
  SimDisk::Replay replay = run.disk.replay();
  // Also what was ended since is in the file, and some time in the WAL.
  std::uint64_t steps = mixed(own, 1) % 400;
  while (steps-- > 0 && replay.step()) continue;
  for (std::uint64_t k = first; k < first + count; ++k) {
    std::mt19937_64 chance(mixed(own, k + 2));
    std::unique_ptr<SimDisk> image = replay.image(chance(), Loss::keep_all);
    std::vector<std::pair<std::string, std::uint64_t>> files;
    for (const auto& file : image->list())
      if (file.first.starts_with("/data/") && file.first != "/data/ballast" && file.second > 0) files.push_back(file);
    for (std::uint64_t n = 1 + chance() % 3; n > 0 && !files.empty(); --n) {
      const auto& [path, size] = files[chance() % files.size()];
      image->flip_bit(path, chance() % (size * 8));
    }
    note(summary, "flip:" + std::to_string(campaign.seed) + "+" + std::to_string(i) + "." + std::to_string(k),
         check_nothing_altered(*image, ledger));
    summary.flips += 1;
  }
}

/// What stands in `text` where the pattern has #; empty if the text is another.
std::vector<std::uint64_t> numbers(std::string_view pattern, std::string_view text) {
  std::vector<std::uint64_t> found;
  for (char c : pattern) {
    std::size_t taken = 1;
    if (c == '#') {
      auto read = std::from_chars(text.data(), text.data() + text.size(), found.emplace_back());
      if (read.ec != std::errc()) return {};
      taken = static_cast<std::size_t>(read.ptr - text.data());
    } else if (!text.starts_with(c)) {
      return {};
    }
    text.remove_prefix(taken);
  }
  return text.empty() ? found : std::vector<std::uint64_t>();
}

}  // namespace

std::string ImageName::text() const {
  return std::to_string(seed) + ":" + std::to_string(cut) + ":" + kPolicies[static_cast<std::size_t>(policy)].second;
}

std::optional<ImageName> ImageName::parse(const std::string& text) {
  for (auto [policy, word] : kPolicies) {
    std::vector<std::uint64_t> found = numbers(std::string("#:#:") + word, text);
    if (!found.empty()) return ImageName{found[0], found[1], policy};
  }
  return std::nullopt;
}

std::uint64_t Summary::count(Broken::Kind kind) const {
  auto found = broken.find(kind);
  return found == broken.end() ? 0 : found->second;
}

Summary cut_power(const CampaignOptions& options) {
  Summary summary;
  for (std::uint64_t seed = options.seed; summary.images < options.images; ++seed) {
    Recorded run(seed, options, workload_of(options, seed));
    summary.workloads += 1;
    note(summary, std::to_string(seed), run.workload->broken());
    SimDisk::Replay replay = run.disk.replay();
    do {
      ImageName name{seed, replay.position(), Loss::drop_all};
      if (mixed(seed, name.cut) % options.cuts_one_in != 0) continue;
      for (auto [policy, word] : kPolicies) {
        name.policy = policy;
        note(summary, name.text(), check_image(replay, run.workload->ledger(), name));
        summary.images += 1;
      }
    } while (replay.step() && summary.images < options.images);
  }
  return summary;
}

Summary fail_calls(const CampaignOptions& options, std::uint64_t runs) {
  Summary summary;
  for (std::uint64_t i = 0; i < runs; ++i) fail_one(summary, options, i);
  return summary;
}

Summary flip_bits(const CampaignOptions& options, std::uint64_t flips) {
  constexpr std::uint64_t kOfOneDisk = 50;
  Summary summary;
  for (std::uint64_t i = 0; summary.flips < flips; ++i)
    flip_some(summary, options, i, 0, std::min(kOfOneDisk, flips - summary.flips));
  return summary;
}

std::optional<Summary> replay(CampaignOptions options, const std::string& name) {
  Summary summary;
  if (std::vector<std::uint64_t> fault = numbers("fault:#+#", name); !fault.empty()) {
    options.seed = fault[0];
    fail_one(summary, options, fault[1]);
    return summary;
  }
  if (std::vector<std::uint64_t> flip = numbers("flip:#+#.#", name); !flip.empty()) {
    options.seed = flip[0];
    flip_some(summary, options, flip[1], flip[2], 1);
    return summary;
  }
  std::optional<ImageName> image = ImageName::parse(name);
  std::vector<std::uint64_t> workload = numbers("#", name);
  if (!image && workload.empty()) return std::nullopt;

  const std::uint64_t seed = image ? image->seed : workload[0];
  Recorded run(seed, options, workload_of(options, seed));
  summary.workloads = 1;
  note(summary, std::to_string(seed), run.workload->broken());
  if (!image) return summary;
  SimDisk::Replay replay = run.disk.replay();
  while (replay.position() < image->cut && replay.step()) continue;
  if (replay.position() != image->cut) return std::nullopt;
  note(summary, image->text(), check_image(replay, run.workload->ledger(), *image));
  summary.images = 1;
  return summary;
}

}  // namespace waypost::tests::power
