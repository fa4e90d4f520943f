#include "conf/suggest.h"

#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace waypost::conf;

TEST_SUITE("conf/suggest") {
  TEST_CASE("edit distance counts insertions, omissions, replacements and swaps") {
    CHECK(edit_distance("", "") == 0);
    CHECK(edit_distance("role", "role") == 0);
    CHECK(edit_distance("rolle", "role") == 1);
    CHECK(edit_distance("rle", "role") == 1);
    CHECK(edit_distance("roke", "role") == 1);
    CHECK(edit_distance("orle", "role") == 1);
    CHECK(edit_distance("", "role") == 4);
    CHECK(edit_distance("listen", "address") == 6);
  }

  TEST_CASE("the nearest name is offered, and none where none is near") {
    const std::vector<std::string> keys = {"address", "role", "tls", "connect_timeout", "message_size", "recipients"};
    CHECK(nearest("rolle", keys) == "role");
    CHECK(nearest("Address", keys) == "address");
    CHECK(nearest("adress", keys) == "address");
    CHECK(nearest("tsl", keys) == "tls");
    CHECK(nearest("conect-timeout", keys) == "connect_timeout");
    CHECK(nearest("max_recipients", keys) == "recipients");
    CHECK(nearest("size", keys) == "message_size");
    CHECK(nearest("xyzzy", keys).empty());
    CHECK(nearest("ca", keys).empty());
    CHECK(nearest(std::string(100000, 'a'), keys).empty());
    CHECK(nearest("role", {}).empty());
  }
}
