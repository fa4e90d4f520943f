// queue/forwarding.h: a recipient's mail is sent elsewhere, as an administrator wants it. Storage thread.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "queue/reading.h"
#include "queue/store_core.h"

namespace waypost::queue {

/// The destination of a domain's mail that goes to another next hop: "b.example/smtp:[192.0.2.7]:25". "": the usual
/// one.
std::string rerouted(std::string_view destination, std::string_view next_hop);

/// The recipient waits at that destination from now on, and is tried at once where it is deferred: the destination's
/// number. nullopt: it is there already, or is damaged, and stays as it is, to be found.
Result<std::optional<std::int64_t>> reroute_recipient(StoreCore& core, Database& db, const Match& match,
                                                      std::string_view next_hop, WallTime now);

/// Another recipient of the message, who waits as this one does and whom notifications call by the address that the
/// sender knows (RFC 3461 §5.2.7). None where the new one is among those that wait. False: it is the one that is
/// there already, or is damaged.
Result<bool> redirect_recipient(StoreCore& core, Database& db, const Match& match, const smtp::Path& to, WallTime now);

}  // namespace waypost::queue
