// tests/support/environment.h: how long a random walk goes, from the environment.
#pragma once
#include <cstdint>
#include <cstdlib>

namespace waypost::tests {

/// `WAYPOST_WALK_STEPS=1000000 WAYPOST_WALK_SEED=7`: a number, or what stands for it.
inline std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace waypost::tests
