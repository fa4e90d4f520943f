// delivery/route.h: where a destination's mail goes (DESIGN §5). Pure.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "conf/config.h"

namespace waypost::delivery {

/// The next hops of a destination (a domain in lower case, or an address literal), in the order to try them; never
/// empty. The domain's own block says it, else the first matching route, else (also if that names none) MX by DNS,
/// which is `smtp:DOMAIN` with look_up_mx.
std::vector<conf::NextHop> route(const conf::Config& config, const std::string& destination);

/// Differs where the configuration sends mail another way, wants another TLS there, or asks other resolvers.
std::uint64_t fingerprint_of_routes(const conf::Config& config);

}  // namespace waypost::delivery
