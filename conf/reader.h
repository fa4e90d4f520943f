// conf/reader.h: typed access to a configuration's sections. Each mistake becomes a finding; none stops the reading.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "conf/document.h"
#include "conf/load.h"
#include "conf/values.h"

namespace waypost::conf {

/// Where each key that a file sets stands, by the name that messages use: "listener[1].role", "queue.retry[3]".
class Places {
 public:
  void put(const std::string& key, Place place) { places_[key] = std::move(place); }
  bool has(const std::string& key) const { return places_.contains(key); }
  /// The key's place, or that of the section around it, or no place at all.
  Place of(const std::string& key) const;

 private:
  std::map<std::string, Place> places_;
};

/// A value as it would stand in a file; "" of what is not set.
std::string toml_text(const Value& value);
std::string toml_text(const std::string& text);
template <class T>
std::string toml_text(const T& value) {
  if constexpr (requires { value.text(); }) {
    return toml_text(std::string(value.text()));
  } else if constexpr (requires { value.path; }) {
    return toml_text(std::string(value.path));
  } else if constexpr (requires { value.begin(); }) {
    std::string out;
    for (const auto& each : value) out += (out.empty() ? "" : ", ") + toml_text(each);
    return "[" + out + "]";
  } else {
    return "";
  }
}

/// What reading leaves behind beside the values.
struct Reading {
  std::vector<Finding> errors;
  std::vector<Finding> warnings;
  Places places;
  std::set<std::string> keys;  ///< every key that was asked for, without numbers: "listener.role"
  std::vector<Setting> settings;
  bool list_keys = false;        ///< nothing is read: the keys are wanted, also those of sections that are not there
  bool of_another_file = false;  ///< no waypost.toml: an unknown key belongs to none of its sections
  void error(const std::string& key, const Place& place, std::string message, std::string hint = "");
  void warning(const std::string& key, const Place& place, std::string message, std::string hint = "");
  /// True if there is an error about this key, or about a part of it: what it holds is not what the file says.
  bool failed(const std::string& key) const;
};

/// A string of a list, with its own place and name.
struct Item {
  std::string text;
  std::string key;
  Place place;
  bool wrong = false;  ///< it is no string, which has been reported
};

/// A table of the document. Each key is asked for once, by its type; finish() then reports those that nobody knows.
/// A value that is absent or wrong leaves `into` as it was. References must outlive the section.
class Section {
 public:
  Section(const Value& table, Reading& reading) : Section(&table, "", "", reading) {}

  bool has(const std::string& key) const;
  void require(const std::string& key, const std::string& hint);  ///< an error where it is absent
  void ignore(const std::string& key);                            ///< known, and read elsewhere

  void text(const std::string& key, std::string& into);
  void boolean(const std::string& key, bool& into);
  void duration(const std::string& key, std::chrono::milliseconds& into, std::chrono::milliseconds low,
                std::chrono::milliseconds high);
  void duration(const std::string& key, std::chrono::seconds& into, std::chrono::seconds low,
                std::chrono::seconds high);
  void durations(const std::string& key, std::vector<std::chrono::seconds>& into, std::chrono::seconds low,
                 std::chrono::seconds high);
  void size(const std::string& key, std::uint64_t& into, std::uint64_t low, std::uint64_t high);
  template <class Int>
  void number(const std::string& key, Int& into, std::int64_t low, std::int64_t high) {
    note_default(key, std::to_string(into));
    std::int64_t wide = 0;
    if (integer(key, wide, low, high)) into = static_cast<Int>(wide);
  }
  void numbers(const std::string& key, std::vector<int>& into, int low, int high);
  /// One of a few words, each with its value.
  template <class T>
  void choice(const std::string& key, T& into, std::initializer_list<std::pair<const char*, T>> words) {
    std::vector<std::string> names;
    for (const auto& [name, value] : words) {
      names.emplace_back(name);
      if (value == into) note_default(key, toml_text(std::string(name)));
    }
    std::string said;
    if (!word(key, said, names)) return;
    for (const auto& [name, value] : words) {
      if (said == name) into = value;
    }
  }
  /// A string that `parse` understands.
  template <class T, class Into>
  void parsed(const std::string& key, Into& into, Result<T> (*parse)(const std::string&)) {
    note_default(key, toml_text(into));
    Item item;
    if (string(key, item)) parse_item(item, into, parse);
  }
  /// The same where the empty string stands for none, or for the default.
  template <class T, class Into>
  void parsed_or_empty(const std::string& key, Into& into, Result<T> (*parse)(const std::string&)) {
    note_default(key, toml_text(into));
    Item item;
    if (string(key, item) && !item.text.empty()) parse_item(item, into, parse);
  }
  /// A list of such strings. One that is wrong leaves an empty T, so that the others keep their numbers.
  template <class T>
  void parsed_list(const std::string& key, std::vector<T>& into, Result<T> (*parse)(const std::string&)) {
    note_default(key, toml_text(into));
    parse_items(key, strings(key, false), into, parse);
  }
  /// One such string, or a list of them.
  template <class T>
  void parsed_one_or_list(const std::string& key, std::vector<T>& into, Result<T> (*parse)(const std::string&)) {
    note_default(key, toml_text(into));
    parse_items(key, strings(key, true), into, parse);
  }

  /// A key without a default: `read` takes its value where it is there, from `otherwise` on.
  template <class T, class Read>
  void optional(const std::string& key, std::optional<T>& into, T otherwise, Read read) {
    if (!has(key)) note_default(key, "");
    read(otherwise);
    if (has(key)) into = std::move(otherwise);
  }

  /// The strings of a list; with `or_one` also a string alone. What is none is reported and comes as "".
  std::vector<Item> strings(const std::string& key, bool or_one);
  bool is_text(const std::string& key) const;

  Section section(const std::string& key);                ///< `[key]`; an empty one where it is absent
  std::vector<Section> sections(const std::string& key);  ///< `[[key]]`, in order

  /// Reports the keys that were never asked for.
  void finish();

  const std::string& name() const { return shown_; }  ///< "listener[1]", "queue"; "" for the root
  const Place& place() const;
  Reading& reading() { return reading_; }
  std::string shown(const std::string& key) const;  ///< "listener[1].role"

 private:
  Section(const Value* table, std::string shown, std::string plain, Reading& reading)
      : table_(table), shown_(std::move(shown)), plain_(std::move(plain)), reading_(reading) {}

  struct Span {
    std::chrono::milliseconds low, high;
    bool whole_seconds;
  };

  const Value* ask(const std::string& key);
  /// Once for a key; not where it is set.
  void note_default(const std::string& key, std::string text);
  void wrong_type(const std::string& key, const Value& value, const std::string& wanted);
  bool string(const std::string& key, Item& into);
  bool word(const std::string& key, std::string& into, const std::vector<std::string>& names);
  bool integer(const std::string& key, std::int64_t& into, std::int64_t low, std::int64_t high);
  bool one_integer(const std::string& shown, const Value& value, std::int64_t& into, std::int64_t low,
                   std::int64_t high);
  bool one_duration(const std::string& key, const Value& value, std::chrono::milliseconds& into, Span span);

  template <class T, class Into>
  void parse_item(const Item& item, Into& into, Result<T> (*parse)(const std::string&)) {
    Result<T> value = parse(item.text);
    if (value) {
      into = *value;
    } else {
      reading_.error(item.key, item.place, value.error().what);
    }
  }
  template <class T>
  void parse_items(const std::string& key, const std::vector<Item>& items, std::vector<T>& into,
                   Result<T> (*parse)(const std::string&)) {
    if (!has(key)) return;
    into.clear();
    for (const Item& item : items) {
      T value;
      if (!item.wrong) parse_item(item, value, parse);
      into.push_back(std::move(value));
    }
  }

  const Value* table_;  // nullptr: absent
  std::string shown_;
  std::string plain_;
  Reading& reading_;
  std::vector<std::string> known_;
};

}  // namespace waypost::conf
