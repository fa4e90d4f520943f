// mta/aliases.h: whom an address of ours stands for: recipients, aliases, details, catch-alls. Pure.
#pragma once
#include <vector>

#include "conf/config.h"
#include "smtp/path.h"

namespace waypost::mta {

/// True if the address is somebody's at its domain: a recipient or an alias, also with a detail behind
/// Domain::sub_address; anybody where the domain has neither a list nor aliases alone, or a catch-all.
bool is_known(const conf::Domain& domain, const smtp::Mailbox& mailbox);

/// True if only the domain's next hop can tell whether the address is somebody's: Domain::asks_next_hop, and it is
/// neither the postmaster's nor an alias, with or without a detail.
bool is_to_be_asked(const conf::Domain& domain, const smtp::Mailbox& mailbox);

/// All that an address stands for, each once: itself where it is no alias. Those of a list keep the order of the file.
/// None if aliases go round, by catch-alls or details (other circles are errors of the configuration).
std::vector<smtp::Path> expand_aliases(const conf::Config& config, const smtp::Path& path);

}  // namespace waypost::mta
