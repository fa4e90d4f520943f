// queue/filter.cpp
#include "queue/filter.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/escape.h"
#include "base/text.h"
#include "conf/units.h"
#include "queue/regexp.h"
#include "queue/state.h"

namespace waypost::queue {
namespace {

using Field = Term::Field;
using Compare = Term::Compare;

struct FieldName {
  std::string_view name;
  Field field;
};
constexpr FieldName kFields[] = {{"id", Field::id},         {"from", Field::from},
                                 {"to", Field::to},         {"destination", Field::destination},
                                 {"age", Field::age},       {"size", Field::size},
                                 {"tries", Field::tries},   {"error", Field::error},
                                 {"state", Field::state},   {"user", Field::user},
                                 {"client", Field::client}, {"change", Field::change},
                                 {"mx", Field::mx},         {"dest", Field::destination}};
constexpr std::string_view kFieldList =
    "id, from, to, destination, mx, age, size, tries, error, state, user, client, change";
constexpr std::string_view kStateList = "active, deferred, held, delivered, relayed, bounced, expired, removed";

std::string quoted(std::string_view text) {
  return "\"" + escape(text, 100) + "\"";
}

// SQLite nests no deeper than a thousand conditions.
constexpr std::size_t kMaxIds = 10000, kMaxOthers = 200, kMaxExpressions = 10;

/// One word of the filter as it stands, and its text without quotes.
struct Word {
  std::string_view raw;
  std::string field;  ///< before the colon; "" where there is none
  bool negated = false;
  bool regex = false;  ///< a tilde in place of the colon
  std::string value;
  bool was_quoted = false;
};

/// Takes a word off the front: `-field:value`, the value or a part of it in quotes where it holds spaces.
Result<Word> take(std::string_view& text) {
  std::string_view all = text;
  Word word;
  if (text.front() == '-') {
    word.negated = true;
    text.remove_prefix(1);
  }
  bool in_value = false;
  while (!text.empty() && !is_space(text.front())) {
    char c = text.front();
    text.remove_prefix(1);
    std::string& into = in_value ? word.value : word.field;
    if ((c == ':' || c == '~') && !in_value) {
      in_value = true;
      word.regex = c == '~';
    } else if (c == '"' && in_value) {
      word.was_quoted = true;
      while (!text.empty() && text.front() != '"') {
        // Of a regular expression the others are its own.
        const bool escapes = text.front() == '\\' && text.size() > 1 && (!word.regex || text[1] == '"');
        if (escapes) text.remove_prefix(1);
        word.value += text.front();
        text.remove_prefix(1);
      }
      if (text.empty()) return fail(Errc::invalid, "in " + quoted(all) + " a quote is not closed");
      text.remove_prefix(1);
    } else {
      into += c;
    }
  }
  word.raw = all.substr(0, all.size() - text.size());
  if (!in_value) std::swap(word.field, word.value);
  return word;
}

Compare take_compare(std::string_view& value) {
  constexpr std::pair<std::string_view, Compare> kSigns[] = {{">=", Compare::greater_equal},
                                                             {"<=", Compare::less_equal},
                                                             {">", Compare::greater},
                                                             {"<", Compare::less},
                                                             {"=", Compare::equal}};
  for (const auto& [sign, compare] : kSigns) {
    if (!value.starts_with(sign)) continue;
    value.remove_prefix(sign.size());
    return compare;
  }
  return Compare::equal;
}

bool is_state(std::string_view text) {
  if (text == "active") return true;
  for (int state = 0; state <= static_cast<int>(State::removed); ++state)
    if (text == to_text(static_cast<State>(state))) return true;
  return false;
}

Result<std::uint64_t> number_of(Field field, const std::string& text) {
  if (field == Field::age) {
    Result<std::chrono::milliseconds> age = conf::parse_duration(text);
    if (!age) return fail(age.error());
    return static_cast<std::uint64_t>(std::max<std::int64_t>(age->count() / 1000, 0));
  }
  if (field == Field::size) return conf::parse_size(text);
  std::optional<std::uint64_t> tries = parse_decimal(text);
  if (!tries) return fail(Errc::invalid, "not a number");
  return *tries;
}

Result<Term> number_term(Term term, const Word& word) {
  std::string_view value = word.value;
  term.compare = take_compare(value);
  Result<std::uint64_t> number = number_of(term.field, std::string(value));
  if (!number) return fail(Errc::invalid, "in " + quoted(word.raw) + ": " + number.error().what);
  // Nothing is two hours old to the second: whoever writes `age:2h` means something else.
  if (term.compare == Compare::equal && term.field != Field::tries && term.field != Field::change)
    return fail(Errc::invalid, quoted(word.raw) + " needs > or <, as in " + word.field + ":>" + std::string(value));
  term.number = *number;
  return term;
}

Result<Term> regex_term(Term term, const Word& word) {
  if (term.field != Field::error)
    return fail(Errc::invalid, quoted(word.raw) + ": regular expressions are for error alone, as in error~\"^45[01]\"");
  const Result<> good = check_regexp(word.value);
  if (!good) return fail(Errc::invalid, quoted(word.raw) + " is no regular expression: " + good.error().what);
  term.regex = true;
  term.text = word.value;
  return term;
}

Result<Term> term_of(const Word& word) {
  Term term;
  term.negated = word.negated;
  if (word.field.empty()) {
    std::optional<Id> id = Id::parse(word.value);
    if (!id)
      return fail(Errc::invalid, quoted(word.raw) + " is no queue id and no term such as from:*@shop.example (" +
                                     std::string(kFieldList) + ")");
    term.text = id->text();
    return term;
  }
  const auto* known = std::find_if(std::begin(kFields), std::end(kFields),
                                   [&word](const FieldName& field) { return field.name == to_lower(word.field); });
  if (known == std::end(kFields))
    return fail(Errc::invalid,
                "no field " + quoted(word.field) + " in " + quoted(word.raw) + ": one of " + std::string(kFieldList));
  term.field = known->field;
  if (word.value.empty() && !word.was_quoted) return fail(Errc::invalid, quoted(word.raw) + " lacks a value");
  if (word.regex) return regex_term(std::move(term), word);

  switch (term.field) {
    case Field::id: {
      std::optional<Id> id = Id::parse(word.value);
      if (!id) return fail(Errc::invalid, quoted(word.value) + " is no queue id");
      term.text = id->text();
      return term;
    }
    case Field::age:
    case Field::size:
    case Field::tries:
    case Field::change:
      return number_term(term, word);
    case Field::state:
      term.text = to_lower(word.value);
      if (!is_state(term.text))
        return fail(Errc::invalid, "no state " + quoted(word.value) + ": one of " + std::string(kStateList));
      return term;
    case Field::from:
    case Field::to:
      term.text = word.value;
      // `<>` stays: it is the null reverse-path.
      if (term.text.size() > 2 && term.text.front() == '<' && term.text.back() == '>')
        term.text = term.text.substr(1, term.text.size() - 2);
      return term;
    case Field::destination:
    case Field::mx:
    case Field::error:
    case Field::user:
    case Field::client:
      term.text = word.value;
      return term;
  }
  return fail(Errc::internal, "a field without a rule");
}

std::string number_words(const Term& term) {
  std::string value;
  if (term.field == Field::age)
    value = conf::duration_text(std::chrono::seconds(term.number));
  else if (term.field == Field::size)
    value = conf::size_text(term.number);
  else
    value = std::to_string(term.number);
  struct Words {
    std::string_view equal, less, less_equal, greater, greater_equal;
  };
  static constexpr Words kAge{"just", "younger than", "at most that old:", "older than", "at least that old:"};
  static constexpr Words kSize{"of", "smaller than", "not larger than", "larger than", "not smaller than"};
  static constexpr Words kTries{"with tries:", "with tries below", "with tries up to", "with tries above",
                                "with tries from"};
  static constexpr Words kChange{"of change", "changed before", "changed up to", "changed after", "changed from"};
  const auto words_of_field = [](Field field) -> const Words& {
    if (field == Field::age) return kAge;
    if (field == Field::size) return kSize;
    return field == Field::change ? kChange : kTries;
  };
  const Words& words = words_of_field(term.field);
  const std::array<std::string_view, 5> by_compare = {words.equal, words.less, words.less_equal, words.greater,
                                                      words.greater_equal};
  return std::string(by_compare[static_cast<std::size_t>(term.compare)]) + " " + value;
}

std::string words_of(const Term& term) {
  std::string text = escape(term.text, 200);
  switch (term.field) {
    case Field::id:
      return text;
    case Field::from:
      return "from " + (text.empty() ? "<>" : text);
    case Field::to:
      return "to " + text;
    case Field::destination:
      return "for " + text;
    case Field::age:
    case Field::size:
    case Field::tries:
    case Field::change:
      return number_words(term);
    case Field::mx:
      return "last tried at " + text;
    case Field::error:
      return (term.regex ? "with a last reply that has the pattern " : "with ") + ("\"" + text + "\"") +
             (term.regex ? "" : " in the last reply");
    case Field::state:
      return "that are " + text;
    case Field::user:
      return "of user " + text;
    case Field::client:
      return "brought by " + text;
  }
  return text;
}

}  // namespace

Result<Filter> parse_filter(std::string_view text) {
  Filter filter;
  std::size_t ids = 0, others = 0, expressions = 0;
  for (text = trim_front(text); !text.empty(); text = trim_front(text)) {
    Result<Word> word = take(text);
    if (!word) return fail(word.error());
    Result<Term> term = term_of(*word);
    if (!term) return fail(term.error());
    std::size_t& count = term->field == Field::id ? ids : others;
    std::size_t most = term->field == Field::id ? kMaxIds : kMaxOthers;
    if (++count > most) return fail(Errc::invalid, "more than " + std::to_string(most) + " terms of a kind");
    // Each is made anew for each slice of the queue.
    if (term->regex && ++expressions > kMaxExpressions) return fail(Errc::invalid, "more than 10 regular expressions");
    filter.terms.push_back(*std::move(term));
  }
  return filter;
}

Filter filter_of(const std::vector<Id>& ids) {
  Filter filter;
  for (const Id id : ids) {
    Term term;
    term.text = id.text();
    filter.terms.push_back(term);
  }
  return filter;
}

std::vector<std::string> filter_fields() {
  std::vector<std::string> out;
  for (const FieldName& field : kFields) out.emplace_back(field.name);
  return out;
}

std::string in_words(const Filter& filter) {
  if (filter.terms.empty()) return "all messages";
  // In the order of the fields, so that what is alternatives stands together.
  std::vector<Term> terms = filter.terms;
  std::stable_sort(terms.begin(), terms.end(), [](const Term& a, const Term& b) {
    return std::pair(a.negated, a.field) < std::pair(b.negated, b.field);
  });
  std::string out = "messages";
  const Term* before = nullptr;
  for (const Term& term : terms) {
    bool bound = term.compare != Compare::equal;
    bool alternative = before && before->field == term.field && !before->negated && !term.negated && !bound;
    out += alternative ? " or " : before ? ", " : " ";
    if (term.negated) out += "not ";
    out += words_of(term);
    before = &term;
  }
  return out;
}

}  // namespace waypost::queue
