// queue/flow.h: whose turn a message takes among those for the same destination. Pure.
#pragma once
#include <cstdint>
#include <string_view>

namespace waypost::queue {

/// Classes of mail: how often one has its turn while the others wait too (weight()). None waits for another to end.
enum class Priority : std::uint8_t { high, normal, bulk };

/// Mail of one class and one sender: its login, or else its client's address (of IPv6 the /64), and the domain of its
/// reverse-path. Senders are told apart by a hash: a rare few share their turns.
struct Flow {
  std::uint32_t value = 0;
  bool operator==(const Flow&) const = default;
  Priority priority() const;
};
Flow flow_of(Priority priority, std::string_view login, std::string_view client, std::string_view domain);

/// Messages that a flow may have attempted in its turn.
int weight(Priority priority);

}  // namespace waypost::queue
