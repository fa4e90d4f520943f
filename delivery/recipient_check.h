// delivery/recipient_check.h: whether a next hop knows an address: MAIL and RCPT, and no message after them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "conf/config.h"
#include "delivery/connection.h"
#include "delivery/outcome.h"
#include "net/runtime.h"
#include "net/task.h"
#include "resolver/exchangers.h"
#include "resolver/resolver.h"
#include "smtp/path.h"
#include "smtp/reply.h"

namespace waypost::delivery {

/// What was learnt of an address.
struct Standing {
  enum class Kind : std::uint8_t { known, unknown, undecided };
  Kind kind = Kind::undecided;
  bool host_failed = false;  ///< undecided, and so would others be: it is the host, not the address
  std::string why;           ///< what the host said, or its trouble: one line, escaped; "" where known
};

/// Pure: what a reply to RCPT says of its address. 2xx: it is known. 5xx: it is not; but those that speak of us or of
/// the command (530, 500 and the like, 5.5.x, 5.7.x), 552 (RFC 5321 §4.5.3.1.10) and all else leave it open.
Standing standing_of(const smtp::Reply& reply, const std::string& host);
/// Pure: of a host that could not be asked.
Standing standing_of(const HostFailure& failure);

/// The hosts of a next hop in the order to try them, at most kMostPeers; none: `trouble` says why.
struct Hosts {
  static constexpr std::size_t kMostPeers = 5;
  std::vector<Peer> peers;
  std::string trouble;
};
/// `next_hop`: smtp or lmtp, of `domain`. What it refers to outlives the await.
net::Task<Hosts> find_hosts(resolver::Resolver& resolver, net::Runtime& runtime, const conf::Config& config,
                            std::string domain, conf::NextHop next_hop, const resolver::Self& self);

/// Asks on an open session, with the null reverse-path; again and again if need be. The session may be over after it
/// (Connection::usable).
net::Task<Standing> check_recipient(Connection& connection, smtp::Path path);

}  // namespace waypost::delivery
