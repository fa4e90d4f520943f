// resolver/ares_settings.h: what make_ares_resolver() takes for granted, so that tests can set it. Private here.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "resolver/ares_resolver.h"

namespace waypost::resolver {

struct AresSettings {
  std::string resolv_conf = "/etc/resolv.conf";
  std::uint16_t system_port = 53;    ///< of the servers that the file names
  net::Duration look_again{30'000};  ///< how often the file is looked at, at most
  net::Duration longest{60'000};     ///< no try begins that would end later than this after the question
  net::Duration demoted{30'000};     ///< how long a silent server is asked after the others
  std::size_t at_once = 1000;        ///< questions out at a time; more wait for their turn
};

Result<std::unique_ptr<Resolver>> make_ares_resolver(net::LoopRuntime& runtime, const conf::Config::Resolver& config,
                                                     AresSettings settings);

}  // namespace waypost::resolver
