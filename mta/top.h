// mta/top.h: what `waypost top` shows and does, without a terminal: answers of the control socket and keys in, lines
// out. Pure but for the zone of the machine.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mta/control_json.h"
#include "net/clock.h"

namespace waypost::mta::top {

enum class View : std::uint8_t { destinations, messages, message };
/// Of the destinations; the order of the messages is their age.
enum class Sort : std::uint8_t { waiting, oldest, failures, name };

enum class Key : std::uint8_t { none, up, down, page_up, page_down, first, last, open, back, sort, help, other };
/// How many of the octets that came are the first key: arrows and such send several, and keys come in a row where
/// somebody types ahead.
std::size_t key_length(std::string_view octets);
/// More may belong to the first key.
bool is_cut(std::string_view octets);
/// The key that these octets are; none of none.
Key key_of(std::string_view octets);

struct State {
  View view = View::destinations;
  Sort sort = Sort::waiting;
  std::string destination;  ///< that is marked or open; "": the first one is marked
  std::string message;      ///< likewise
  std::size_t line = 0;     ///< of an open message: the first one that is shown
  bool help = false;
  bool over = false;  ///< the first view was left
};

/// The answers to what a state asks for; null where none came yet.
struct Answers {
  Json status, before;                          ///< GET /v1/status now, and the time before
  std::chrono::steady_clock::time_point asked;  ///< for `status`
  std::chrono::milliseconds between{0};
  Json groups;        ///< GET /v1/queue/count?by=domain
  Json destinations;  ///< GET /v1/dest
  Json messages;      ///< GET /v1/queue of the open destination
  Json message;       ///< GET /v1/queue/ID of the open message
  Json trace;         ///< GET /v1/trace of it
  std::string trouble;
  net::WallTime now;
};

struct Size {
  std::size_t rows = 24, columns = 80;
};

/// A destination, or a site that fails or is slowed.
struct Place {
  std::string name;  ///< not escaped
  std::uint64_t waiting = 0, octets = 0, failures = 0;
  std::optional<net::WallTime> oldest;
  bool is_site = false;
  Json state;  ///< as GET /v1/dest has it; null of one that does well
};
std::vector<Place> places(const Answers& answers, Sort sort);

/// What an open message is shown as: envelope, recipients, and its life so far. Escaped.
std::vector<std::string> story(const Answers& answers);

/// What can be marked, in the order in which it is shown; of an open message its lines.
struct Row {
  std::string key;  ///< not escaped
  bool opens = true;
};
std::vector<Row> rows_of(const State& state, const Answers& answers);

/// How many lines of rows, or of a message, there is room for.
std::size_t page_of(Size size);

/// The state after a key.
State press(State state, Key key, const std::vector<Row>& rows, std::size_t page);

struct Line {
  enum class Look : std::uint8_t { plain, heading, marked, alert };
  std::string text;  ///< escaped, and no longer than the screen is wide
  Look look = Look::plain;
};
/// All of the screen: as many lines as it has, or fewer.
std::vector<Line> screen(const State& state, const Answers& answers, Size size);

/// What draws them over those before, from the upper left corner. Without colour the marked line is still seen.
std::string drawn(const std::vector<Line>& lines, bool colour);

}  // namespace waypost::mta::top
