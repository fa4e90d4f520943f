// delivery/digest.h: what the postmaster is told of reports that could not be delivered themselves. Pure.
#pragma once
#include <vector>

#include "delivery/notify.h"
#include "queue/message.h"

namespace waypost::delivery {

/// A message to `to`, at least one, with a null reverse-path: how many could not be delivered, and of each that is
/// kept when, its queue id, to whom and why. It is marked as a digest (queue::Origin::kDigest), which causes none.
queue::Notification compose_digest(const Notifier& notifier, const std::vector<smtp::Path>& to,
                                   const queue::Undelivered& undelivered, queue::Id id, net::WallTime now);

}  // namespace waypost::delivery
