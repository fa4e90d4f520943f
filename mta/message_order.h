// mta/message_order.h: what `waypost queue list --sort` puts first. Pure.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "queue/store.h"

namespace waypost::mta {

/// Oldest, largest, soonest tried again, most often tried first.
enum class MessageOrder : std::uint8_t { age, size, next, tries };
std::optional<MessageOrder> parse_message_order(std::string_view name);
inline constexpr std::string_view kMessageOrders = "age, size, next, tries";

/// The first `most` of them, in order; of those that are alike the older one is first. What is not tried again comes
/// last by `next`.
void keep_first(std::vector<queue::MessageRow>& messages, MessageOrder order, std::size_t most);

}  // namespace waypost::mta
