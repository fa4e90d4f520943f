// mta/long_work.h: work that takes long, of the daemon or of the tool itself, before somebody who waits at a terminal:
// how far it is, and Ctrl-C.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "mta/console.h"
#include "queue/progress.h"

namespace waypost::mta {

/// "12 000 of 48 000 messages, 25 %, 4 000/s, 9s left", of an answer to GET /v1/progress, so long after one that had
/// `then` done. Pure.
std::string progress_text(const Json& progress, std::uint64_t then, std::chrono::milliseconds between);

/// As Console::fetch(), of a request that may be watched by a name (?progress=). Where `err` is a terminal: after a
/// second a line there shows how far it is, until the answer is there; Ctrl-C has the work stopped, and its answer says
/// what was done ("stopped": true), a second one ends the tool.
std::optional<Json> fetch_long(ControlRequest request, Console& console);

/// The same of work that this program does itself.
void do_long(const std::function<void(const queue::Watched&)>& work, Console& console);
template <class T>
T do_long(const std::function<T(const queue::Watched&)>& work, Console& console) {
  std::optional<T> done;
  do_long([&](const queue::Watched& progress) { done.emplace(work(progress)); }, console);
  return *std::move(done);
}

/// Says of an answer that it was stopped. Returns whether it was.
bool note_stopped(const Json& answer, Console& console);

}  // namespace waypost::mta
