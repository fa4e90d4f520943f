#include "delivery/route.h"

#include "smtp/address.h"

namespace waypost::delivery {

std::vector<conf::NextHop> route(const conf::Config& config, const std::string& destination) {
  const conf::Domain* domain = config.find_domain(destination);
  if (domain != nullptr && domain->deliver) return {*domain->deliver};
  const conf::Route* matching = config.find_route(destination);
  if (matching != nullptr && !matching->next_hops.empty()) return matching->next_hops;
  conf::NextHop direct;
  direct.kind = conf::NextHop::Kind::smtp;
  const std::string literal = smtp::literal_address(destination);
  direct.host.host = literal.empty() ? destination : literal;
  direct.look_up_mx = literal.empty();
  return {direct};
}

}  // namespace waypost::delivery
