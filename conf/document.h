// conf/document.h: TOML text as a plain tree in which each value knows where it stands. Keeps toml++ behind it. No I/O.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/load.h"

namespace waypost::conf {

/// A place in a file; line and column count from 1, 0: the file as a whole.
struct Place {
  std::string file;
  int line = 0;
  int column = 0;
  std::string text() const;  ///< "waypost.toml:12:3"
};

/// One TOML value. `kind` says which of the members counts.
struct Value {
  enum class Kind : std::uint8_t { boolean, integer, real, text, date, list, table };
  struct Member;

  Kind kind = Kind::table;
  bool boolean = false;
  std::int64_t integer = 0;
  std::string text;
  std::vector<Value> list;
  std::vector<Member> members;  ///< of a table
  Place place;

  const Member* find(std::string_view key) const;  ///< nullptr: there is none
  bool is_list_of_tables() const;                  ///< not empty, and nothing but tables
};

/// A key of a table with its value; `place` is the key's.
struct Value::Member {
  std::string key;
  Place place;
  Value value;
};

/// "a string", "a list", ...: for messages.
std::string_view name_of(Value::Kind kind);

/// The document, or nullopt with one more error. TOML stops at its first mistake: what comes after it was not read.
std::optional<Value> parse_document(const std::string& text, const std::string& file, std::vector<Finding>& errors);

/// Adds the keys of one file's root table to another's. Sections become one, lists of tables follow one another; any
/// other key that both set is an error that names both places.
void merge(Value& into, Value from, std::vector<Finding>& errors);

}  // namespace waypost::conf
