// tests/fuzz/pattern.h: the patterns of filters and traces, written without any of the product's code.
#pragma once
#include <string>
#include <string_view>

#include "base/text.h"

namespace waypost::fuzz {

/// `*` stands for anything, ASCII letters in either case; `@` at the front for `*@`.
inline bool matches(std::string_view pattern, std::string_view text) {
  std::string given = to_lower(pattern.starts_with('@') ? '*' + std::string(pattern) : std::string(pattern));
  std::string in = to_lower(text);
  std::size_t p = 0, t = 0, star = std::string::npos, retry = 0;
  while (t < in.size()) {
    if (p < given.size() && given[p] == '*') {
      star = p++;
      retry = t;
    } else if (p < given.size() && given[p] == in[t]) {
      ++p;
      ++t;
    } else if (star != std::string::npos) {
      p = star + 1;
      t = ++retry;
    } else {
      return false;
    }
  }
  return given.find_first_not_of('*', p) == std::string::npos;
}

}  // namespace waypost::fuzz
