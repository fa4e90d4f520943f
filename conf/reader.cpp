#include "conf/reader.h"

#include <algorithm>

#include "base/escape.h"
#include "base/text.h"
#include "conf/suggest.h"
#include "conf/units.h"
#include "conf/values.h"

namespace waypost::conf {
namespace {

std::string joined(const std::string& section, const std::string& key) {
  return section.empty() ? key : section + "." + key;
}

std::string numbered(const std::string& key, std::size_t index) {
  return key + "[" + std::to_string(index + 1) + "]";
}

/// How to write what somebody wrote as another type.
std::string type_hint(const Value& value, const std::string& wanted) {
  bool wants_number = wanted.find("number") != std::string::npos;
  if (value.kind == Value::Kind::text && wants_number && parse_decimal(value.text)) {
    return "write " + value.text + ", without quotes";
  }
  if (value.kind == Value::Kind::text && wanted == "true or false") return "write true or false, without quotes";
  if (value.kind == Value::Kind::text && wanted == "a list") return "write [" + quoted(value.text) + "]";
  if (value.kind == Value::Kind::integer && wanted == "a duration") {
    return "write it with its unit and in quotes: \"" + std::to_string(value.integer) + "s\"";
  }
  if (value.kind == Value::Kind::integer && wanted == "a string") return "write it in quotes";
  return "";
}

/// Where a key belongs that stands in the wrong section.
std::string section_of(const std::string& key) {
  std::string meant;
  for (const std::string& known : all_keys()) {
    std::size_t dot = known.rfind('.');
    std::string last = dot == std::string::npos ? known : known.substr(dot + 1);
    if (last != key) continue;
    if (dot == std::string::npos) return "it stands before the first [section]";
    meant += (meant.empty() ? "is " : " or ") + quoted(known);
  }
  return meant.empty() ? "" : meant + " meant?";
}

}  // namespace

Place Places::of(const std::string& key) const {
  std::string name = key;
  while (!name.empty()) {
    auto found = places_.find(name);
    if (found != places_.end()) return found->second;
    std::size_t end = name.find_last_of(".[");
    name = end == std::string::npos ? "" : name.substr(0, end);
  }
  auto root = places_.find("");
  return root == places_.end() ? Place{} : root->second;
}

void Reading::error(const std::string& key, const Place& place, std::string message, std::string hint) {
  errors.push_back({place.file, place.line, place.column, key, std::move(message), std::move(hint)});
}

void Reading::warning(const std::string& key, const Place& place, std::string message, std::string hint) {
  warnings.push_back({place.file, place.line, place.column, key, std::move(message), std::move(hint)});
}

bool Reading::failed(const std::string& key) const {
  return std::any_of(errors.begin(), errors.end(), [&key](const Finding& error) {
    if (!error.key.starts_with(key)) return false;
    return error.key.size() == key.size() || error.key[key.size()] == '.' || error.key[key.size()] == '[';
  });
}

std::string toml_text(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (is_control(c)) {
      constexpr const char* kHex = "0123456789abcdef";
      const auto octet = static_cast<unsigned char>(c);
      out += std::string("\\u00") + kHex[octet >> 4U] + kHex[octet & 15U];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string toml_text(const Value& value) {
  switch (value.kind) {
    case Value::Kind::boolean:
      return value.boolean ? "true" : "false";
    case Value::Kind::integer:
      return std::to_string(value.integer);
    case Value::Kind::text:
      return toml_text(value.text);
    case Value::Kind::list:
      return toml_text(value.list);
    default:
      return "";
  }
}

const Place& Section::place() const {
  static const Place kNone;
  return table_ ? table_->place : kNone;
}

std::string Section::shown(const std::string& key) const {
  // TOML's quoted keys may hold anything.
  return joined(shown_, escape(key, 200));
}

bool Section::has(const std::string& key) const {
  return table_ && table_->find(key);
}

bool Section::is_text(const std::string& key) const {
  const Value::Member* member = table_ ? table_->find(key) : nullptr;
  return member && member->value.kind == Value::Kind::text;
}

void Section::require(const std::string& key, const std::string& hint) {
  if (reading_.list_keys || has(key)) return;
  reading_.error(shown(key), place(), "is missing", hint);
}

void Section::ignore(const std::string& key) {
  ask(key);
}

const Value* Section::ask(const std::string& key) {
  known_.push_back(key);
  reading_.keys.insert(joined(plain_, key));
  const Value::Member* member = table_ ? table_->find(key) : nullptr;
  if (!member) return nullptr;
  reading_.places.put(shown(key), member->value.place);
  reading_.settings.push_back({shown(key), toml_text(member->value), member->value.place.text()});
  return &member->value;
}

void Section::note_default(const std::string& key, std::string text) {
  std::vector<Setting>& settings = reading_.settings;
  if (has(key) || (!settings.empty() && settings.back().key == shown(key))) return;
  settings.push_back({shown(key), std::move(text), ""});
}

void Section::wrong_type(const std::string& key, const Value& value, const std::string& wanted) {
  std::string message = "must be " + wanted + ", not " + std::string(name_of(value.kind));
  reading_.error(key, value.place, message, type_hint(value, wanted));
}

bool Section::string(const std::string& key, Item& into) {
  const Value* value = ask(key);
  if (!value) return false;
  if (value->kind != Value::Kind::text) {
    wrong_type(shown(key), *value, "a string");
    return false;
  }
  into = {value->text, shown(key), value->place, false};
  return true;
}

void Section::text(const std::string& key, std::string& into) {
  note_default(key, toml_text(into));
  Item item;
  if (string(key, item)) into = item.text;
}

void Section::boolean(const std::string& key, bool& into) {
  note_default(key, into ? "true" : "false");
  const Value* value = ask(key);
  if (!value) return;
  if (value->kind != Value::Kind::boolean) return wrong_type(shown(key), *value, "true or false");
  into = value->boolean;
}

bool Section::integer(const std::string& key, std::int64_t& into, std::int64_t low, std::int64_t high) {
  const Value* value = ask(key);
  return value && one_integer(shown(key), *value, into, low, high);
}

bool Section::one_integer(const std::string& shown, const Value& value, std::int64_t& into, std::int64_t low,
                          std::int64_t high) {
  if (value.kind != Value::Kind::integer) {
    wrong_type(shown, value, "a whole number");
    return false;
  }
  if (value.integer < low || value.integer > high) {
    reading_.error(shown, value.place,
                   std::to_string(value.integer) + " is out of range: from " + std::to_string(low) + " to " +
                       std::to_string(high));
    return false;
  }
  into = value.integer;
  return true;
}

void Section::numbers(const std::string& key, std::vector<int>& into, int low, int high) {
  note_default(key, "[]");
  const Value* value = ask(key);
  if (!value) return;
  if (value->kind != Value::Kind::list) return wrong_type(shown(key), *value, "a list");
  into.clear();
  for (std::size_t i = 0; i < value->list.size(); ++i) {
    std::int64_t read = low;
    one_integer(numbered(shown(key), i), value->list[i], read, low, high);
    into.push_back(static_cast<int>(read));
  }
}

bool Section::word(const std::string& key, std::string& into, const std::vector<std::string>& names) {
  Item item;
  if (!string(key, item)) return false;
  if (std::find(names.begin(), names.end(), item.text) != names.end()) {
    into = item.text;
    return true;
  }
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + quoted(name);
  std::string meant = nearest(item.text, names);
  std::string hint = meant.empty() ? "" : "did you mean " + quoted(meant) + "?";
  reading_.error(item.key, item.place, quoted(item.text) + " is none of " + list, hint);
  return false;
}

bool Section::one_duration(const std::string& key, const Value& value, std::chrono::milliseconds& into, Span span) {
  if (value.kind != Value::Kind::text) {
    wrong_type(key, value, "a duration");
    return false;
  }
  Result<std::chrono::milliseconds> parsed = parse_duration(value.text);
  if (!parsed) {
    reading_.error(key, value.place, parsed.error().what);
    return false;
  }
  if (*parsed < span.low || *parsed > span.high) {
    reading_.error(
        key, value.place,
        quoted(value.text) + " is out of range: from " + duration_text(span.low) + " to " + duration_text(span.high));
    return false;
  }
  if (span.whole_seconds && parsed->count() % 1000 != 0) {
    reading_.error(key, value.place, quoted(value.text) + " is not a whole number of seconds");
    return false;
  }
  into = *parsed;
  return true;
}

void Section::duration(const std::string& key, std::chrono::milliseconds& into, std::chrono::milliseconds low,
                       std::chrono::milliseconds high) {
  note_default(key, toml_text(duration_text(into)));
  const Value* value = ask(key);
  if (value) one_duration(shown(key), *value, into, {low, high, false});
}

void Section::duration(const std::string& key, std::chrono::seconds& into, std::chrono::seconds low,
                       std::chrono::seconds high) {
  note_default(key, toml_text(duration_text(into)));
  const Value* value = ask(key);
  if (!value) return;
  std::chrono::milliseconds read{};
  if (one_duration(shown(key), *value, read, {low, high, true})) {
    into = std::chrono::duration_cast<std::chrono::seconds>(read);
  }
}

void Section::durations(const std::string& key, std::vector<std::chrono::seconds>& into, std::chrono::seconds low,
                        std::chrono::seconds high) {
  std::vector<std::string> usual;
  for (const std::chrono::seconds each : into) usual.push_back(duration_text(each));
  note_default(key, toml_text(usual));
  const Value* value = ask(key);
  if (!value) return;
  if (value->kind != Value::Kind::list) return wrong_type(shown(key), *value, "a list");
  into.clear();
  for (std::size_t i = 0; i < value->list.size(); ++i) {
    std::chrono::milliseconds read{};
    one_duration(numbered(shown(key), i), value->list[i], read, {low, high, true});
    into.push_back(std::chrono::duration_cast<std::chrono::seconds>(read));
  }
}

void Section::size(const std::string& key, std::uint64_t& into, std::uint64_t low, std::uint64_t high) {
  note_default(key, toml_text(size_text(into)));
  const Value* value = ask(key);
  if (!value) return;
  std::string said = value->text;
  if (value->kind == Value::Kind::integer) {
    said = std::to_string(value->integer);
  } else if (value->kind != Value::Kind::text) {
    return wrong_type(shown(key), *value, "a size");
  }
  Result<std::uint64_t> octets = parse_size(said);
  if (!octets) return reading_.error(shown(key), value->place, octets.error().what);
  if (*octets < low || *octets > high) {
    return reading_.error(shown(key), value->place,
                          quoted(said) + " is out of range: from " + size_text(low) + " to " + size_text(high));
  }
  into = *octets;
}

std::vector<Item> Section::strings(const std::string& key, bool or_one) {
  note_default(key, "[]");
  const Value* value = ask(key);
  std::vector<Item> items;
  if (!value) return items;
  if (or_one && value->kind == Value::Kind::text) {
    items.push_back({value->text, shown(key), value->place, false});
    return items;
  }
  if (value->kind != Value::Kind::list) {
    wrong_type(shown(key), *value, or_one ? "a string or a list of strings" : "a list");
    return items;
  }
  for (std::size_t i = 0; i < value->list.size(); ++i) {
    const Value& item = value->list[i];
    std::string name = numbered(shown(key), i);
    bool wrong = item.kind != Value::Kind::text;
    if (wrong) wrong_type(name, item, "a string");
    reading_.places.put(name, item.place);
    items.push_back({item.text, name, item.place, wrong});
  }
  return items;
}

Section Section::section(const std::string& key) {
  known_.push_back(key);
  const Value::Member* member = table_ ? table_->find(key) : nullptr;
  const Value* value = member ? &member->value : nullptr;
  if (value && value->kind != Value::Kind::table) {
    std::string hint = value->is_list_of_tables() ? "it stands once: write [" + shown(key) + "]" : "";
    reading_.error(shown(key), member->place, "must be a section, not " + std::string(name_of(value->kind)), hint);
    value = value->is_list_of_tables() ? value->list.data() : nullptr;
  }
  if (value) reading_.places.put(shown(key), member->place);
  return {value, shown(key), joined(plain_, key), reading_};
}

std::vector<Section> Section::sections(const std::string& key) {
  known_.push_back(key);
  const Value::Member* member = table_ ? table_->find(key) : nullptr;
  std::string plain = joined(plain_, key);
  std::vector<Section> found;
  if (reading_.list_keys) found.push_back(Section(nullptr, shown(key), plain, reading_));
  if (!member) return found;

  std::string brackets = "write [[" + shown(key) + "]]";
  if (member->value.kind == Value::Kind::table) {
    reading_.error(shown(key), member->place, "stands in double brackets, since there can be several", brackets);
    found.push_back(Section(&member->value, numbered(shown(key), 0), plain, reading_));
    return found;
  }
  if (member->value.kind != Value::Kind::list) {
    reading_.error(shown(key), member->value.place,
                   "must be a section, not " + std::string(name_of(member->value.kind)), brackets);
    return found;
  }
  const std::vector<Value>& list = member->value.list;
  for (std::size_t i = 0; i < list.size(); ++i) {
    std::string name = numbered(shown(key), i);
    if (list[i].kind != Value::Kind::table) {
      reading_.error(name, list[i].place, "must be a section, not " + std::string(name_of(list[i].kind)), brackets);
      continue;
    }
    reading_.places.put(name, list[i].place);
    found.push_back(Section(&list[i], name, plain, reading_));
  }
  return found;
}

void Section::finish() {
  if (!table_) return;
  for (const Value::Member& member : table_->members) {
    if (std::find(known_.begin(), known_.end(), member.key) != known_.end()) continue;
    std::string meant = nearest(member.key, known_);
    std::string hint = meant.empty() ? "" : "did you mean " + quoted(meant) + "?";
    if (meant.empty() && !reading_.of_another_file) hint = section_of(member.key);
    reading_.error(shown(member.key), member.place, "unknown key", hint);
  }
}

}  // namespace waypost::conf
