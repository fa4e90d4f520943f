// mta/top_screen.cpp: the lines of `waypost top`.
#include <algorithm>
#include <cstdio>
#include <sstream>
#include <utility>

#include "base/escape.h"
#include "base/text.h"
#include "mta/cmd_queue.h"
#include "mta/cmd_trace.h"
#include "mta/console.h"
#include "mta/output.h"
#include "mta/top.h"

namespace waypost::mta::top {
namespace {

using Look = Line::Look;

constexpr std::size_t kHead = 4;                    // lines about the relay as a whole
constexpr std::size_t kAround = kHead + 1 + 1 + 1;  // and the title, the heading, the foot

std::string ago(const std::optional<net::WallTime>& time, net::WallTime now) {
  return time ? age_text(std::chrono::duration_cast<std::chrono::seconds>(now - *time)) : "-";
}

const Json& part(const Json& json, const char* key) {
  static const Json none = Json::object();
  const auto found = json.is_object() ? json.find(key) : json.end();
  return found != json.end() ? *found : none;
}

/// "relayed 12.1/s", of two answers.
std::string rate(const Answers& answers, const char* key) {
  const std::uint64_t now = number_of(part(answers.status, "out"), key);
  const std::uint64_t then = number_of(part(answers.before, "out"), key);
  // A daemon that was started again counts from 0.
  if (!answers.before.is_object() || answers.between.count() <= 0 || now < then) return std::string(key) + " -";
  char text[40];
  std::snprintf(text, sizeof text, " %.1f/s",
                static_cast<double>(now - then) * 1000 / static_cast<double>(answers.between.count()));
  return key + std::string(text);
}

void add_head(const Answers& answers, std::vector<Line>& lines) {
  const Json& out = part(answers.status, "out");
  const Json& queue = part(answers.status, "queue");
  const Json& alerts = list_of(answers.status, "alerts");
  lines.push_back({shown(answers.status, "hostname") + "   up " +
                       ago(time_of_json(text_of(answers.status, "started")), answers.now) + "   " +
                       local_time(answers.now),
                   Look::heading});
  lines.push_back({"in   " +
                   counted(number_of(part(answers.status, "in"), "connections"), "connection", "connections") +
                   "   out   " + counted(number_of(out, "connections"), "connection", "connections") + "   " +
                   rate(answers, "relayed") + "   " + rate(answers, "delivered") + "   " + rate(answers, "deferred") +
                   "   " + rate(answers, "bounced")});
  lines.push_back({"queue   " + counted(number_of(queue, "messages"), "message", "messages") + " (" +
                   octets_text(number_of(queue, "octets")) + ")   active " + grouped(number_of(queue, "active")) +
                   "   deferred " + grouped(number_of(queue, "deferred")) + "   held " +
                   grouped(number_of(queue, "held")) + "   oldest " +
                   ago(time_of_json(text_of(queue, "oldest")), answers.now)});
  if (!answers.trouble.empty()) {
    lines.push_back({"! " + escape(answers.trouble), Look::alert});
  } else if (!alerts.empty() && alerts.front().is_string()) {
    const std::string more = alerts.size() > 1 ? " (and " + std::to_string(alerts.size() - 1) + " more)" : "";
    lines.push_back({"! " + escape(alerts.front().get<std::string>()) + more, Look::alert});
  } else {
    lines.push_back({});
  }
}

std::string why(const Json& state) {
  const std::string name = text_of(state, "state");
  if (name == "held") return shown(state, "held_because");
  if (name == "slowed") return shown(state, "slow_because");
  const std::string status = shown(state, "status");
  return status.empty() ? "" : status + " " + shown(state, "reason");
}

std::string until(const Json& state) {
  return shown_time(state, text_of(state, "state") == "slowed" ? "slow_until" : "until");
}

/// What keeps mail of an open destination back, itself or its site: " (failing until ...: 4.4.1 no answer)".
std::string kept_back(const Json& rows) {
  for (const Json& row : rows) {
    if (text_of(row, "state") == "well") continue;
    const std::string end = until(row);
    return " (" + shown(row, "state") + (end.empty() ? "" : " until " + end) + ": " + why(row) + ")";
  }
  return "";
}

/// A site is called by its hosts, and not by what else parts it from others.
std::string name_of(const Place& place) {
  return place.is_site ? "site " + escape(place.name.substr(0, place.name.find(';')), 60) : escape(place.name);
}

std::string title(const State& state, const Answers& answers) {
  if (state.view == View::messages)
    return escape(state.destination) + kept_back(list_of(answers.destinations, "destinations")) +
           ", oldest messages first" + (text_of(answers.messages, "resume").empty() ? "" : ", and there are more");
  if (state.view == View::message) return state.message;
  switch (state.sort) {
    case Sort::waiting:
      return "destinations, most waiting first";
    case Sort::oldest:
      return "destinations, oldest mail first";
    case Sort::failures:
      return "destinations, most failures first";
    case Sort::name:
      break;
  }
  return "destinations by name";
}

Table table_of(const State& state, const Answers& answers) {
  Table table;
  if (state.view == View::destinations) {
    table.add({"WAITING", "OLDEST", "SIZE", "STATE", "UNTIL", "TRIES", "DESTINATION", "WHY"});
    for (const Place& place : places(answers, state.sort)) {
      table.add({grouped(place.waiting), ago(place.oldest, answers.now),
                 place.is_site ? "-" : octets_text(place.octets), shown(place.state, "state"), until(place.state),
                 grouped(place.failures), name_of(place), why(place.state)});
    }
  } else if (state.view == View::messages) {
    table.add(list_heading());
    for (const Json& message : list_of(answers.messages, "messages")) table.add(list_row(message));
  }
  return table;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(std::move(line));
  return out;
}

const std::vector<std::string>& help() {
  static const std::vector<std::string> lines{"up, down, j, k      mark a line, or move through a message",
                                              "page up, page down  a screen at a time; also b and space",
                                              "home, end, g, G     to the first line, the last one",
                                              "enter, right        open what is marked: a destination, then a message",
                                              "escape, left, q     back; at the destinations: leave",
                                              "s                   sort the destinations: waiting, oldest, tries, name",
                                              "?                   this",
                                              "",
                                              "Any key goes on."};
  return lines;
}

/// So many characters at most.
std::string cut(const std::string& text, std::size_t columns) {
  std::size_t at = 0;
  for (std::size_t count = 0; at < text.size() && count < columns; ++count)
    at += std::max<std::size_t>(utf8_character(std::string_view(text).substr(at)), 1);
  return text.substr(0, at);
}

}  // namespace

std::vector<std::string> story(const Answers& answers) {
  std::vector<std::string> out;
  if (answers.message.is_object()) {
    std::ostringstream envelope;
    write_envelope(answers.message, answers.now, envelope);
    out = lines_of(envelope.str());
  }
  for (const Json& message : list_of(answers.trace, "messages")) {
    Table events;
    for (const Json& event : list_of(message, "events")) events.add(event_row(event));
    out.emplace_back("trace");
    for (std::string& line : lines_of(events.text("  "))) out.push_back(std::move(line));
  }
  return out;
}

std::size_t page_of(Size size) {
  return size.rows > kAround ? size.rows - kAround : 1;
}

std::vector<Line> screen(const State& state, const Answers& answers, Size size) {
  std::vector<Line> lines;
  add_head(answers, lines);
  const std::size_t page = page_of(size);
  if (state.help) {
    lines.push_back({"keys", Look::heading});
    for (const std::string& line : help()) lines.push_back({line});
  } else if (state.view == View::message) {
    lines.push_back({title(state, answers), Look::heading});
    const std::vector<std::string> all = story(answers);
    for (std::size_t i = state.line; i < all.size() && i < state.line + page; ++i) lines.push_back({all[i]});
    if (all.empty() && answers.trouble.empty()) lines.push_back({"it has left, and its history is gone"});
  } else {
    lines.push_back({title(state, answers), Look::heading});
    const std::vector<std::string> all = lines_of(table_of(state, answers).text());
    const std::vector<Row> rows = rows_of(state, answers);
    const std::string& mark = state.view == View::destinations ? state.destination : state.message;
    const auto found = std::find_if(rows.begin(), rows.end(), [&mark](const Row& row) { return row.key == mark; });
    const std::size_t at = found == rows.end() ? 0 : static_cast<std::size_t>(found - rows.begin());
    // The mark stays in the middle, but at the ends.
    const std::size_t most = rows.size() - std::min(page, rows.size());
    const std::size_t from = std::min(at - std::min(at, page / 2), most);
    lines.push_back({all.front(), Look::heading});
    for (std::size_t i = from; i < rows.size() && i < from + page; ++i)
      lines.push_back({all[i + 1], i == at ? Look::marked : Look::plain});
    if (rows.empty() && answers.trouble.empty()) lines.push_back({"nothing waits"});
  }
  lines.resize(std::min(lines.size(), size.rows > 0 ? size.rows - 1 : 0));
  while (lines.size() + 1 < size.rows) lines.push_back({});
  lines.push_back({"enter open   escape back   s sort   ? help   q leave", Look::heading});
  for (Line& line : lines) line.text = cut(line.text, size.columns);
  return lines;
}

std::string drawn(const std::vector<Line>& lines, bool colour) {
  std::string out = "\x1b[H";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += "\r\n";
    const Look look = lines[i].look;
    if (look == Look::heading) out += "\x1b[1m";
    if (look == Look::marked) out += "\x1b[7m";
    if (look == Look::alert) out += colour ? "\x1b[31m" : "\x1b[1m";
    out += lines[i].text + "\x1b[0m\x1b[K";
  }
  return out + "\x1b[J";
}

}  // namespace waypost::mta::top
