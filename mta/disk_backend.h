// mta/disk_backend.h: the reading half of the control socket, from the files, while no daemon runs. For the tool.
#pragma once
#include <memory>
#include <string>

#include "mta/control_api.h"

namespace waypost::mta {

/// Opens queue.db and history.db to read. Nothing is written.
/// Errors: busy (a daemon has them), not_found (no queue there), denied, damaged, io.
Result<std::unique_ptr<ControlBackend>> open_disk_backend(const std::string& data_dir);

/// For check_store() and back_up() alone, which open what they need, so that a queue that cannot be opened is checked
/// too.
std::unique_ptr<ControlBackend> open_store_backend(const std::string& data_dir);

}  // namespace waypost::mta
