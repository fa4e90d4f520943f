// queue/regexp.h: `X REGEXP Y` in SQL, by RE2: no text makes it slow.
#pragma once

#include <string_view>

#include "base/result.h"

struct sqlite3;

namespace waypost::queue {

/// Case does not matter. Errors: invalid, with what is wrong with it.
Result<> check_regexp(std::string_view expression);

/// Of a connection that was just opened; a code of SQLite. What is no expression matches nothing, and NULL is none.
int add_regexp(sqlite3* db);

}  // namespace waypost::queue
