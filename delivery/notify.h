// delivery/notify.h: which notification goes to whom, if any (RFC 3461 §4.1, §5.2; RFC 3464). Pure.
#pragma once
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "delivery/dsn.h"
#include "delivery/outcome.h"
#include "queue/message.h"

namespace waypost::delivery {

/// Whose name is on a notification, and how long it is tried.
struct Notifier {
  std::string hostname;
  std::chrono::seconds lifetime{86400};  ///< queue.bounce_expire
};

/// One recipient that failed, expired or is delayed, with what was asked for it.
struct Subject {
  smtp::Path forward_path;
  smtp::Notify notify;
  ReportedRecipient report;
};

/// Without its status and reply.
Subject subject_of(const queue::DueRecipient& recipient, ReportedRecipient::Action action);

/// What the sender may be told of an outcome: of a failure; of success where it asked for that and nobody after us
/// tells (RFC 3461 §5.2). `delay_over` is queue.delay_over: of success too where it was told of a delay and asked for
/// nothing, neither success nor anything else.
std::optional<Subject> subject_of(const queue::DueRecipient& recipient, const Outcome& outcome, bool delay_over);

/// The subjects of which the sender is told: those whose NOTIFY admits it; none of a message with a null reverse-path.
std::vector<Subject> to_be_told(const queue::MessageInfo& message, std::vector<Subject> subjects);

/// True if the whole message is to come back: RET=FULL, for a failure (RFC 3461 §4.3), if it is small enough.
bool returns_whole(const queue::MessageInfo& message, const std::vector<Subject>& subjects);

/// A message that we compose ourselves, as one of the queue: what all of these have in common. Without recipients.
queue::Notification from_ourselves(const Notifier& notifier, queue::Id id, net::WallTime now);

/// The notification about `subjects`, which to_be_told() has chosen; nullopt if there are none. `original` is in wire
/// form, its trace included: the whole message, which is returned if returns_whole(), or its header section.
std::optional<queue::Notification> compose_notification(const Notifier& notifier, const queue::MessageInfo& message,
                                                        const std::vector<Subject>& subjects, std::string original,
                                                        queue::Id id, net::WallTime now);

}  // namespace waypost::delivery
