// resolver/exchangers.h: from records to the ordered hosts of a domain (RFC 5321 §5.1). The decisions are pure.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "net/runtime.h"
#include "net/task.h"
#include "resolver/resolver.h"

namespace waypost::resolver {

/// One host to try, with its addresses in the order to try them.
struct Exchanger {
  std::uint16_t preference = 0;
  std::string name;                     ///< the exchanger's name; of an address literal its text
  std::vector<net::Address> addresses;  ///< with the port to connect to
  std::string trouble;                  ///< why there are no addresses, or why a family of them is missing; else ""
};

/// Where a domain's mail goes, or why it goes nowhere.
struct Exchangers {
  enum class Status : std::uint8_t {
    found,
    deferred,  ///< trouble that passes (4.4.3), or exchangers without any address (4.4.4)
    failed,    ///< null MX 5.1.10, no such domain 5.1.2, no address 5.4.4, ourselves 5.4.6, no address literal 5.1.3
  };
  Status status = Status::deferred;
  std::vector<Exchanger> hosts;      ///< found: by preference, shuffled within one; each has an address
  std::string enhanced;              ///< where not found: "5.1.2"
  std::string reason;                ///< where not found, for people and reports
  bool our_trouble = false;          ///< deferred: no name server could be asked at all, nothing the domain did
  bool no_usable_exchanger = false;  ///< deferred 4.4.4: after a day of this the destination fails with 5.4.4
  std::vector<Exchanger> unusable;   ///< exchangers without an address, for people; each says why in `trouble`
  net::TimePoint valid_until;
  /// Equal for domains whose hosts are the same: names, preferences and ports, not in shuffled order.
  std::string site;
};

/// What counts as ourselves.
struct Self {
  std::string hostname;
  std::vector<net::Address> addresses;  ///< of the listeners, port included; of a wildcard, each interface's
};

struct LookUp {
  std::uint16_t port = 25;
  bool ipv4 = true;
  bool ipv6 = true;
  std::size_t max_exchangers = 20;  ///< more are ignored, the least preferred first
  bool configured = false;  ///< a next hop of the configuration: what would fail for good is deferred with 4.3.5
};

/// MX records -> what to look up, in order: null MX alone, null MX among others ignored, literals unusable, equal names
/// once.
struct MxPlan {
  std::vector<Mx> hosts;     ///< sorted by preference, shuffled within one
  std::vector<Mx> unusable;  ///< what an MX names but no host can be: address literals, names that the DNS cannot hold
  bool null_mx = false;
  bool implicit = false;  ///< no MX: the domain itself with preference 0
};
MxPlan plan_mx(const std::string& domain, const Answer<Mx>& answer, std::uint64_t chance, std::size_t max_exchangers);

/// Drops ourselves, by address and port or by name, and what is not more preferred than ourselves (RFC 5321 §5.1).
/// True if we were among them.
bool drop_self(std::vector<Exchanger>& hosts, const Self& self);

/// The exchangers of a domain by MX, or by A and AAAA where it has none. An address literal is the host it names.
/// `resolver`, `runtime` and `self` outlive the await.
net::Task<Exchangers> find_exchangers(Resolver& resolver, net::Runtime& runtime, std::string domain, LookUp look_up,
                                      const Self& self);
/// A host named by an administrator: its addresses, no MX. A numeric address needs no DNS, and may be in brackets:
/// "192.0.2.1", "[192.0.2.1]", "[IPv6:2001:db8::1]". Ourselves only by address and port: another port is another
/// server. Always as `configured`.
net::Task<Exchangers> find_host(Resolver& resolver, net::Runtime& runtime, std::string host, LookUp look_up,
                                const Self& self);

}  // namespace waypost::resolver
