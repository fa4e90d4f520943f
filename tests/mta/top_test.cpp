#include "mta/top.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "mta/cmd_top.h"
#include "tests/mta/terminal.h"

namespace waypost::mta {
namespace {

using top::Key;
using top::Row;
using top::State;
using top::View;

/// A terminal on which these keys are typed, and then the screen is left.
class TypedScreen : public Screen {
 public:
  TypedScreen(std::vector<std::string> keys, std::string& shown) : keys_(std::move(keys)), shown_(shown) {}
  top::Size size() const override { return {24, 200}; }
  Result<> put(std::string_view octets) override {
    shown_ = octets;
    return {};
  }
  Result<std::string> key(std::chrono::milliseconds) override {
    if (keys_.empty()) return fail(Errc::closed, "the terminal has gone");
    std::string key = keys_.front();
    keys_.erase(keys_.begin());
    return key;
  }

 private:
  std::vector<std::string> keys_;
  std::string& shown_;
};

/// The last screen.
std::string typed(Terminal& t, std::vector<std::string> keys) {
  std::string shown;
  const auto open = [&]() -> Result<std::unique_ptr<Screen>> { return std::make_unique<TypedScreen>(keys, shown); };
  CHECK(run_top({}, t.console, open) == 0);
  return shown;
}

bool has(const std::string& text, const std::string& what) {
  return text.find(what) != std::string::npos;
}

Json group(const char* name, unsigned waiting, const char* oldest) {
  Json json;
  json["key"] = name;
  json["recipients"] = waiting;
  json["octets"] = 1000 * waiting;
  json["oldest"] = oldest;
  return json;
}

/// Three destinations and a site.
top::Answers busy_relay() {
  top::Answers answers;
  answers.now = tests::kNow;
  answers.groups["groups"] = {group("b.example", 20, "2026-11-22T09:00:00Z"),
                              group("a.example", 3, "2026-11-22T07:00:00Z")};
  answers.destinations["destinations"] = Json::array();
  Json failing;
  failing["name"] = "a.example";
  failing["kind"] = "destination";
  failing["state"] = "failing";
  failing["recipients"] = 3u;
  failing["failures"] = 7u;
  failing["status"] = "4.4.1";
  failing["reason"] = "no answer\x1b[2J";
  Json held;
  held["name"] = "c.example";
  held["kind"] = "destination";
  held["state"] = "held";
  held["recipients"] = 0u;
  held["failures"] = 0u;
  held["held_because"] = "they move";
  Json site = failing;
  site["name"] = "10 mx.example:25";
  site["kind"] = "site";
  site["recipients"] = 5u;
  answers.destinations["destinations"] = {failing, held, site};
  return answers;
}

std::string keys_of(const std::vector<Row>& rows) {
  std::string out;
  for (const Row& row : rows) out += (out.empty() ? "" : " ") + row.key + (row.opens ? "" : "!");
  return out;
}

}  // namespace

TEST_SUITE("mta/top") {
  TEST_CASE("keys, as terminals send them") {
    struct Case {
      std::string octets;
      Key key;
    };
    for (const Case& each : std::vector<Case>{{"\x1b[A", Key::up},
                                              {"\x1bOB", Key::down},
                                              {"k", Key::up},
                                              {"\x1b[6~", Key::page_down},
                                              {"\r", Key::open},
                                              {"\x1b", Key::back},
                                              {"q", Key::back},
                                              {"s", Key::sort},
                                              {"?", Key::help},
                                              {"x", Key::other},
                                              {"\x1b[99~", Key::other},
                                              {"", Key::none}}) {
      CAPTURE(each.octets);
      CHECK(top::key_of(each.octets) == each.key);
      CHECK(top::key_length(each.octets + "jj") == std::max<std::size_t>(each.octets.size(), 1));
    }
    CHECK(top::key_length("") == 0);
    CHECK(top::key_length("\x1b[5") == 3);
  }

  TEST_CASE("a key moves the mark, opens, goes back") {
    const std::vector<Row> rows{{"a"}, {"b"}, {"c"}, {"site", false}};
    struct Case {
      const char* name;
      State from;
      Key key;
      State want;
    };
    const auto at = [](View view, const char* destination, const char* message, std::size_t line = 0) {
      State state;
      state.view = view;
      state.destination = destination;
      state.message = message;
      state.line = line;
      return state;
    };
    State over = at(View::destinations, "b", "");
    over.over = true;
    State help = at(View::destinations, "b", "");
    help.help = true;
    for (const Case& each : std::vector<Case>{
             {"down from the first", at(View::destinations, "", ""), Key::down, at(View::destinations, "b", "")},
             {"up at the first", at(View::destinations, "a", ""), Key::up, at(View::destinations, "a", "")},
             {"down at the last", at(View::destinations, "site", ""), Key::down, at(View::destinations, "site", "")},
             {"a page down", at(View::destinations, "a", ""), Key::page_down, at(View::destinations, "c", "")},
             {"a page up", at(View::destinations, "b", ""), Key::page_up, at(View::destinations, "a", "")},
             {"the last", at(View::destinations, "", ""), Key::last, at(View::destinations, "site", "")},
             {"what was marked has gone", at(View::destinations, "x", ""), Key::down, at(View::destinations, "b", "")},
             {"open", at(View::destinations, "b", ""), Key::open, at(View::messages, "b", "")},
             {"a site does not open", at(View::destinations, "site", ""), Key::open,
              at(View::destinations, "site", "")},
             {"open a message", at(View::messages, "b", "c"), Key::open, at(View::message, "b", "c")},
             {"a message's next line", at(View::message, "b", "c"), Key::down, at(View::message, "b", "c", 1)},
             {"its last page", at(View::message, "b", "c"), Key::last, at(View::message, "b", "c", 2)},
             {"back to the messages", at(View::message, "b", "c", 2), Key::back, at(View::messages, "b", "c")},
             {"back to the destinations", at(View::messages, "b", "c"), Key::back, at(View::destinations, "b", "")},
             {"leave", at(View::destinations, "b", ""), Key::back, over},
             {"help", at(View::destinations, "b", ""), Key::help, help},
             {"any key ends the help", help, Key::back, at(View::destinations, "b", "")},
             {"also one of no use", help, Key::other, at(View::destinations, "b", "")},
             {"nothing ends it not", help, Key::none, help},
             {"no sort of messages", at(View::messages, "b", "c"), Key::sort, at(View::messages, "b", "c")}}) {
      CAPTURE(each.name);
      const State got = top::press(each.from, each.key, rows, 2);
      CHECK(got.view == each.want.view);
      CHECK(got.destination == each.want.destination);
      CHECK(got.message == each.want.message);
      CHECK(got.line == each.want.line);
      CHECK(got.help == each.want.help);
      CHECK(got.over == each.want.over);
    }
    CHECK(top::press({}, Key::open, {}, 2).view == View::destinations);
  }

  TEST_CASE("destinations in four orders; a site is none to open") {
    const top::Answers answers = busy_relay();
    State state;
    const char* wanted[] = {
        "b.example 10 mx.example:25! a.example c.example", "a.example b.example 10 mx.example:25! c.example",
        "10 mx.example:25! a.example b.example c.example", "10 mx.example:25! a.example b.example c.example"};
    for (const char* each : wanted) {
      CHECK(keys_of(top::rows_of(state, answers)) == each);
      state = top::press(state, Key::sort, top::rows_of(state, answers), 10);
    }
    CHECK(state.sort == top::Sort::waiting);
  }

  TEST_CASE("the screen: as many lines as it has, none too long, what peers said escaped") {
    const top::Answers answers = busy_relay();
    for (const top::Size size : {top::Size{24, 80}, top::Size{5, 20}, top::Size{1, 1}, top::Size{60, 300}}) {
      for (const bool help : {false, true}) {
        State state;
        state.help = help;
        const std::vector<top::Line> lines = top::screen(state, answers, size);
        CHECK(lines.size() == size.rows);
        for (const top::Line& line : lines) {
          CHECK(line.text.size() <= size.columns);
          CHECK(line.text.find('\x1b') == std::string::npos);
        }
      }
    }
    State state;
    state.destination = "a.example";
    const std::vector<top::Line> lines = top::screen(state, answers, {24, 120});
    CHECK(lines[5].text == "WAITING  OLDEST  SIZE    STATE    UNTIL  TRIES  DESTINATION            WHY");
    CHECK(lines[6].text == "20       1h      20 KB                   0      b.example");
    CHECK(lines[8].text ==
          "3        3h      3.0 KB  failing         7      a.example              4.4.1 no answer\\x1b[2J");
    CHECK(lines[8].look == top::Line::Look::marked);
    CHECK(lines[9].text == "0        -       0 B     held            0      c.example              they move");
    CHECK(lines[10].text.empty());
  }

  TEST_CASE("the mark stays in sight") {
    top::Answers answers;
    answers.groups["groups"] = Json::array();
    for (unsigned i = 0; i < 100; ++i)
      answers.groups["groups"].push_back(group(("d" + std::to_string(i)).c_str(), 1000 - i, ""));
    const top::Size size{24, 80};
    for (const char* mark : {"d0", "d5", "d50", "d97", "d99", "gone"}) {
      CAPTURE(mark);
      State state;
      state.destination = mark;
      const std::vector<top::Line> lines = top::screen(state, answers, size);
      const auto marked = std::find_if(lines.begin(), lines.end(),
                                       [](const top::Line& line) { return line.look == top::Line::Look::marked; });
      REQUIRE(marked != lines.end());
      CHECK(has(marked->text, std::string(mark) == "gone" ? "d0" : mark));
      CHECK(lines.size() == size.rows);
    }
  }

  TEST_CASE("rates are of two answers, and not of a daemon that was started again") {
    top::Answers answers = busy_relay();
    answers.status["out"]["relayed"] = 1024u;
    answers.between = std::chrono::milliseconds(2000);
    CHECK(has(top::screen({}, answers, {24, 200})[1].text, "relayed -"));
    answers.before["out"]["relayed"] = 1000u;
    CHECK(has(top::screen({}, answers, {24, 200})[1].text, "relayed 12.0/s"));
    answers.before["out"]["relayed"] = 2000u;
    CHECK(has(top::screen({}, answers, {24, 200})[1].text, "relayed -"));
  }

  TEST_CASE("colour is for alerts, and only where it is wanted") {
    const std::vector<top::Line> lines{{"x", top::Line::Look::alert}, {"y", top::Line::Look::marked}};
    CHECK(top::drawn(lines, true) == "\x1b[H\x1b[31mx\x1b[0m\x1b[K\r\n\x1b[7my\x1b[0m\x1b[K\x1b[J");
    CHECK(top::drawn(lines, false) == "\x1b[H\x1b[1mx\x1b[0m\x1b[K\r\n\x1b[7my\x1b[0m\x1b[K\x1b[J");
  }

  TEST_CASE("from the destinations to a message's life, and back") {
    Terminal t;
    t.backend.messages[0].recipients[0].reply = "450 wait\x1b[2J";
    std::string shown = typed(t, {});
    CHECK(has(shown, "relay.example   up 1d1h"));
    CHECK(has(shown, "queue   2 messages (4.3 KB)   active 0   deferred 3"));
    CHECK(has(shown, "\x1b[7m1        3h      2.1 KB                0      b.example"));
    shown = typed(t, {"\r"});
    CHECK(has(shown, "b.example, oldest messages first"));
    CHECK(has(shown, kFirst));
    CHECK(has(shown, "450 wait\\x1b[2J"));
    shown = typed(t, {"\r", "\r"});
    CHECK(has(shown, "from        <a@example.org>"));
    CHECK(has(shown, "<c@c.example> deferred, 2 tries"));
    CHECK(has(shown, "trace"));
    CHECK(has(typed(t, {"\r", "\r", "q", "\x1b"}), "destinations, most waiting first"));
    CHECK(has(typed(t, {"?"}), "sort the destinations"));
    CHECK(has(typed(t, {"s"}), "destinations, oldest mail first"));
  }

  TEST_CASE("trouble is shown, and what was known before it stays") {
    Terminal t;
    const top::Answers before = ask_top({}, {}, t.console);
    CHECK(before.trouble.empty());
    t.away = Error(Errc::refused, "no daemon answers\x1b[2J");
    const top::Answers after = ask_top({}, before, t.console);
    CHECK(after.trouble == "waypost: no daemon answers\\x1b[2J");
    CHECK(after.groups == before.groups);
    CHECK(after.status == before.status);
    CHECK(has(typed(t, {}), "no daemon answers"));
    CHECK(t.err.str().empty());
    t.away.reset();
    t.backend.messages.clear();
    State state;
    state.view = View::message;
    state.message = kFirst;
    CHECK(ask_top(state, before, t.console).trouble.empty());
  }

  TEST_CASE("top without a terminal, and with nonsense") {
    Terminal t;
    const auto none = []() -> Result<std::unique_ptr<Screen>> { return fail(Errc::unsupported, "no terminal here"); };
    CHECK(run_top({}, t.console, none) == 64);
    CHECK(t.complained("no terminal here"));
    CHECK(run_top({"1"}, t.console, none) == 64);
    CHECK(run_top({"1ms"}, t.console, none) == 64);
    CHECK(t.complained("at least 100ms"));
  }
}

}  // namespace waypost::mta
