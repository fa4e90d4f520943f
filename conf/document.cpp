#include "conf/document.h"

#include <algorithm>
#include <utility>

#include <toml++/toml.h>

#include "base/escape.h"

namespace waypost::conf {
namespace {

Place place_of(const std::string& file, const toml::source_region& region) {
  return Place{file, static_cast<int>(region.begin.line), static_cast<int>(region.begin.column)};
}

Value convert(const toml::node& node, const std::string& file) {
  Value value;
  value.place = place_of(file, node.source());
  if (const toml::table* table = node.as_table()) {
    value.kind = Value::Kind::table;
    for (const auto& [key, member] : *table) {
      value.members.push_back({std::string(key.str()), place_of(file, key.source()), convert(member, file)});
    }
  } else if (const toml::array* array = node.as_array()) {
    value.kind = Value::Kind::list;
    for (const toml::node& item : *array) value.list.push_back(convert(item, file));
  } else if (const auto* boolean = node.as_boolean()) {
    value.kind = Value::Kind::boolean;
    value.boolean = boolean->get();
  } else if (const auto* integer = node.as_integer()) {
    value.kind = Value::Kind::integer;
    value.integer = integer->get();
  } else if (const auto* text = node.as_string()) {
    value.kind = Value::Kind::text;
    value.text = text->get();
  } else if (node.is_floating_point()) {
    value.kind = Value::Kind::real;
  } else {
    value.kind = Value::Kind::date;
  }
  return value;
}

void merge_tables(Value& into, Value from, const std::string& path, std::vector<Finding>& errors) {
  for (Value::Member& added : from.members) {
    auto there = std::find_if(into.members.begin(), into.members.end(),
                              [&added](const Value::Member& member) { return member.key == added.key; });
    if (there == into.members.end()) {
      into.members.push_back(std::move(added));
      continue;
    }
    std::string key = (path.empty() ? path : path + ".") + escape(added.key, 200);
    Value& first = there->value;
    if (first.kind == Value::Kind::table && added.value.kind == Value::Kind::table) {
      merge_tables(first, std::move(added.value), key, errors);
    } else if (first.is_list_of_tables() && added.value.is_list_of_tables()) {
      std::move(added.value.list.begin(), added.value.list.end(), std::back_inserter(first.list));
    } else {
      errors.push_back({added.place.file, added.place.line, added.place.column, key,
                        "is set already at " + there->place.text(), "keep one of the two"});
    }
  }
}

}  // namespace

std::string Place::text() const {
  if (line == 0) return file;
  return file + ":" + std::to_string(line) + ":" + std::to_string(column);
}

const Value::Member* Value::find(std::string_view key) const {
  auto found = std::find_if(members.begin(), members.end(), [key](const Member& member) { return member.key == key; });
  return found == members.end() ? nullptr : &*found;
}

bool Value::is_list_of_tables() const {
  if (kind != Kind::list || list.empty()) return false;
  return std::all_of(list.begin(), list.end(), [](const Value& item) { return item.kind == Kind::table; });
}

std::string_view name_of(Value::Kind kind) {
  switch (kind) {
    case Value::Kind::boolean:
      return "true or false";
    case Value::Kind::integer:
      return "a whole number";
    case Value::Kind::real:
      return "a number with a fraction";
    case Value::Kind::text:
      return "a string";
    case Value::Kind::date:
      return "a date or time";
    case Value::Kind::list:
      return "a list";
    case Value::Kind::table:
      return "a section";
  }
  return "a value";
}

std::optional<Value> parse_document(const std::string& text, const std::string& file, std::vector<Finding>& errors) {
  try {
    // The name stays ours: toml++ would keep a pointer to it in every node.
    toml::table table = toml::parse(text);
    return convert(table, file);
  } catch (const toml::parse_error& error) {
    Place place = place_of(file, error.source());
    errors.push_back({file, place.line, place.column, "", "is not TOML: " + escape(error.description(), 500),
                      "what comes after this place has not been looked at"});
    return std::nullopt;
  }
}

void merge(Value& into, Value from, std::vector<Finding>& errors) {
  merge_tables(into, std::move(from), "", errors);
}

}  // namespace waypost::conf
