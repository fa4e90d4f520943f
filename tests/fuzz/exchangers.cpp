// tests/fuzz/exchangers.cpp: what a domain's DNS says of its exchangers, whatever it is. Hosts are in their order, have
// addresses, are none of ours, and what they are called does not hang on chance; what is no host is told in a line.
//
// The first octet: bits 0-2 how the question for MX ends, bit 3 as a next hop of the configuration, bit 4 by its host
// alone, bits 5 and 6 without a family. Then fields between US (0x1F): the domain, and exchangers, each of an octet of
// preference, one for how its questions end (bits 0-2 for A, 3-5 for AAAA, bit 6 our own address) and its name.
// Covers: resolver/exchangers.cpp resolver/name.cpp
#include "resolver/exchangers.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "tests/fuzz/input.h"
#include "tests/support/virtual_runtime.h"

using namespace waypost;
using resolver::Answer;
using resolver::Exchangers;
using resolver::Status;

namespace {

constexpr std::uint16_t kPort = 25;
const net::Address kOwn4 = *net::Address::parse("192.0.2.1", kPort), kOwn6 = *net::Address::parse("2001:db8::1", kPort);

Status status_of(std::uint8_t bits) {
  constexpr Status kAll[] = {Status::found,     Status::found,         Status::found,     Status::no_data,
                             Status::no_domain, Status::server_failed, Status::timed_out, Status::found};
  return kAll[bits & 7];
}

/// Answers by name alone, in any order of questions.
class Zone : public resolver::Resolver {
 public:
  Zone(std::uint8_t how, std::string_view& input) : status_(status_of(how)) {
    while (!input.empty()) {
      Host host;
      host.preference = fuzz::take_octet(input) % 8;
      host.ends = fuzz::take_octet(input);
      // As the reader of answers has names: lower case, in visible letters.
      for (char c : fuzz::take_field(input))
        if (c > ' ' && c < 0x7F) host.name += lower(c);
      while (host.name.ends_with('.')) host.name.pop_back();
      hosts_.push_back(std::move(host));
    }
  }

  net::Task<Answer<resolver::Mx>> mx(std::string) override {
    Answer<resolver::Mx> out;
    out.status = status_;
    if (status_ == Status::found)
      for (const Host& host : hosts_) out.records.push_back({host.preference, host.name});
    if (out.records.empty() && status_ == Status::found) out.status = Status::no_data;
    co_return out;
  }
  net::Task<Answer<net::Address>> a(std::string name) override { co_return addresses(name, 0, "192.0.2.", kOwn4); }
  net::Task<Answer<net::Address>> aaaa(std::string name) override { co_return addresses(name, 3, "2001:db8::", kOwn6); }
  net::Task<Answer<std::string>> ptr(std::string) override { co_return Answer<std::string>(); }
  void stop() override {}

 private:
  struct Host {
    std::uint16_t preference = 0;
    std::uint8_t ends = 0;
    std::string name;
  };

  Answer<net::Address> addresses(const std::string& name, int shift, const std::string& prefix,
                                 net::Address own) const {
    Answer<net::Address> out;
    out.status = Status::no_domain;
    for (const Host& host : hosts_) {
      if (to_lower(name) != host.name) continue;
      out.status = status_of(static_cast<std::uint8_t>(host.ends >> shift));
      own.port = 0;
      const std::string last = std::to_string(10 + host.name.size() % 90);
      if (out.status == Status::found)
        out.records.push_back((host.ends & 64) != 0 ? own : *net::Address::parse(prefix + last, 0));
      break;
    }
    return out;
  }

  Status status_;
  std::vector<Host> hosts_;
};

void check_exchangers(const Exchangers& told, const resolver::LookUp& look_up, bool by_mx) {
  fuzz::check(told.unusable.size() <= 2 * look_up.max_exchangers, "what is told for people is bounded");
  for (const resolver::Exchanger& each : told.unusable)
    fuzz::check(!each.trouble.empty() && fuzz::is_one_line(each.trouble), "each says why, in one line");
  if (told.status != Exchangers::Status::found) {
    const bool deferred = told.status == Exchangers::Status::deferred;
    fuzz::check(told.enhanced.starts_with(deferred ? "4." : "5."), "the class of the status is that of the end");
    fuzz::check(!told.reason.empty() && fuzz::is_one_line(told.reason), "why is one line");
    fuzz::check(deferred || !look_up.configured, "nothing fails by a mistake of the configuration");
    return;
  }
  fuzz::check(!told.hosts.empty() && told.hosts.size() <= look_up.max_exchangers, "there are hosts, and not too many");
  std::set<std::string> names;
  std::uint16_t preference = 0;
  for (const resolver::Exchanger& host : told.hosts) {
    fuzz::check(host.preference >= preference, "they are in order");
    preference = host.preference;
    fuzz::check(names.insert(to_lower(host.name)).second, "none is there twice");
    fuzz::check(!by_mx || to_lower(host.name) != "relay.example", "none is ourselves by name");
    fuzz::check(!host.addresses.empty(), "each has an address");
    for (const net::Address& address : host.addresses) {
      fuzz::check(address.port == kPort, "with the port to connect to");
      fuzz::check(!(address == kOwn4) && !(address == kOwn6), "that is not ours");
      const bool is_v6 = address.host().find(':') != std::string::npos;
      fuzz::check(is_v6 ? look_up.ipv6 : look_up.ipv4, "and of a family that we have");
    }
  }
  fuzz::check(!told.site.empty() && fuzz::is_one_line(told.site), "they have a site");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  const std::uint8_t how = fuzz::take_octet(input);
  std::string domain(fuzz::take_field(input).substr(0, 300));
  std::erase_if(domain, [](char c) { return c <= ' ' || c >= 0x7F; });
  if (domain.empty()) domain = "a.example";
  Zone zone(how, input);
  resolver::LookUp look_up;
  look_up.port = kPort;
  look_up.max_exchangers = 5;
  look_up.configured = (how & 8) != 0;
  look_up.ipv4 = (how & 32) == 0;
  look_up.ipv6 = (how & 64) == 0 || !look_up.ipv4;
  resolver::Self self;
  self.hostname = "relay.example";
  self.addresses = {kOwn4, kOwn6};

  const bool by_mx = (how & 16) == 0;
  if (!by_mx) look_up.configured = true;
  auto find = [&](std::uint64_t seed) {
    tests::VirtualRuntime runtime(seed);
    return runtime.complete(by_mx ? resolver::find_exchangers(zone, runtime, domain, look_up, self)
                                  : resolver::find_host(zone, runtime, domain, look_up, self));
  };
  const Exchangers once = find(1), again = find(2);
  check_exchangers(once, look_up, by_mx);
  fuzz::check(once.status == again.status && once.enhanced == again.enhanced, "how it ends does not hang on chance");
  fuzz::check(once.site == again.site && once.hosts.size() == again.hosts.size(), "nor does the site");
  return 0;
}
