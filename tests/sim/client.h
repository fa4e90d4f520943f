// tests/sim/client.h: a client of the relay: brings mail, breaks off, says nonsense; and keeps what it was told.
#pragma once
#include <string>
#include <vector>

#include "tests/sim/host.h"
#include "tests/sim/plan.h"

namespace waypost::sim {

/// One connection, to its end. What it does hangs on its item's chances alone.
net::Task<> run_client(Scene& scene, const Plan& plan, Item item, net::Address relay);

}  // namespace waypost::sim
