// tests/sim/world.h: one run: the whole relay, its clients, hosts, names and disk, on one thread in virtual time.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/sim/ledger.h"
#include "tests/sim/plan.h"

namespace waypost::sim {

struct Report {
  std::vector<std::string> broken;  ///< promises; empty: all were kept
  Ledger::Figures figures;
  std::uint64_t trace = 0;  ///< a hash of all that happened, and when
  std::uint64_t steps = 0;
  int lives = 0;
  net::Duration time{0};
};

/// Runs the plan to its end: until the queue has run empty after all was healed. `trace`: where to print what happens,
/// or null.
Report run(const Plan& plan, std::FILE* trace = nullptr);

}  // namespace waypost::sim
