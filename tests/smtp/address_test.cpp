#include "smtp/address.h"

#include <doctest/doctest.h>

using namespace waypost::smtp;

namespace {
std::string label(std::size_t octets) {
  return std::string(octets, 'a');
}
}  // namespace

TEST_SUITE("smtp/address") {
  TEST_CASE("mailboxes that are right [RFC 5321 4.1.2]") {
    struct {
      std::string_view text, local, domain, wire;
    } cases[] = {
        {"a@b.example", "a", "b.example", "a@b.example"},
        {"A.B-c+d@B.Example", "A.B-c+d", "B.Example", "A.B-c+d@B.Example"},
        {"!#$%&'*+-/=?^_`{|}~@b", "!#$%&'*+-/=?^_`{|}~", "b", "!#$%&'*+-/=?^_`{|}~@b"},
        {"a@b.example.", "a", "b.example", "a@b.example"},
        {"\"a b\"@c.example", "a b", "c.example", "\"a b\"@c.example"},
        {"\"a\"@c.example", "a", "c.example", "a@c.example"},
        {"\"a\\\"b\\\\c\"@d", "a\"b\\c", "d", "\"a\\\"b\\\\c\"@d"},
        {"\"a@b>,:;\"@c", "a@b>,:;", "c", "\"a@b>,:;\"@c"},
        {"\"\\a\"@c", "a", "c", "a@c"},
        {"\"\"@c", "", "c", "\"\"@c"},
        {"\"a..b\"@c", "a..b", "c", "\"a..b\"@c"},
        {"a@[192.0.2.1]", "a", "[192.0.2.1]", "a@[192.0.2.1]"},
        {"a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]"},
        {"a@host_with_underscore.example", "a", "host_with_underscore.example", "a@host_with_underscore.example"},
        {"user%dom@own.example", "user%dom", "own.example", "user%dom@own.example"},
    };
    for (const auto& c : cases) {
      CAPTURE(c.text);
      auto mailbox = parse_mailbox(c.text);
      REQUIRE(mailbox);
      CHECK(mailbox->local == c.local);
      CHECK(mailbox->domain == c.domain);
      CHECK(mailbox->text() == c.wire);
      CHECK(*parse_mailbox(mailbox->text()) == *mailbox);
    }
  }

  TEST_CASE("mailboxes that are wrong") {
    for (std::string_view text : {"",
                                  "a",
                                  "@b",
                                  "a@",
                                  "a@b@c",
                                  ".a@b",
                                  "a.@b",
                                  "a..b@c",
                                  "a b@c",
                                  "a@b c",
                                  "a@-b",
                                  "a@b-",
                                  "a@b..c",
                                  "a@.b",
                                  "a@.",
                                  "a@..",
                                  "\"a@b",
                                  "\"a\"b@c",
                                  "\"a\\\"@b",
                                  "\"a\tb\"@c",
                                  "\"a\nb\"@c",
                                  "a\"b\"@c",
                                  "a@[",
                                  "a@[]",
                                  "a@[1.2.3]",
                                  "a@[1.2.3.256]",
                                  "a@[01.2.3.4]",
                                  "a@[IPv6:1.2.3.4]",
                                  "a@[IPv6:]",
                                  "a@[2001:db8::1]",
                                  "a@[IPv6:1::2::3]",
                                  "a(c)@b",
                                  "a@b(c)",
                                  "a,b@c",
                                  "<a@b>",
                                  "a@b\r\n",
                                  "\x01@b",
                                  "a@b/c"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_mailbox(text));
      CHECK_FALSE(parse_mailbox(text, true));
    }
    CHECK_FALSE(parse_mailbox(std::string_view("a\0@b", 4)));
    CHECK_FALSE(parse_mailbox(std::string_view("\"a\0\"@b", 6)));
    CHECK_FALSE(parse_mailbox(std::string_view("a@[1.2.3.4\0]", 12)));
  }

  TEST_CASE("limits of length [RFC 5321 4.5.3.1]; return addresses of lists are longer than its 64 octets") {
    CHECK(parse_mailbox(label(64) + "@b"));
    CHECK(parse_mailbox(label(255) + "@b"));
    CHECK_FALSE(parse_mailbox(label(256) + "@b"));
    CHECK(parse_mailbox("a@" + label(63) + ".example"));
    CHECK_FALSE(parse_mailbox("a@" + label(64) + ".example"));
    std::string domain = label(63) + '.' + label(63) + '.' + label(63) + '.' + label(63);
    CHECK(parse_mailbox("a@" + domain));
    CHECK_FALSE(parse_mailbox("a@" + domain + ".b"));
  }

  TEST_CASE("non-ASCII only where asked for, and only valid UTF-8 [RFC 6531 3.3]") {
    for (std::string_view text : {"jörg@b.example", "a@bücher.example", "\"jörg x\"@b", "用户@例子.example"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_mailbox(text));
      auto mailbox = parse_mailbox(text, true);
      REQUIRE(mailbox);
      CHECK(mailbox->text() == text);
    }
    for (std::string_view text : {"j\xF6rg@b", "a@b\xFF", "a\xC2\x85@b", "a@b\xC2\x9F.example"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_mailbox(text, true));
    }
  }

  TEST_CASE("domains are compared without case, local parts with it, but for postmaster [RFC 5321 2.4, 4.5.1]") {
    CHECK(Mailbox{"a", "B.Example"} == Mailbox{"a", "b.eXample"});
    CHECK_FALSE(Mailbox{"A", "b"} == Mailbox{"a", "b"});
    CHECK(Mailbox{"PostMaster", "b"} == Mailbox{"postmaster", "B"});
    CHECK_FALSE(Mailbox{"postmaster", "b"} == Mailbox{"postmaster", "c"});
    CHECK(is_postmaster(Mailbox{"POSTMASTER", ""}));
    CHECK(Mailbox{"postmaster", ""}.text() == "postmaster");
    CHECK(domain_key("MX.Example") == "mx.example");
  }

  TEST_CASE("address literals [RFC 5321 4.1.3]") {
    CHECK(literal_address("[192.0.2.1]") == "192.0.2.1");
    CHECK(literal_address("[IPv6:2001:DB8:0:0::1]") == "2001:db8::1");
    CHECK(literal_address("[ipv6:::ffff:192.0.2.1]") == "::ffff:192.0.2.1");
    for (std::string_view text :
         {"", "[", "]", "[]", "192.0.2.1", "[192.0.2.1", "[ 192.0.2.1]", "[x:y]", "[IPv6:::1%lo]"})
      CHECK(literal_address(text).empty());
    CHECK(Mailbox{"a", "[192.0.2.1]"}.is_literal());
    CHECK_FALSE(Mailbox{"a", ""}.is_literal());
  }
}
