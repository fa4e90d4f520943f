// smtp/sender_rule.h: which reverse-paths a login may use: rules as a file has them. Pure.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"
#include "smtp/path.h"

namespace waypost::smtp {

/// `ann@b.example`; `@b.example`: every address there, but not below it; `<>`: the null path; `*`: all of these.
/// An address has no commas, colons, spaces and asterisks here. Errors: invalid.
Result<> check_sender_rule(std::string_view rule);

/// True if the rule, a good one, covers the path. Case does not matter.
bool covers(std::string_view rule, const Path& reverse_path);

}  // namespace waypost::smtp
