// delivery/identity.h: as whom a host sees us, where a route says so.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conf/config.h"
#include "net/address.h"

namespace waypost::delivery {

struct Identity {
  std::string name;                      ///< of the route, or what it says: for people
  std::vector<net::Address> source;      ///< to connect from; none: delivery.source
  std::string ehlo;                      ///< "": the hostname
  std::optional<conf::HostLogin> login;  ///< nobody logs in
  std::uint64_t mark = 0;                ///< differs where any of these does, and when a password was changed
  bool operator==(const Identity&) const = default;
};

/// nullptr: as the configuration has it for all.
inline bool same_identity(const std::shared_ptr<const Identity>& one, const std::shared_ptr<const Identity>& other) {
  return one == other || (one != nullptr && other != nullptr && *one == *other);
}

}  // namespace waypost::delivery
