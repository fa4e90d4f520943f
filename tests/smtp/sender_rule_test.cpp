#include "smtp/sender_rule.h"

#include <doctest/doctest.h>

#include "smtp/address.h"

namespace waypost::smtp {
namespace {

Path path_of(std::string_view text) {
  Path path;
  if (!text.empty()) path.mailbox = *parse_mailbox(text, true);
  return path;
}

TEST_SUITE("smtp/sender_rule") {
  TEST_CASE("what a rule covers") {
    struct {
      std::string_view rule, path;
      bool want;
    } const table[] = {
        {"ann@b.example", "ann@b.example", true},
        {"ann@b.example", "Ann@B.Example", true},
        {"ann@b.example", "ann@c.example", false},
        {"ann@b.example", "bob@b.example", false},
        {"ann@b.example", "ann+x@b.example", false},
        {"ann@b.example", "", false},
        {"@b.example", "ann@B.example", true},
        {"@b.example", "ann@c.b.example", false},
        {"@b.example", "ann@xb.example", false},
        {"@b.example", "", false},
        {"<>", "", true},
        {"<>", "ann@b.example", false},
        {"*", "", true},
        {"*", "ann@b.example", true},
        {"\"a.n\"@b.example", "a.n@b.example", true},
    };
    for (const auto& [rule, path, want] : table) {
      CAPTURE(rule);
      CAPTURE(path);
      CHECK(check_sender_rule(rule).has_value());
      CHECK(covers(rule, path_of(path)) == want);
    }
  }

  TEST_CASE("what is no rule") {
    for (std::string_view rule : {"", "ann", "b.example", "@", "ann@", "@b..example", "a@b.example,c@d.example",
                                  "a b@c.example", "**", "*@b.example", "a:b@c.example", "<a@b.example>"}) {
      CAPTURE(rule);
      CHECK_FALSE(check_sender_rule(rule).has_value());
    }
  }
}

}  // namespace
}  // namespace waypost::smtp
