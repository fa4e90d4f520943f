// queue/filter_sql.cpp
#include "queue/filter_sql.h"

#include <algorithm>

#include "queue/rows.h"
#include "queue/state.h"

namespace waypost::queue {
namespace {

using Field = Term::Field;
using Compare = Term::Compare;

constexpr std::string_view kActive = "(r.state = 0 AND r.next_attempt <= {} AND NOT " WAYPOST_WAITS("{}") ")";

class Builder {
 public:
  Builder(const Filter& filter, net::WallTime now) : filter_(filter), now_(now.time_since_epoch().count()) {}

  Conditions build() {
    out_.message = "1";
    out_.recipient = "1";
    for (Field field : {Field::id, Field::from, Field::age, Field::user, Field::client})
      out_.message += of_field(field);
    for (Field field : {Field::to, Field::destination, Field::mx, Field::size, Field::tries, Field::error, Field::state,
                        Field::change})
      out_.recipient += of_field(field);
    const bool plain = out_.recipient == "1";
    out_.by_recipient = !plain || out_.message == "1";
    bool state_asked = std::any_of(filter_.terms.begin(), filter_.terms.end(),
                                   [](const Term& term) { return term.field == Field::state && !term.negated; });
    if (!state_asked) out_.recipient += " AND r.state IN (0, 1)";
    return std::move(out_);
  }

 private:
  std::string value(std::int64_t number) {
    out_.values.emplace_back(number);
    return parameter();
  }
  std::string value(std::string text) {
    out_.values.emplace_back(std::move(text));
    return parameter();
  }
  std::string parameter() const {
    return "?" + std::to_string(Conditions::kFirst + static_cast<int>(out_.values.size()) - 1);
  }

  std::string like(std::string_view column, const std::string& pattern) {
    if (matches_nothing(pattern)) return "0";
    return std::string(column) + " LIKE " + value(like_pattern(pattern)) + " ESCAPE '\\'";
  }

  std::string address(std::string_view column, const Term& term) {
    if (term.text.empty() || term.text == "<>") return std::string(column) + " = ''";
    return like(column, term.text);
  }

  std::string number(std::string_view column, Compare compare, std::int64_t with) {
    constexpr std::string_view kSigns[] = {" = ", " < ", " <= ", " > ", " >= "};
    return std::string(column) + std::string(kSigns[static_cast<std::size_t>(compare)]) + value(with);
  }

  std::string state(const Term& term) {
    if (term.text == "active") {
      std::string text(kActive);
      std::string now = value(now_);
      for (std::size_t at = text.find("{}"); at != std::string::npos; at = text.find("{}")) text.replace(at, 2, now);
      return text;
    }
    for (int state = 0; state <= static_cast<int>(State::removed); ++state)
      if (term.text == to_text(static_cast<State>(state))) return number("r.state", Compare::equal, state);
    return "0";
  }

  /// "mx1.b.example[192.0.2.7]:25" by its name, or as it stands.
  std::string mx(const Term& term) {
    if (matches_nothing(term.text)) return "0";
    const std::string pattern = like_pattern(term.text);
    const std::string whole = value(pattern), name = value(pattern + "[%");
    return "(" WAYPOST_LAST("host", "host") " LIKE " + whole +
           " ESCAPE '\\' OR " WAYPOST_LAST("host", "host") " LIKE " + name + " ESCAPE '\\')";
  }

  std::string error(const Term& term) {
    if (matches_nothing(term.text)) return "0";
    // Found anywhere in the reply: nobody writes the whole of it.
    std::string like = term.regex ? " REGEXP " + value(term.text)
                                  : " LIKE " + value("%" + like_pattern(term.text) + "%") + " ESCAPE '\\'";
    return "(r.status" + like + " OR r.reply" + like + " OR coalesce(d.failures > 0 AND (d.status" + like +
           " OR d.reason" + like + "), 0) OR coalesce(s.failures > 0 AND (s.status" + like + " OR s.reason" + like +
           "), 0))";
  }

  std::string of_term(const Term& term) {
    std::int64_t given = static_cast<std::int64_t>(std::min<std::uint64_t>(term.number, INT64_MAX / 2000));
    switch (term.field) {
      case Field::id: {
        std::optional<Id> id = Id::parse(term.text);
        std::string parameter = value(id ? static_cast<std::int64_t>(id->value) : -1);
        return term.negated ? "m.id = " + parameter : parameter;
      }
      case Field::from:
        return address("m.reverse_path", term);
      case Field::to:
        return address("r.address", term);
      case Field::destination:
        return like("coalesce(d.name, '')", term.text);
      case Field::mx:
        return mx(term);
      case Field::age:
        return age(term.compare, now_ - given * 1000);
      case Field::size:
        return number("r.size", term.compare, given);
      case Field::tries:
        return number("r.attempts", term.compare, given);
      case Field::error:
        return error(term);
      case Field::state:
        return state(term);
      case Field::user:
        return like("m.user", term.text);
      case Field::client:
        return like("m.client", term.text);
      case Field::change:
        return number("r.change", term.compare, given);
    }
    return "0";
  }

  /// Older is a smaller arrival.
  std::string age(Compare compare, std::int64_t arrival) {
    switch (compare) {
      case Compare::less:
        return number("m.arrival", Compare::greater, arrival);
      case Compare::less_equal:
        return number("m.arrival", Compare::greater_equal, arrival);
      case Compare::greater:
        return number("m.arrival", Compare::less, arrival);
      case Compare::greater_equal:
        return number("m.arrival", Compare::less_equal, arrival);
      case Compare::equal:
        break;
    }
    return number("m.arrival", Compare::equal, arrival);
  }

  std::string of_field(Field field) {
    std::string all, alternatives;
    for (const Term& term : filter_.terms) {
      if (term.field != field) continue;
      std::string condition = of_term(term);
      if (term.negated) {
        all += " AND NOT (" + condition + ")";
      } else if (term.compare != Compare::equal) {
        all += " AND " + condition;
      } else {
        if (!alternatives.empty()) alternatives += field == Field::id ? ", " : " OR ";
        alternatives += condition;
      }
    }
    if (alternatives.empty()) return all;
    // A list, not a chain of OR: there may be thousands, and the rows are then sought, not read through.
    if (field == Field::id) return all + " AND m.id IN (" + alternatives + ")";
    return all + " AND (" + alternatives + ")";
  }

  const Filter& filter_;
  std::int64_t now_;
  Conditions out_;
};

}  // namespace

Conditions conditions_of(const Filter& filter, net::WallTime now) {
  return Builder(filter, now).build();
}

bool matches_nothing(std::string_view pattern) {
  return pattern.find('\0') != std::string_view::npos;
}

std::string like_pattern(std::string_view pattern) {
  std::string out;
  if (pattern.starts_with('@')) out = "%";
  for (char c : pattern) {
    if (c == '*') {
      out += '%';
      continue;
    }
    if (c == '%' || c == '_' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace waypost::queue
