// resolver/ares_resolver.h: the Resolver on c-ares, over the sockets of one libuv loop.
#pragma once
#include <memory>

#include "conf/config.h"
#include "net/loop.h"
#include "resolver/resolver.h"

namespace waypost::resolver {

/// Errors: invalid (a server that c-ares does not take), internal. UDP first, TCP where an answer is truncated.
/// Servers: the configuration's, else the system's, read again when /etc/resolv.conf changes. The runtime outlives it.
Result<std::unique_ptr<Resolver>> make_ares_resolver(net::LoopRuntime& runtime, const conf::Config::Resolver& config);

}  // namespace waypost::resolver
