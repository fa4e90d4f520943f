// queue/filter.h: the filter language of the tool: `from:*@shop.example to:@gmail.com age:>2h tries:>=3
// state:deferred`.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "queue/id.h"

namespace waypost::queue {

/// One term. Terms of different fields must all hold; of several with the same field, one (but bounds, `age:>1h
/// age:<2h`, must all hold); `-term`: must not.
struct Term {
  enum class Field : std::uint8_t {
    id,
    from,
    to,
    destination,
    mx,
    age,
    size,
    tries,
    error,
    state,
    user,
    client,
    change
  };
  enum class Compare : std::uint8_t { equal, less, less_equal, greater, greater_equal };
  Field field = Field::id;
  bool negated = false;
  Compare compare = Compare::equal;
  std::string text;          ///< pattern: `*` stands for anything; `@b.example` for every address there
  bool regex = false;        ///< error: `text` is a regular expression of RE2 (`error~"^45[01]"`)
  std::uint64_t number = 0;  ///< seconds, octets, tries or a change, where the field is one of these
};

struct Filter {
  std::vector<Term> terms;  ///< none: everything
};

/// Errors: invalid, saying which term and what is admitted. A bare word that is an id stands for `id:`.
Result<Filter> parse_filter(std::string_view text);

/// These messages.
Filter filter_of(const std::vector<Id>& ids);

/// Names of the fields, for completion and mistakes.
std::vector<std::string> filter_fields();

/// In words: "messages from *@shop.example older than 2h".
std::string in_words(const Filter& filter);

}  // namespace waypost::queue
