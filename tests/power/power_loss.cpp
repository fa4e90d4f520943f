// tests/power/power_loss.cpp: the program behind tests/power/run. Exits 1 if a promise was broken, 64 on wrong use.
#include <chrono>
#include <iostream>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "base/event_log.h"
#include "tests/power/campaign.h"

using namespace waypost;
using namespace waypost::tests::power;

namespace {

void add(Summary& to, const Summary& more) {
  to.workloads += more.workloads;
  to.images += more.images;
  to.faults += more.faults;
  to.flips += more.flips;
  for (auto [kind, count] : more.broken) to.broken[kind] += count;
  to.told.insert(to.told.end(), more.told.begin(), more.told.end());
}

/// False if a promise was broken.
bool print(const Summary& summary, double seconds) {
  for (const std::string& line : summary.told) std::cout << line << "\n";
  std::cout << summary.images << " images of " << summary.workloads << " workloads, " << summary.faults
            << " workloads with errors of the disk, " << summary.flips << " disks with flipped bits\n";
  for (auto kind : {Broken::Kind::lost, Broken::Kind::corrupt, Broken::Kind::returned, Broken::Kind::unknown,
                    Broken::Kind::altered, Broken::Kind::split, Broken::Kind::orphan, Broken::Kind::reused})
    std::cout << summary.count(kind) << " " << name_of(kind) << (kind == Broken::Kind::reused ? "\n" : ", ");
  std::cout << static_cast<std::uint64_t>(seconds) << " s";
  if (summary.images > 0 && seconds > 0)
    std::cout << ", " << static_cast<std::uint64_t>(static_cast<double>(summary.images) / seconds)
              << " images per second";
  std::cout << std::endl;
  return summary.good();
}

}  // namespace

int main(int argc, char** argv) {
  log::Options quiet;
  quiet.target = "/dev/null";
  Result<> opened = log::open(quiet);
  if (!opened) return 1;

  CampaignOptions options;
  std::optional<std::uint64_t> faults, flips;
  std::string name;
  CLI::App app("Cuts the power of the queue's disk everywhere, and looks at what is left");
  app.add_option("--images", options.images, "Images after cuts");
  app.add_option("--faults", faults, "Workloads with errors of the disk; one for 100 images if not given");
  app.add_option("--flips", flips, "Disks with flipped bits; one for 20 images if not given");
  app.add_option("--seed", options.seed, "Of the first workload; the next has the next one");
  app.add_option("--replay", name, "What the line of a broken promise begins with");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 64;
  }

  auto begun = std::chrono::steady_clock::now();
  auto seconds = [begun] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count(); };
  if (!name.empty()) {
    std::optional<Summary> again = replay(options, name);
    if (!again) {
      std::cerr << "nothing has this name: --replay takes SEED:CUT:POLICY, SEED, fault:SEED+I or flip:SEED+I.K\n";
      return 64;
    }
    return print(*again, seconds()) ? 0 : 1;
  }
  Summary all = cut_power(options);
  double of_images = seconds();
  add(all, fail_calls(options, faults.value_or(options.images / 100)));
  add(all, flip_bits(options, flips.value_or(options.images / 20)));
  for (std::string& line : all.told) line += "  (tests/power/run --replay " + line.substr(0, line.find(": ")) + ")";
  bool good = print(all, of_images);
  return good ? 0 : 1;
}
