// mta/long_work.h: work of the daemon that takes long, before somebody who waits at a terminal: how far it is, and
// Ctrl-C.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "mta/console.h"

namespace waypost::mta {

/// "12 000 of 48 000 messages, 25 %, 4 000/s, 9s left", of an answer to GET /v1/progress, so long after one that had
/// `then` done. Pure.
std::string progress_text(const Json& progress, std::uint64_t then, std::chrono::milliseconds between);

/// As Console::fetch(), of a request that may be watched by a name (?progress=). Where `err` is a terminal: after a
/// second a line there shows how far it is, until the answer is there; Ctrl-C has the work stopped, and its answer says
/// what was done ("stopped": true), a second one ends the tool.
std::optional<Json> fetch_long(ControlRequest request, Console& console);

/// Says of an answer that it was stopped. Returns whether it was.
bool note_stopped(const Json& answer, Console& console);

}  // namespace waypost::mta
