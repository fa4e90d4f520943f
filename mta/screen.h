// mta/screen.h: a terminal that a program has for itself: no echo, a screen of its own. One at a time in a process.
#pragma once
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "mta/top.h"

namespace waypost::mta {

/// While it is there the terminal of standard input and output is its own. Afterwards it is as it was, also where a
/// signal ends the program.
class Screen {
 public:
  /// Errors: unsupported (standard input or output is no terminal, or one that knows no cursor).
  static Result<std::unique_ptr<Screen>> open();
  virtual ~Screen() = default;

  virtual top::Size size() const = 0;
  /// Errors: closed (the terminal has gone).
  virtual Result<> put(std::string_view octets) = 0;
  /// The octets of a key that came within `timeout`; "" if nothing did, or the size has changed. Errors: closed.
  virtual Result<std::string> key(std::chrono::milliseconds timeout) = 0;
};

}  // namespace waypost::mta
