#include "resolver/system_servers.h"

#include <optional>

#include <doctest/doctest.h>

namespace waypost::resolver {

TEST_SUITE("resolver/system_servers") {
  TEST_CASE("nameserver lines of resolv.conf") {
    struct {
      const char* text;
      std::vector<std::string> want;
    } cases[] = {
        {"nameserver 192.0.2.1\n", {"192.0.2.1:53"}},
        {"# a comment\nsearch example\nnameserver 192.0.2.1\nnameserver\t2001:db8::1\r\noptions rotate",
         {"192.0.2.1:53", "[2001:db8::1]:53"}},
        {"nameserver 192.0.2.1\nnameserver 192.0.2.1\n", {"192.0.2.1:53"}},
        {"nameserver 192.0.2.1 # the office", {"192.0.2.1:53"}},
        {"#nameserver 192.0.2.1\n", {"127.0.0.1:53"}},
        {"nameserver dns.example\nnameserver\n", {"127.0.0.1:53"}},
        {"nameserver 0.0.0.0", {"127.0.0.1:53"}},
        {"", {"127.0.0.1:53"}},
    };
    for (const auto& one : cases) {
      CAPTURE(one.text);
      std::vector<std::string> got;
      for (const net::Address& server : parse_resolv_conf(one.text, 53)) got.push_back(server.text());
      CHECK(got == one.want);
    }
  }

  TEST_CASE("a file that is not there has the default stamp") {
    CHECK(stamp_of("/nonexistent/resolv.conf") == FileStamp());
    const Result<std::string> text = read_text("/nonexistent/resolv.conf");
    REQUIRE_FALSE(text);
    CHECK(text.error().code == Errc::not_found);
    CHECK_FALSE(read_text("/"));
  }
}

}  // namespace waypost::resolver
