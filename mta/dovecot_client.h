// mta/dovecot_client.h: a question to Dovecot (mta/dovecot_auth.h) over a loop's own streams. Each has a connection of
// its own, so that one that Dovecot lets wait keeps no other, and a Dovecot that was started anew is found by the next.
#pragma once
#include <chrono>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "mta/dovecot_auth.h"
#include "net/runtime.h"
#include "net/task.h"

namespace waypost::mta {

/// From the connection to the answer. Dovecot holds back refusals by 2 seconds, and a client that keeps failing by up
/// to 15 more.
constexpr net::Duration kDovecotTimeout = std::chrono::seconds(30);

/// `server`: as conf::Config::Auth::dovecot has it. Errors: those of connect() and read(), and of Dialogue::on_line():
/// all of them say nothing of the password. A stop ends it with cancelled.
net::Task<Result<dovecot::Answer>> ask_dovecot(net::Runtime& runtime, std::string server, dovecot::Question question,
                                               std::stop_token stop);

}  // namespace waypost::mta
