// delivery/attempt.h: one mail transaction with one host: MAIL to the final reply, PIPELINING where offered.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "delivery/connection.h"
#include "delivery/outcome.h"
#include "net/task.h"
#include "queue/body.h"
#include "queue/message.h"

namespace waypost::delivery {

/// What one transaction made of the recipients it was given.
struct AttemptResult {
  std::vector<Outcome> outcomes;  ///< one for each recipient given, in their order
  /// The session was lost, or the host said 421 or spoke no SMTP, before anything was learnt of the recipients that are
  /// deferred with try_next_host: the host failed, not they. Unset where the transaction went its way.
  std::optional<HostFailure> host;
  /// With `host`: it had not answered MAIL. Where Connection::transactions() was more than 0 before, the session may
  /// merely have been idle for too long: open a new one to the same host.
  bool before_mail = false;
  /// The final dot was sent and no reply came: the host may have taken the message (RFC 5321 §4.5.3.2.6, RFC 1047).
  bool in_doubt = false;
};

/// Sends one message to some of its recipients: at least one. The references and what they name outlive the await.
/// 8-bit content is converted for a host without 8BITMIME (delivery/conversion.h), binary content for one without
/// BINARYMIME; what cannot be converted fails with 5.6.3, or goes as it is where ClientSettings say so.
/// What the session can do afterwards, connection.usable() tells; RSET is sent where the transaction was given up.
/// A stored body that is damaged is not sent: its recipients are deferred (4.3.0, no other host), `host` is unset.
net::Task<AttemptResult> attempt(Connection& connection, const queue::MessageInfo& message,
                                 const std::vector<queue::DueRecipient>& recipients, const queue::Content& content,
                                 queue::OpenBody open_body);

}  // namespace waypost::delivery
