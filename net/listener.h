// net/listener.h: listening TCP and local sockets, and taking connections from one on a libuv loop. Private to net/:
// others get them from a Runtime.
#pragma once
#include <memory>

#include "net/runtime.h"

namespace waypost::net {

class UvRuntime;

/// As Runtime::listen. Needs no loop.
Result<std::shared_ptr<ListenSocket>> listen_tcp(const Address& address);

/// As LoopRuntime::adopt.
Result<std::shared_ptr<ListenSocket>> adopt_listening_tcp(int descriptor);

/// As Runtime::accept_on. `socket` is one of listen_tcp().
Result<std::unique_ptr<Listener>> accept_tcp(UvRuntime& runtime, std::shared_ptr<ListenSocket> socket);

}  // namespace waypost::net
