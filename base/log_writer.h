// base/log_writer.h: a line of the log while it is put together. For the functions of base/event_log.h alone. Any
// thread.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/event_log.h"

namespace waypost::log {

/// The log as it was opened (log_writer.cpp).
struct Log;

/// How a value stands in a line of text: `key=value`, `key=<value>`, ` (value)`, `value`.
enum class Form : std::uint8_t { plain, angle, parens, alone };

/// Nothing is put together where the level is not wanted. `part` and `name` are literals.
class Event {
 public:
  Event(Level level, std::string_view part, std::string_view name, std::string_view id = {});

  Event& add(std::string_view key, std::string_view value, Form form = Form::plain);
  template <class Number>
  Event& number(std::string_view key, Number value) {
    if (!on_) return *this;
    if (!is_json_) return add(key, fmt::format("{}", value));
    json_[std::string(key)] = value;
    return *this;
  }
  template <class Number>
  Event& number_alone(std::string_view key, Number value) {
    return is_json_ ? number(key, value) : add(key, fmt::format("{}", value), Form::alone);
  }
  /// Words that only the text form has.
  Event& words(std::string_view words, std::string_view separator_after = ", ");

  void write();

 private:
  void put(Level level, std::string id, std::string text) const;
  std::string stamp(Level level) const;
  std::string line(std::string_view text) const;

  std::shared_ptr<Log> log_;
  Clock::time_point time_ = Clock::now();
  Level level_;
  std::string_view part_;
  std::string id_;
  bool on_ = false;
  bool is_json_ = false;
  std::string text_;
  std::string_view separator_ = ", ";
  nlohmann::ordered_json json_;
};

}  // namespace waypost::log
