// mta/login_name.h: who a user of this machine is.
#pragma once
#include <cstdint>
#include <string>

namespace waypost::mta {

/// The name that the system has for the number, or "": it has none, or one with other characters than letters, digits
/// and `.`, `_`, `-`, `$`, `@`, `+`, which log lines and trace fields take as they are. Reads files; may block.
std::string login_name(std::uint32_t uid);

}  // namespace waypost::mta
