// net/tcp_stream.h: a Stream over a TCP or local socket on a libuv loop. Private to net/: others get it from a Runtime.
#pragma once
#include <memory>
#include <optional>
#include <stop_token>

#include "net/runtime.h"

namespace waypost::net {

class UvRuntime;

/// Takes over `fd`, a connected socket, non-blocking and without delay. `local`: where it is known without asking.
/// Errors: busy. The descriptor is closed then.
Result<std::unique_ptr<Stream>> adopt_tcp(UvRuntime& runtime, int fd, const Address& remote,
                                          std::optional<Address> local);

/// As Runtime::connect. libuv's TCP handle reads and writes any stream socket; only the connecting differs.
Task<Result<std::unique_ptr<Stream>>> connect_tcp(UvRuntime& runtime, Address remote, std::optional<Address> source,
                                                  TimePoint deadline, std::stop_token stop);

}  // namespace waypost::net
