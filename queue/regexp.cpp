// queue/regexp.cpp
#include "queue/regexp.h"

#include <memory>
#include <string_view>

#include <re2/re2.h>
#include <sqlite3.h>

#include "base/escape.h"

namespace waypost::queue {
namespace {

re2::RE2::Options options() {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_case_sensitive(false);
  options.set_max_mem(1 << 20);
  return options;
}

std::string_view text_of(sqlite3_value* value) {
  const unsigned char* text = sqlite3_value_text(value);
  if (text == nullptr) return {};
  return {reinterpret_cast<const char*>(text), static_cast<std::size_t>(sqlite3_value_bytes(value))};
}

void forget(void* expression) {
  delete static_cast<re2::RE2*>(expression);
}

/// regexp(EXPRESSION, TEXT). The expression is kept with the statement, which asks of many texts.
void regexp(sqlite3_context* context, int, sqlite3_value** arguments) {
  auto* expression = static_cast<re2::RE2*>(sqlite3_get_auxdata(context, 0));
  std::unique_ptr<re2::RE2> made;
  if (expression == nullptr) {
    const std::string_view text = text_of(arguments[0]);
    made = std::make_unique<re2::RE2>(re2::StringPiece(text.data(), text.size()), options());
    expression = made.get();
  }
  const std::string_view text = text_of(arguments[1]);
  const bool found =
      expression->ok() && re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *expression);
  sqlite3_result_int(context, found ? 1 : 0);
  if (made) sqlite3_set_auxdata(context, 0, made.release(), forget);
}

}  // namespace

Result<> check_regexp(std::string_view expression) {
  constexpr std::size_t kMost = 500;
  if (expression.size() > kMost) return fail(Errc::invalid, "it is longer than 500 octets");
  const re2::RE2 made(re2::StringPiece(expression.data(), expression.size()), options());
  if (made.ok()) return {};
  return fail(Errc::invalid, escape(made.error(), 200));
}

int add_regexp(sqlite3* db) {
  return sqlite3_create_function_v2(db, "regexp", 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY, nullptr,
                                    regexp, nullptr, nullptr, nullptr);
}

}  // namespace waypost::queue
