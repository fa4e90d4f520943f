// mta/mailq.h: the queue as mailq(1) prints it, which scripts read: Postfix's columns.
#pragma once
#include "mta/console.h"

namespace waypost::mta {

/// Returns the exit code.
int print_mailq(Console& console);

}  // namespace waypost::mta
