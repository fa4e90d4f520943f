#include "mta/message_order.h"

#include <algorithm>
#include <limits>

namespace waypost::mta {
namespace {

/// The least is first.
std::int64_t place(const queue::MessageRow& message, MessageOrder order) {
  std::int64_t out = std::numeric_limits<std::int64_t>::max();
  switch (order) {
    case MessageOrder::age:
      return 0;
    case MessageOrder::size:
      return -static_cast<std::int64_t>(message.info.size);
    case MessageOrder::next:
      for (const queue::RecipientRow& recipient : message.recipients)
        if (recipient.state == queue::State::deferred)
          out = std::min<std::int64_t>(out, recipient.next_attempt.time_since_epoch().count());
      return out;
    case MessageOrder::tries:
      for (const queue::RecipientRow& recipient : message.recipients)
        out = std::min(out, -static_cast<std::int64_t>(recipient.attempts));
      return out;
  }
  return out;
}

}  // namespace

std::optional<MessageOrder> parse_message_order(std::string_view name) {
  if (name == "age") return MessageOrder::age;
  if (name == "size") return MessageOrder::size;
  if (name == "next") return MessageOrder::next;
  if (name == "tries") return MessageOrder::tries;
  return std::nullopt;
}

void keep_first(std::vector<queue::MessageRow>& messages, MessageOrder order, std::size_t most) {
  std::sort(messages.begin(), messages.end(), [order](const queue::MessageRow& a, const queue::MessageRow& b) {
    const std::int64_t first = place(a, order), second = place(b, order);
    return first != second ? first < second : a.info.id < b.info.id;
  });
  if (messages.size() > most) messages.erase(messages.begin() + static_cast<std::ptrdiff_t>(most), messages.end());
}

}  // namespace waypost::mta
