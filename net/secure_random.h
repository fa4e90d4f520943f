// net/secure_random.h: chance for secrets: what no one can guess.
#pragma once
#include <cstddef>
#include <string>

namespace waypost::net {

/// That many octets. From any thread. Ends the process where the system has none: nothing would be safe without.
std::string secure_random(std::size_t octets);

}  // namespace waypost::net
