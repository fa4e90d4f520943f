// tests/power/ledger.h: what was promised, and at which call of the disk it became true.
#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "queue/id.h"
#include "queue/state.h"

namespace waypost::tests::power {

/// A position of SimDisk: that of the first call that was not made yet.
using Position = std::uint64_t;
constexpr Position kNever = ~Position{0};

/// Something that was begun, and of which somebody was told later. A cut in between may leave it either way.
struct Span {
  Position begun = kNever;
  Position acked = kNever;
  bool certain(Position cut) const { return acked <= cut; }
  bool possible(Position cut) const { return begun < cut; }
};

/// A recipient's state from here on.
struct Move {
  Span span;
  queue::State state = queue::State::deferred;
  std::uint32_t attempts = 0;
};

struct Mail {
  queue::Id id;
  std::string from;
  std::vector<std::string> to;
  std::string trace, body;
  Span accepted;
  Span left;
  std::vector<std::deque<Move>> moves;  ///< by recipient; they stay where they are
  /// A notification: of which message, and which move of its first recipient that made one.
  struct Cause {
    queue::Id message;
    std::size_t recipient = 0, move = 0;
  };
  std::optional<Cause> cause;

  queue::State state(std::size_t recipient) const {
    return moves[recipient].empty() ? queue::State::deferred : moves[recipient].back().state;
  }
  std::uint32_t attempts(std::size_t recipient) const {
    return moves[recipient].empty() ? 0 : moves[recipient].back().attempts;
  }
};

/// A file in a Maildir of which the delivery was reported.
struct Delivery {
  std::string path, octets;
  Position acked = kNever;
};

/// A destination's failures in a row.
struct BackOff {
  Span span;
  std::uint32_t failures = 0;
};

struct Ledger {
  std::map<queue::Id, Mail> mails;
  std::vector<Delivery> deliveries;
  std::map<std::string, std::vector<BackOff>> destinations;
};

}  // namespace waypost::tests::power
