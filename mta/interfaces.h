// mta/interfaces.h: the addresses that this machine has now.
#pragma once
#include <vector>

#include "net/address.h"

namespace waypost::mta {

/// Of all interfaces that are up, loopback too; ports are 0. Does not block.
std::vector<net::Address> interface_addresses();

}  // namespace waypost::mta
