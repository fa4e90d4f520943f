// tests/fuzz/proxy.cpp: the head of a connection from a balancer. It is read as a session reads it: of what follows a
// header nothing is taken, and what is no header ends soon.
// Covers: net/proxy_header.cpp
#include "net/proxy_header.h"
#include "tests/fuzz/input.h"

using namespace waypost;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view stream = fuzz::view(data, size);
  std::string_view header;
  while (const std::size_t lacks = net::proxy_header_lacks(header)) {
    fuzz::check(!net::parse_proxy_header(header), "a header that lacks something is none");
    fuzz::check(header.size() + lacks <= 4096, "a header is bounded");
    if (stream.size() - header.size() < lacks) return 0;
    header = stream.substr(0, header.size() + lacks);
  }
  const Result<net::ProxyHeader> parsed = net::parse_proxy_header(header);
  if (!parsed) {
    fuzz::check(fuzz::is_one_line(parsed.error().what), "an error is one line");
    return 0;
  }
  const bool is_line = header.starts_with("PROXY ");
  fuzz::check(!is_line || header.find('\n') == header.size() - 1, "a line ends where the header does");
  if (!parsed->known) return 0;
  for (const net::Address& end : {parsed->source, parsed->destination}) {
    fuzz::check(net::Address::parse(end.host(), end.port) == end, "an address is one");
  }
  return 0;
}
