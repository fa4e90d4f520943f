// tests/fuzz/address.cpp: short texts of files, people and name servers: addresses as numbers, resolv.conf, names of
// the DNS, queue ids. What is read is written in one form, which is read as the same. Covers: net/address.cpp
// resolver/system_servers.cpp resolver/name.cpp queue/id.cpp
#include "net/address.h"

#include <set>

#include "queue/id.h"
#include "resolver/name.h"
#include "resolver/system_servers.h"
#include "tests/fuzz/input.h"

using namespace waypost;

namespace {

void check_same(const net::Address& address) {
  std::optional<net::Address> again = net::Address::parse(address.host(), address.port);
  fuzz::check(again && *again == address, "an address that is written is read as the same");
  fuzz::check(address.text().ends_with(":" + std::to_string(address.port)), "with its port");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);

  std::optional<net::Address> address = net::Address::parse(input, 25);
  if (address) check_same(*address);

  std::vector<net::Address> servers = resolver::parse_resolv_conf(input, 53);
  fuzz::check(!servers.empty(), "there is a name server to ask");
  std::set<net::Address> each(servers.begin(), servers.end());
  fuzz::check(each.size() == servers.size(), "none is asked twice");
  for (const net::Address& server : servers) {
    fuzz::check(server.port == 53 && !server.is_wildcard(), "each is a host");
    check_same(server);
  }

  std::string name = resolver::canonical(input);
  fuzz::check(resolver::canonical(name) == name || input.ends_with(".."), "a canonical name stays as it is");
  if (resolver::fits_dns(input)) {
    fuzz::check(!name.empty() && name.size() <= 253, "a name that fits is not too long");
    fuzz::check(resolver::fits_dns(name), "and fits in its canonical form");
    for (char c : name) fuzz::check(c > ' ' && c <= '~' && c != '\\', "of visible ASCII");
  }

  std::optional<queue::Id> id = queue::Id::parse(input);
  if (id) {
    fuzz::check(id->value < std::uint64_t{1} << 60, "an id has 60 bits");
    fuzz::check(id->text().size() == 12 && queue::Id::parse(id->text()) == id, "and is read as it is written");
  }
  return 0;
}
