// mta/secret.h: a password, asked of whoever runs the tool. Never out of an argument, which everyone sees.
#pragma once
#include <string>

#include "base/result.h"

namespace waypost::mta {

/// From the terminal without echo, with `prompt`, twice if `confirm`; or where standard input is none, its first line.
/// Without the line end, of at most 4096 octets. Errors: closed (nothing came), invalid (typed differently), too_big,
/// io.
Result<std::string> read_secret(const std::string& prompt, bool confirm);

}  // namespace waypost::mta
