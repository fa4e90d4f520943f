// queue/filter_sql.h: a filter as conditions in SQL. Their text is made of fixed pieces alone; what a person wrote is
// bound.
#pragma once
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "net/clock.h"
#include "queue/filter.h"

namespace waypost::queue {

struct Conditions {
  std::string message;    ///< on `m`, a message
  std::string recipient;  ///< on `r`, a recipient, and `d`, its destination (LEFT JOIN). Of those that have not ended,
                          ///< unless the filter asks for another state
  /// Few may match by what their recipients are, which is looked at first then, without a look at their messages.
  bool by_recipient = true;
  /// To bind to ?10, ?11, ...: so the conditions may stand anywhere, and a statement has ?1 to ?9 for itself.
  std::vector<std::variant<std::int64_t, std::string>> values;
  static constexpr int kFirst = 10;
};

Conditions conditions_of(const Filter& filter, net::WallTime now);

/// A pattern of the filter language as one of LIKE, with `\` to escape: `*@b.example` is `%@b.example`.
std::string like_pattern(std::string_view pattern);
/// No value holds a NUL; LIKE would end its pattern there, and `*` before it would mean everything.
bool matches_nothing(std::string_view pattern);

}  // namespace waypost::queue
