// mta/system_calls.h: the system calls that this process may make from now on: seccomp(2).
#pragma once
#include "base/result.h"

namespace waypost::mta {

/// For all threads, and those that they start. Calls that are not listed fail with ENOSYS, and the kernel's log says
/// so; calls that run programs, or reach for other processes or the kernel, end this process with SIGSYS. Errors:
/// unsupported (also by architectures but x86_64 and aarch64, whose calls differ), denied, io.
Result<> restrict_system_calls();

}  // namespace waypost::mta
