// base/dialogue.h: what is said on connections, line by line, while somebody watches (waypost watch). Any thread.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "base/line_ring.h"

namespace waypost::dialogue {

/// Whose line it is: '<' the peer's, '>' ours, '*' nobody's, which tells what happened.
enum class Voice : char { peer = '<', ours = '>', event = '*' };

struct Line {
  std::uint64_t number = 0;  ///< in order, over all connections
  std::chrono::system_clock::time_point time;
  std::uint64_t connection = 0;  ///< as new_connection()
  bool inbound = false;
  std::string peer;     ///< "mx1.b.example[192.0.2.7]:25"
  std::string address;  ///< of it, numeric
  Voice voice = Voice::event;
  std::string text;  ///< as it was said, of which kMaxText octets are kept
};
constexpr std::size_t kMaxText = 512;

/// A number for one connection of this process.
std::uint64_t new_connection();

/// True while somebody watches, and for kWatched after that. What is noted at other times is not kept: ask first. Of
/// secrets the caller notes that they are there (smtp::shown_command()), and of bodies how long they are.
bool is_watched();
constexpr std::chrono::seconds kWatched{10};
/// With a new number and the time of now. The oldest of kKept lines makes room.
void note(Line line);
constexpr std::size_t kKept = 10'000;

using Page = LineRing<Line>::Page;
/// As LineRing::read(); from now on somebody watches.
Page read(std::uint64_t from, std::size_t most, const std::function<bool(const Line&)>& wanted);

}  // namespace waypost::dialogue
