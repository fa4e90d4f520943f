#include "queue/flow.h"

#include <algorithm>
#include <optional>
#include <string>

#include <xxhash.h>

#include "base/text.h"
#include "net/address.h"

namespace waypost::queue {
namespace {

constexpr int kHashBits = 28;  // the class stands above them

/// A client that has a network of its own is one sender.
std::string network_of(std::string_view client) {
  std::optional<net::Address> address = net::Address::parse(client, 0);
  if (!address || address->family != 6) return std::string(client);
  std::fill(address->bytes.begin() + 8, address->bytes.end(), std::uint8_t{0});
  return address->host();
}

}  // namespace

Priority Flow::priority() const {
  return static_cast<Priority>(std::min<std::uint32_t>(value >> kHashBits, static_cast<std::uint32_t>(Priority::bulk)));
}

Flow flow_of(Priority priority, std::string_view login, std::string_view client, std::string_view domain) {
  std::string sender = login.empty() ? network_of(client) : to_lower(login);
  sender += '\n' + to_lower(domain);
  const auto hash = static_cast<std::uint32_t>(XXH3_64bits(sender.data(), sender.size()) & ((1U << kHashBits) - 1));
  return {static_cast<std::uint32_t>(priority) << kHashBits | hash};
}

int weight(Priority priority) {
  switch (priority) {
    case Priority::high:
      return 16;
    case Priority::normal:
      return 4;
    case Priority::bulk:
      return 1;
  }
  return 1;
}

}  // namespace waypost::queue
