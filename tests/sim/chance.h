// tests/sim/chance.h: random numbers that are the same on every machine.
#pragma once
#include <cstdint>
#include <random>
#include <string_view>

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

/// A hash of all that was put in, in its order.
class Trace {
 public:
  void add(std::string_view octets) {
    for (char c : octets) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
  std::uint64_t hash() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

}  // namespace waypost::sim
