#include "mta/host_checks.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include <netdb.h>
#include <sys/timex.h>

#include "mta/interfaces.h"

namespace waypost::mta {
namespace {

using Known = HostFacts::Known;

constexpr std::chrono::seconds kPatience{3};  // with the resolver

conf::Finding warning(const conf::Config& config, std::string key, std::string message, std::string hint) {
  conf::Finding finding;
  finding.file = config.file;
  finding.key = std::move(key);
  finding.message = std::move(message);
  finding.hint = std::move(hint);
  return finding;
}

Known name_has_address(const std::string& name) {
  auto answer = std::make_shared<std::promise<Known>>();
  std::future<Known> future = answer->get_future();
  std::thread([answer, name] {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failed = getaddrinfo(name.c_str(), nullptr, &hints, &found);
    if (failed == 0) freeaddrinfo(found);
    const bool none = failed == EAI_NONAME || failed == EAI_NODATA;
    answer->set_value(failed == 0 ? Known::yes : none ? Known::no : Known::unknown);
  }).detach();  // it ends with the program, where no resolver answers
  if (future.wait_for(kPatience) != std::future_status::ready) return Known::unknown;
  return future.get();
}

bool is_loopback(const net::Address& address) {
  return address.family == 4 ? address.bytes[0] == 127 : address.host() == "::1";
}

Known clock_is_kept() {
  timex now{};
  const int state = adjtimex(&now);
  if (state < 0) return Known::unknown;
  return (now.status & STA_UNSYNC) == 0 ? Known::yes : Known::no;
}

}  // namespace

std::vector<conf::Finding> host_warnings(const conf::Config& config, const HostFacts& facts) {
  std::vector<conf::Finding> out;
  if (facts.name_has_address == Known::no)
    out.push_back(
        warning(config, "hostname", config.hostname + " has no address: many relays refuse such an EHLO name",
                "the DNS should know it, with the address that mail comes from, and that address with this name"));
  bool is_public = false;
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const conf::Listener& listener = config.listeners[i];
    const std::optional<net::Address> address = net::Address::parse(listener.address.host, listener.address.port);
    if (!address) continue;
    const auto is_it = [&](const net::Address& own) { return own.same_host(*address); };
    const bool is_own = address->is_wildcard() || is_loopback(*address) || facts.addresses.empty() ||
                        std::any_of(facts.addresses.begin(), facts.addresses.end(), is_it);
    is_public = is_public || !is_loopback(*address);
    if (is_own) continue;
    out.push_back(warning(config, "listener[" + std::to_string(i + 1) + "].address",
                          "no interface of this machine has " + listener.address.host,
                          "the daemon does not start before one has"));
  }
  const bool any_certificate = !config.tls.certificate.empty() || !config.tls.certificates.empty();
  if (is_public && !any_certificate)
    out.push_back(warning(config, "tls.certificate",
                          "is not given: all mail comes in in clear, and nobody can log in safely",
                          "a certificate that nobody vouches for does for mail between relays"));
  if (facts.clock_is_kept == Known::no)
    out.push_back(warning(config, "",
                          "nothing keeps this machine's clock right: retries, expiry and dates of messages go by it",
                          "install chrony or systemd-timesyncd, or see whether it reaches its servers"));
  return out;
}

HostFacts host_facts(const conf::Config& config) {
  HostFacts facts;
  facts.name_has_address = name_has_address(config.hostname);
  facts.clock_is_kept = clock_is_kept();
  facts.addresses = interface_addresses();
  return facts;
}

void check_host(conf::Loaded& loaded) {
  if (!loaded.errors.empty()) return;
  for (conf::Finding& each : host_warnings(loaded.config, host_facts(loaded.config)))
    loaded.warnings.push_back(std::move(each));
}

}  // namespace waypost::mta
