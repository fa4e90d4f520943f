#include "smtp/address_list.h"

#include <string>

#include <doctest/doctest.h>

namespace waypost::smtp {
namespace {

/// "a@b.example,c", or the text of the error.
std::string list(std::string_view text) {
  const Result<std::vector<Mailbox>> found = parse_address_list(text);
  if (!found) return "error: " + found.error().what;
  std::string out;
  for (const Mailbox& mailbox : *found) out += (out.empty() ? "" : ",") + mailbox.text();
  return out;
}

}  // namespace

TEST_SUITE("smtp/address_list") {
  TEST_CASE("mailboxes in every form [RFC 5322 3.4, 4.4]") {
    struct Case {
      std::string_view text, want;
    };
    for (const Case& each : {
             Case{"a@b.example", "a@b.example"},
             {" a@b.example , c@d.example", "a@b.example,c@d.example"},
             {"root", "root"},
             {"root, ann@b.example", "root,ann@b.example"},
             {"Ann Example <a@b.example>", "a@b.example"},
             {"\"Example, Ann\" <a@b.example>, c@d.example", "a@b.example,c@d.example"},
             {"\"a \\\"quoted\\\" <x@y.example>\" <a@b.example>", "a@b.example"},
             {"\"a b\"@c.example", "\"a b\"@c.example"},
             {"\"a,b\"@c.example", "\"a,b\"@c.example"},
             {"a@b.example (Ann, of b)", "a@b.example"},
             {"(x (nested \\) ,) ) a@b.example", "a@b.example"},
             {"a(comment)@b.example", "a@b.example"},
             {"A Group: a@b.example, Bob <b@c.example>; , d@e.example", "a@b.example,b@c.example,d@e.example"},
             {"undisclosed-recipients:;", ""},
             {"", ""},
             {" , ,, ", ""},
             {"\r\n a@b.example,\r\n\tc@d.example\r\n", "a@b.example,c@d.example"},
             {"john . doe @ example . com", "john.doe@example.com"},
             {"<@one.example,@two.example:a@b.example>", "a@b.example"},
             {"a@[192.0.2.1]", "a@[192.0.2.1]"},
             {"Ann <a@[IPv6:2001:db8::1]>, b@c.example", "a@[IPv6:2001:db8::1],b@c.example"},
             {"j\xc3\xbcrgen@b\xc3\xbc"
              "cher.example",
              "j\xc3\xbcrgen@b\xc3\xbc"
              "cher.example"},
             {"Ann <root>", "root"},
         }) {
      CAPTURE(each.text);
      CHECK(list(each.text) == each.want);
    }
  }

  TEST_CASE("what is no list is refused as a whole") {
    for (std::string_view text : {"a@", "@b.example", "a b@c.example", "a@b.example c@d.example", "<>",
                                  "Ann <a@b.example", "a>", "<<a@b.example>>", "<a@b.example> <c@d.example>", "\"a",
                                  "(a", "a@[192.0.2.1", "a@b..example", "a@b.example, c d", "\"\""}) {
      CAPTURE(text);
      CHECK(list(text).starts_with("error: "));
    }
    CHECK(list("a@b.example, c d") == "error: \"c d\" is no address");
    CHECK(list("a\x1b\n") == "error: \"a\\x1b\" is no address");
  }
}

}  // namespace waypost::smtp
