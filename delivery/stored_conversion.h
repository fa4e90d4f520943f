// delivery/stored_conversion.h: what a stored message needs for a host that takes 7bit alone, or for a mailbox file.
#pragma once
#include "base/result.h"
#include "delivery/conversion.h"
#include "net/task.h"
#include "queue/body.h"

namespace waypost::delivery {

/// Reads trace and body. The references outlive the await. Errors: as queue::BodyReader.
net::Task<Result<Conversion>> learn_conversion(const queue::Content& content, const queue::OpenBody& open_body);

}  // namespace waypost::delivery
