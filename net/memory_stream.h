// net/memory_stream.h: two Streams joined in memory, for tests and the simulation. One runtime, no sockets.
#pragma once
#include <cstddef>
#include <memory>
#include <utility>

#include "net/runtime.h"
#include "net/stream.h"

namespace waypost::net {

struct MemoryPairOptions {
  Address first_address;           ///< remote() of the second
  Address second_address;          ///< remote() of the first
  std::size_t capacity = 1 << 16;  ///< octets in flight each way before write() waits
};

/// What is written to one is read from the other. Deadlines are of `runtime`, which outlives both. Destroying one
/// closes it.
std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>> memory_pair(Runtime& runtime, MemoryPairOptions options);

}  // namespace waypost::net
