// delivery/route.h: where mail waits, and where it goes from there (DESIGN §5). Pure.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conf/config.h"
#include "delivery/identity.h"
#include "queue/message.h"

namespace waypost::delivery {

/// Where mail of this sender for a domain (domain_key()) waits: the domain; or, where a route takes it because of its
/// sender, domain and route: "b.example/smarthost". So what becomes of the one says nothing of the other.
std::string destination_of(const conf::Config& config, const smtp::Path& reverse_path, const std::string& login,
                           const std::string& domain);
/// The domain of a destination.
std::string domain_of(const std::string& destination);
/// The next hop that an administrator gave to a destination's mail: "b.example/smtp:[192.0.2.7]:25". It stays, whatever
/// routes are.
std::optional<conf::NextHop> rerouted_to(const std::string& destination);
/// Of a message that is to be accepted.
void assign_destinations(const conf::Config& config, queue::NewMessage& message);
/// Takes those out of `due` that wait elsewhere by now, since routes are others: each with where it belongs.
struct Redirected {
  std::string from;
  queue::Due due;
};
std::vector<Redirected> take_redirected(const conf::Config& config, std::vector<queue::Due>& due);

/// The route that a destination's mail takes, or nullptr: its domain has a block that delivers, or no route matches.
const conf::Route* route_of(const conf::Config& config, const std::string& destination);
/// The first that matches, or nullptr.
const conf::Route* route_of(const conf::Config& config, const smtp::Path& reverse_path, const std::string& login,
                            const std::string& domain);

/// What is to be done with a destination's mail.
struct Directions {
  std::vector<conf::NextHop> next_hops;  ///< in the order to try them; never empty
  std::vector<int> weights;              ///< of each of them; empty: they are tried in order
  std::shared_ptr<const Identity> as;    ///< null: the usual one
  bool given = false;                    ///< the configuration says it, and not the DNS
};
/// An administrator says it; else the domain's own block, else its route, else (also if that names none) MX by DNS, which is `smtp:DOMAIN`
/// with look_up_mx.
Directions route(const conf::Config& config, const std::string& destination);

/// Differs where the configuration sends mail another way, as somebody else, wants another TLS there, or asks other
/// resolvers.
std::uint64_t fingerprint_of_routes(const conf::Config& config);

}  // namespace waypost::delivery
