#include "tests/power/campaign.h"

#include <charconv>
#include <memory>
#include <random>

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

}  // namespace

std::string ImageName::text() const {
  return std::to_string(seed) + ":" + std::to_string(cut) + ":" + kPolicies[static_cast<std::size_t>(policy)].second;
}

std::optional<ImageName> ImageName::parse(const std::string& text) {
  ImageName name;
  const char* end = text.data() + text.size();
  auto seed = std::from_chars(text.data(), end, name.seed);
  if (seed.ec != std::errc() || seed.ptr == end || *seed.ptr != ':') return std::nullopt;
  auto cut = std::from_chars(seed.ptr + 1, end, name.cut);
  if (cut.ec != std::errc() || cut.ptr == end || *cut.ptr != ':') return std::nullopt;
  for (auto [policy, word] : kPolicies) {
    name.policy = policy;
    if (std::string(cut.ptr + 1, end) == word) return name;
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

Summary replay_image(const CampaignOptions& options, const ImageName& name) {
  Summary summary;
  Recorded run(name.seed, options, workload_of(options, name.seed));
  summary.workloads = 1;
  note(summary, std::to_string(name.seed), run.workload->broken());
  SimDisk::Replay replay = run.disk.replay();
  while (replay.position() < name.cut && replay.step()) continue;
  if (replay.position() != name.cut) return summary;
  note(summary, name.text(), check_image(replay, run.workload->ledger(), name));
  summary.images = 1;
  return summary;
}

Summary fail_calls(std::uint64_t seed, std::uint64_t runs) {
  Summary summary;
  for (std::uint64_t i = 0; i < runs; ++i) {
    std::uint64_t own = mixed(seed, i);
    std::mt19937_64 chance(own);
    SimDisk disk(own);
    WorkloadOptions options;
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
    std::string name = "fault " + std::to_string(seed) + "+" + std::to_string(i);
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
  return summary;
}

Summary flip_bits(std::uint64_t seed, std::uint64_t flips) {
  constexpr std::uint64_t kOfOneDisk = 50;
  Summary summary;
  CampaignOptions options;
  options.workload.kills = false;
  for (std::uint64_t i = 0; summary.flips < flips; ++i) {
    std::uint64_t own = mixed(seed, i);
    Recorded run(own, options, options.workload);
    SimDisk::Replay replay = run.disk.replay();
    // Also what was ended since is in the file, and some time in the WAL.
    std::uint64_t steps = mixed(own, 1) % 400;
    while (steps-- > 0 && replay.step()) continue;
    for (std::uint64_t k = 0; k < kOfOneDisk && summary.flips < flips; ++k) {
      std::mt19937_64 chance(mixed(own, k + 2));
      std::unique_ptr<SimDisk> image = replay.image(chance(), Loss::keep_all);
      std::vector<std::pair<std::string, std::uint64_t>> files;
      for (const auto& file : image->list())
        if (file.first.starts_with("/data/") && file.first != "/data/ballast" && file.second > 0) files.push_back(file);
      for (std::uint64_t n = 1 + chance() % 3; n > 0 && !files.empty(); --n) {
        const auto& [path, size] = files[chance() % files.size()];
        image->flip_bit(path, chance() % (size * 8));
      }
      note(summary, "flip " + std::to_string(seed) + "+" + std::to_string(i) + "." + std::to_string(k),
           check_nothing_altered(*image, run.workload->ledger()));
      summary.flips += 1;
    }
  }
  return summary;
}

}  // namespace waypost::tests::power
