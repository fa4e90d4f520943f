// mta/host_checks.h: what `config check` finds dubious in a configuration on this machine, though no file is wrong.
#pragma once
#include <string>
#include <vector>

#include "conf/load.h"
#include "net/address.h"

namespace waypost::mta {

struct HostFacts {
  enum class Known : std::uint8_t { yes, no, unknown };
  Known name_has_address = Known::unknown;  ///< Config::hostname; unknown: no resolver answered in time
  Known clock_is_kept = Known::unknown;     ///< something sets it by others' clocks
  std::vector<net::Address> addresses;      ///< of the interfaces; none: unknown
  struct NameServer {
    enum class Kind : std::uint8_t { validates, believes, silent };
    std::string address;
    Kind kind = Kind::validates;  ///< believes: passes on what is forged, too
  };
  std::vector<NameServer> name_servers;
  /// A next hop that no connection could be made to, or an address of a listener that another program has.
  struct Unreachable {
    std::string key, what, why;
  };
  std::vector<Unreachable> next_hops, listeners;
};

/// Pure. Warnings alone.
std::vector<conf::Finding> host_warnings(const conf::Config& config, const HostFacts& facts);

/// Asks the system, name servers and next hops (host_facts.cpp); blocks, for a few seconds at most.
HostFacts host_facts(const conf::Config& config);

/// Adds them to a configuration that was read without errors. For `config check`.
void check_host(conf::Loaded& loaded);

}  // namespace waypost::mta
