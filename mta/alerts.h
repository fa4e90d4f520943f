// mta/alerts.h: what an administrator has to look at. Pure but for disk_of().
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "mta/control_api.h"

namespace waypost::mta {

/// Of a file system.
struct Disk {
  std::uint64_t free = 0, size = 0;  ///< octets; a size of 0: it is not known
};

/// Of the one that `folder` is on. Asks the system.
Disk disk_of(const std::string& folder);

/// One line each: what it is, and what to do. None where all is well.
std::vector<std::string> alerts(const DaemonFacts& facts, const Disk& disk);

}  // namespace waypost::mta
