// tests/sim/main.cpp: runs seeds, says which promises were broken, replays and shrinks. `tests/sim/run` builds it.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "base/event_log.h"
#include "tests/sim/world.h"

using namespace waypost;
using namespace waypost::sim;

namespace {

struct Options {
  std::uint64_t from = 1, seeds = 1;
  bool trace = false, shrink = false, items = false, digests = false, reverse = false;
  std::string log = "/dev/null";
  std::set<std::size_t> without;  ///< items of the plan, by number
};

[[noreturn]] void usage() {
  std::fputs(
      "usage: waypost_sim [--from SEED] [--seeds N] [--trace] [--items] [--log FILE] [--without I,J,...] [--shrink]\n"
      "                   [--digests] [--reverse]\n"
      "  --trace    what happens, with milliseconds since the start\n"
      "  --items    what the plan has in store, numbered\n"
      "  --log      the relay's own log\n"
      "  --without  leaves these out\n"
      "  --shrink   leaves out as much as can be while the seed still fails\n"
      "  --digests  each seed's, of all that happened; always of one seed alone\n"
      "  --reverse  the last seed first\n",
      stderr);
  std::exit(64);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = [&]() -> std::string { return ++i < argc ? argv[i] : (usage(), ""); };
    if (word == "--from" || word == "--seed")
      options.from = std::strtoull(value().c_str(), nullptr, 10);
    else if (word == "--seeds")
      options.seeds = std::strtoull(value().c_str(), nullptr, 10);
    else if (word == "--trace")
      options.trace = true;
    else if (word == "--items")
      options.items = true;
    else if (word == "--shrink")
      options.shrink = true;
    else if (word == "--digests")
      options.digests = true;
    else if (word == "--reverse")
      options.reverse = true;
    else if (word == "--log")
      options.log = value();
    else if (word == "--without") {
      const std::string list = value();
      for (std::size_t at = 0; at < list.size();) {
        options.without.insert(std::strtoull(list.c_str() + at, nullptr, 10));
        const std::size_t comma = list.find(',', at);
        at = comma == std::string::npos ? list.size() : comma + 1;
      }
    } else
      usage();
  }
  return options;
}

Plan plan_without(std::uint64_t seed, const std::set<std::size_t>& without) {
  Plan plan = make_plan(seed);
  std::vector<Item> items;
  for (std::size_t i = 0; i < plan.items.size(); ++i)
    if (!without.contains(i)) items.push_back(plan.items[i]);
  plan.items = std::move(items);
  return plan;
}

std::string listed(const std::set<std::size_t>& numbers) {
  std::string out;
  for (std::size_t number : numbers) out += (out.empty() ? "" : ",") + std::to_string(number);
  return out;
}

/// Leaves out halves, quarters, ... and at last single items, as long as a promise is still broken.
std::set<std::size_t> shrink(std::uint64_t seed, std::set<std::size_t> without) {
  const std::size_t count = make_plan(seed).items.size();
  for (std::size_t size = std::max<std::size_t>(count / 2, 1);; size = std::max<std::size_t>(size / 2, 1)) {
    bool less = false;
    for (std::size_t begin = 0; begin < count; begin += size) {
      std::set<std::size_t> more = without;
      for (std::size_t i = begin; i < std::min(begin + size, count); ++i) more.insert(i);
      if (more == without) continue;
      if (run(plan_without(seed, more)).broken.empty()) continue;
      without = std::move(more);
      less = true;
    }
    if (size == 1 && !less) return without;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  log::Options quiet;
  quiet.target = options.log;
  quiet.level = options.log == "/dev/null" ? log::Level::error : log::Level::debug;
  if (!log::open(quiet)) return 73;

  const auto began = std::chrono::steady_clock::now();
  std::uint64_t failed = 0, lives = 0;
  Ledger::Figures all;
  net::Duration time{0};
  for (std::uint64_t nth = 0; nth < options.seeds; ++nth) {
    const std::uint64_t seed = options.from + (options.reverse ? options.seeds - 1 - nth : nth);
    std::set<std::size_t> without = options.without;
    Report report = run(plan_without(seed, without), options.trace ? stdout : nullptr);
    if (options.digests || options.seeds == 1)
      std::printf("seed %llu: trace %016llx, %llu steps, %d lives, %.1f h\n", static_cast<unsigned long long>(seed),
                  static_cast<unsigned long long>(report.trace), static_cast<unsigned long long>(report.steps),
                  report.lives, static_cast<double>(report.time.count()) / 3'600'000);
    if (!report.broken.empty() && options.shrink) {
      without = shrink(seed, without);
      report = run(plan_without(seed, without));
    }
    if (options.items) {
      const Plan plan = make_plan(seed);
      for (std::size_t i = 0; i < plan.items.size(); ++i)
        if (!without.contains(i)) std::printf("  item %zu: %s\n", i, plan.items[i].text().c_str());
    }
    if (!report.broken.empty()) {
      ++failed;
      const std::string left_out = without.empty() ? "" : " --without " + listed(without);
      std::printf("seed %llu: BROKEN; to replay: waypost_sim --seed %llu%s --trace\n",
                  static_cast<unsigned long long>(seed), static_cast<unsigned long long>(seed), left_out.c_str());
      for (const std::string& promise : report.broken) std::printf("  %s\n", promise.c_str());
    }
    std::fflush(stdout);
    lives += static_cast<std::uint64_t>(report.lives);
    time += report.time;
    all.accepted += report.figures.accepted;
    all.refused += report.figures.refused;
    all.unknown += report.figures.unknown;
    all.recipients += report.figures.recipients;
    all.taken += report.figures.taken;
    all.twice += report.figures.twice;
    all.reports += report.figures.reports;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::printf(
      "%llu seeds from %llu: %llu with a broken promise; %.0f virtual hours, %llu lives; messages: %d accepted, %d "
      "refused, "
      "%d unknown to their client; recipients: %d, %d reached, %d of them more than once; %d reports; %.1f s\n",
      static_cast<unsigned long long>(options.seeds), static_cast<unsigned long long>(options.from),
      static_cast<unsigned long long>(failed), static_cast<double>(time.count()) / 3'600'000,
      static_cast<unsigned long long>(lives), all.accepted, all.refused, all.unknown, all.recipients, all.taken,
      all.twice, all.reports, seconds);
  return failed == 0 ? 0 : 1;
}
