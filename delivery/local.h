// delivery/local.h: final delivery of one message to one recipient's Maildir.
#pragma once
#include <string>

#include "delivery/outcome.h"
#include "net/runtime.h"
#include "queue/body.h"
#include "queue/files.h"
#include "queue/message.h"

namespace waypost::delivery {

/// Return-Path and Delivered-To, the trace, then the body (RFC 5321 §4.4). A message that says of itself that it was
/// delivered to this mailbox before is a loop: failed, 5.4.6. Binary content (RFC 3030) is converted where it can be,
/// since readers' line ends are not ours. Own trouble defers. `host` is "maildir".
/// References outlive the await.
net::Task<Outcome> deliver_to_maildir(net::Runtime& runtime, const queue::OpenFolder& open_folder,
                                      const std::string& path_template, const queue::MessageInfo& message,
                                      const queue::DueRecipient& recipient, const queue::Content& content,
                                      queue::OpenBody open_body, const std::string& hostname);

}  // namespace waypost::delivery
