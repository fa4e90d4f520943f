// tests/sim/chance.h: random numbers that are the same on every machine.
#pragma once
#include <cstdint>
#include <random>

namespace waypost::sim {

class Chance {
 public:
  explicit Chance(std::uint64_t seed) : numbers_(seed) {}
  std::uint64_t next() { return numbers_(); }
  std::uint64_t below(std::uint64_t end) { return end == 0 ? 0 : numbers_() % end; }
  std::uint64_t from(std::uint64_t low, std::uint64_t high) { return low + below(high - low + 1); }
  bool one_in(std::uint64_t count) { return below(count) == 0; }

 private:
  std::mt19937_64 numbers_;
};

}  // namespace waypost::sim
