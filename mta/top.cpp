#include "mta/top.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "mta/console.h"
#include "mta/output.h"

namespace waypost::mta::top {
namespace {

struct Named {
  std::string_view octets;
  Key key;
};
constexpr std::array<Named, 29> kKeys{{
    {"\x1b[A", Key::up},       {"\x1bOA", Key::up},    {"k", Key::up},
    {"\x1b[B", Key::down},     {"\x1bOB", Key::down},  {"j", Key::down},
    {"\x1b[5~", Key::page_up}, {"b", Key::page_up},    {"\x1b[6~", Key::page_down},
    {" ", Key::page_down},     {"\x1b[H", Key::first}, {"\x1bOH", Key::first},
    {"\x1b[1~", Key::first},   {"g", Key::first},      {"\x1b[F", Key::last},
    {"\x1bOF", Key::last},     {"\x1b[4~", Key::last}, {"G", Key::last},
    {"\r", Key::open},         {"\n", Key::open},      {"\x1b[C", Key::open},
    {"\x1bOC", Key::open},     {"\x1b", Key::back},    {"q", Key::back},
    {"\x1b[D", Key::back},     {"\x1bOD", Key::back},  {"s", Key::sort},
    {"?", Key::help},          {"h", Key::help},
}};

/// Where the mark is among the rows: on the first where what was marked has gone.
std::size_t marked(const std::vector<Row>& rows, const std::string& key) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&key](const Row& row) { return row.key == key; });
  return found == rows.end() ? 0 : static_cast<std::size_t>(found - rows.begin());
}

/// `at` moved by a key, within `count`.
std::size_t moved(std::size_t at, Key key, std::size_t count, std::size_t page) {
  const std::size_t last = count == 0 ? 0 : count - 1;
  switch (key) {
    case Key::up:
      return at == 0 ? 0 : at - 1;
    case Key::down:
      return std::min(at + 1, last);
    case Key::page_up:
      return at < page ? 0 : at - page;
    case Key::page_down:
      return std::min(at + page, last);
    case Key::first:
      return 0;
    case Key::last:
      return last;
    default:
      return std::min(at, last);
  }
}

State leave(State state) {
  switch (state.view) {
    case View::destinations:
      state.over = true;
      break;
    case View::messages:
      state.view = View::destinations;
      state.message.clear();
      break;
    case View::message:
      state.view = View::messages;
      state.line = 0;
      break;
  }
  return state;
}

State enter(State state, const Row& row) {
  if (!row.opens) return state;
  if (state.view == View::destinations) {
    state.view = View::messages;
    state.destination = row.key;
    state.message.clear();
  } else {
    state.view = View::message;
    state.message = row.key;
    state.line = 0;
  }
  return state;
}

Sort next(Sort sort) {
  return sort == Sort::name ? Sort::waiting : static_cast<Sort>(static_cast<int>(sort) + 1);
}

}  // namespace

std::size_t key_length(std::string_view octets) {
  const bool is_sequence = octets.size() > 1 && octets[0] == '\x1b' && (octets[1] == '[' || octets[1] == 'O');
  if (!is_sequence) return std::min<std::size_t>(octets.size(), 1);
  // ECMA-48 §5.4: parameters, then one that ends it.
  std::size_t end = 2;
  while (end < octets.size() && (octets[end] < '@' || octets[end] > '~')) ++end;
  return std::min(end + 1, octets.size());
}

bool is_cut(std::string_view octets) {
  if (octets == "\x1b") return true;
  const std::size_t length = key_length(octets);
  return length > 1 && length == octets.size() && (length == 2 || octets.back() < '@' || octets.back() > '~');
}

Key key_of(std::string_view octets) {
  const auto* found =
      std::find_if(kKeys.begin(), kKeys.end(), [octets](const Named& each) { return each.octets == octets; });
  if (found != kKeys.end()) return found->key;
  return octets.empty() ? Key::none : Key::other;
}

std::vector<Place> places(const Answers& answers, Sort sort) {
  std::vector<Place> out;
  std::map<std::string, std::size_t> known;  // where they are
  for (const Json& group : list_of(answers.groups, "groups")) {
    Place place;
    place.name = text_of(group, "key");
    place.waiting = number_of(group, "recipients");
    place.octets = number_of(group, "octets");
    place.oldest = time_of_json(text_of(group, "oldest"));
    known.emplace(place.name, out.size());
    out.push_back(std::move(place));
  }
  for (const Json& row : list_of(answers.destinations, "destinations")) {
    const auto [found, is_new] = known.emplace(text_of(row, "name"), out.size());
    if (is_new) {
      Place place;
      place.name = found->first;
      place.waiting = number_of(row, "recipients");
      place.is_site = text_of(row, "kind") == "site";
      out.push_back(std::move(place));
    }
    out[found->second].state = row;
    out[found->second].failures = number_of(row, "failures");
  }
  const auto order = [sort](const Place& a, const Place& b) {
    constexpr net::WallTime never = net::WallTime::max();
    switch (sort) {
      case Sort::waiting:
        return std::tie(b.waiting, a.name) < std::tie(a.waiting, b.name);
      case Sort::oldest:
        return std::pair(a.oldest.value_or(never), a.name) < std::pair(b.oldest.value_or(never), b.name);
      case Sort::failures:
        return std::tie(b.failures, a.name) < std::tie(a.failures, b.name);
      case Sort::name:
        break;
    }
    return a.name < b.name;
  };
  std::sort(out.begin(), out.end(), order);
  return out;
}

std::vector<Row> rows_of(const State& state, const Answers& answers) {
  std::vector<Row> out;
  if (state.view == View::destinations)
    for (const Place& place : places(answers, state.sort)) out.push_back({place.name, !place.is_site});
  if (state.view == View::messages)
    for (const Json& message : list_of(answers.messages, "messages")) out.push_back({text_of(message, "id")});
  if (state.view == View::message)
    for (std::string& line : story(answers)) out.push_back({std::move(line), false});
  return out;
}

State press(State state, Key key, const std::vector<Row>& rows, std::size_t page) {
  if (key == Key::none) return state;
  if (state.help) {
    state.help = false;
    return state;
  }
  if (key == Key::help) {
    state.help = true;
    return state;
  }
  if (key == Key::back) return leave(std::move(state));
  if (state.view == View::message) {
    // The last page is full.
    const std::size_t most = rows.size() - std::min(page, rows.size());
    state.line = std::min(moved(state.line, key, rows.size(), page), most);
    return state;
  }
  if (key == Key::sort) {
    if (state.view == View::destinations) state.sort = next(state.sort);
    return state;
  }
  if (rows.empty()) return state;
  std::string& mark = state.view == View::destinations ? state.destination : state.message;
  const std::size_t at = marked(rows, mark);
  if (key == Key::open) return enter(std::move(state), rows[at]);
  mark = rows[moved(at, key, rows.size(), page)].key;
  return state;
}

}  // namespace waypost::mta::top
