// delivery/disposition.h: errors and remote replies become outcomes here and nowhere else. Pure.
#pragma once
#include <string>

#include "base/result.h"
#include "delivery/outcome.h"
#include "smtp/reply.h"

namespace waypost::delivery {

/// Where in a session something was answered or went wrong.
enum class Stage { connect, banner, ehlo, mail, rcpt, data, body, final_dot, rset };

/// A reply that ends or defers a recipient. Codes of PROTOCOL, "Outbound": 552 to RCPT is as 452; 421 is the host's.
/// Class 2 (3 at DATA) is success at final_dot and must not be given for other stages.
Outcome of_reply(Stage stage, const smtp::Reply& reply, const std::string& host);

/// True if this reply is about the host, not about a recipient: 421 anywhere, any but 2xx as banner or to EHLO.
bool is_host_failure(Stage stage, const smtp::Reply& reply);
HostFailure host_failure(Stage stage, const smtp::Reply& reply, const std::string& host);

/// An I/O error: always temporary. Status 4.4.1 (no connection), 4.4.2 (lost or timed out later), 4.3.0 (ours).
HostFailure of_error(Stage stage, const Error& error, const std::string& host);

/// A deferred outcome for a recipient whose host failed.
Outcome from_host_failure(const HostFailure& failure);

/// Final delivery on our own disk: full 4.3.1 (deferred), io, damaged, busy 4.3.0 (deferred); never permanent.
Outcome of_local_error(const Error& error);

}  // namespace waypost::delivery
