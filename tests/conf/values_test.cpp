#include "conf/values.h"

#include <string>

#include <doctest/doctest.h>

using namespace waypost;
using namespace waypost::conf;

namespace {

using Kind = NextHop::Kind;

struct Bad {
  std::string text;
  std::string part;  // of the message
};

template <class T, std::size_t N>
void check_bad(const Bad (&rows)[N], Result<T> (*parse)(const std::string&)) {
  for (const Bad& row : rows) {
    CAPTURE(row.text);
    Result<T> got = parse(row.text);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == Errc::invalid);
    CHECK_MESSAGE(got.error().what.find(row.part) != std::string::npos, got.error().what);
  }
}

}  // namespace

TEST_SUITE("conf/values") {
  TEST_CASE("a network is an address with or without the length of its prefix") {
    CHECK(parse_network("10.0.0.0/8")->prefix == 8);
    CHECK(parse_network("10.1.2.3")->prefix == 32);
    CHECK(parse_network("0.0.0.0/0")->prefix == 0);
    CHECK(parse_network("::1")->prefix == 128);
    CHECK(parse_network("::/0")->family == 6);
    CHECK(parse_network("::ffff:0.0.0.0/96")->text() == "0.0.0.0/0");
    const Bad rows[] = {
        {"", "neither an address nor a network"},
        {"localhost", "neither an address nor a network"},
        {"example.org", "neither an address nor a network"},
        {"10.0.0", "neither an address nor a network"},
        {"10.0.0.0/", "from 0 to 32"},
        {"10.0.0.0/33", "from 0 to 32"},
        {"10.0.0.0/-1", "from 0 to 32"},
        {"10.0.0.0/255.0.0.0", "from 0 to 32"},
        {"::/129", "from 0 to 128"},
        {"10.0.0.1/8", "the network is \"10.0.0.0/8\""},
        {"192.168.1.130/25", "the network is \"192.168.1.128/25\""},
        {"2001:db8::1/32", "the network is \"2001:db8::/32\""},
        {"::ffff:10.0.0.1/104", "the network is \"10.0.0.0/8\""},
        {"[::1]/128", "neither an address nor a network"},
    };
    check_bad(rows, parse_network);
  }

  TEST_CASE("a listener's address is numeric and has a port") {
    CHECK(parse_listen_address("0.0.0.0:25")->text() == "0.0.0.0:25");
    CHECK(parse_listen_address("[0:0::1]:587")->text() == "[::1]:587");
    CHECK(parse_listen_address("[127.0.0.1]:25")->text() == "127.0.0.1:25");
    const Bad rows[] = {
        {"", "no host"},
        {":25", "names no host"},
        {"127.0.0.1", "has no port"},
        {"[::1]", "has no port"},
        {"127.0.0.1:", "no port from 1 to 65535"},
        {"127.0.0.1:0", "no port from 1 to 65535"},
        {"127.0.0.1:65536", "no port from 1 to 65535"},
        {"127.0.0.1:smtp", "no port from 1 to 65535"},
        {"::1", "lacks brackets"},
        {"2001:db8::1:25", "lacks brackets"},
        {"::1:99999", "too many colons"},
        {"[::1", "closing bracket"},
        {"[::1]25", "after the bracket"},
        {"*:25", "stand for all"},
        {"localhost:25", "no numeric address"},
        {"25", "no numeric address"},
        {"127.0.0.1:25 ", "no port"},
    };
    check_bad(rows, parse_listen_address);
  }

  TEST_CASE("a name server's port is 53 where none is given") {
    CHECK(parse_name_server("127.0.0.1:5353")->text() == "127.0.0.1:5353");
    CHECK(parse_name_server("127.0.0.1")->text() == "127.0.0.1:53");
    CHECK(parse_name_server("::1")->text() == "[::1]:53");
    CHECK(parse_name_server("[::1]")->text() == "[::1]:53");
    CHECK(parse_name_server("[::1]:53")->text() == "[::1]:53");
    const Bad rows[] = {{"ns.example", "no numeric address"}, {"", "no host"}, {"127.0.0.1:0", "no port"}};
    check_bad(rows, parse_name_server);
  }

  TEST_CASE("a domain name is letters, digits and hyphens, in lower case [RFC 5321 2.3.5]") {
    CHECK(*parse_domain("Relay.Example.NET") == "relay.example.net");
    CHECK(*parse_domain("xn--mller-kva.example") == "xn--mller-kva.example");
    CHECK(*parse_domain("localhost") == "localhost");
    CHECK(*parse_domain("3com.example") == "3com.example");
    CHECK(parse_domain(std::string(63, 'a') + ".example"));
    const Bad rows[] = {
        {"", "is empty"},
        {".", "ends with a dot"},
        {"example.org.", "leave it out"},
        {".example.org", "begins with a dot"},
        {"a..example", "two in a row"},
        {"-a.example", "begins or ends with \"-\""},
        {"a-.example", "begins or ends with \"-\""},
        {"a_b.example", "\"_\" in it"},
        {"a b.example", "\" \" in it"},
        {"m\xc3\xbcller.example", "A-label"},
        {"info@example.org", "is a mail address"},
        {"*.example.org", "one domain name"},
        {"192.0.2.1", "is an address"},
        {"::1", "is an address"},
        {"[192.0.2.1]", "\"[\" in it"},
        {std::string(64, 'a') + ".example", "63 octets"},
        {"a\n.example", "\"\\n\" in it"},
    };
    check_bad(rows, parse_domain);
    std::string longest;
    while (longest.size() < 254) longest += "aaaaaaa.";
    longest += "example";
    CHECK_FALSE(parse_domain(longest));
  }

  TEST_CASE("a pattern is a domain, all below one, or everything") {
    CHECK(*parse_pattern("*") == "*");
    CHECK(*parse_pattern("*.Example") == "*.example");
    CHECK(*parse_pattern("A.example") == "a.example");
    const Bad rows[] = {
        {"", "is empty"},
        {".example", "\"*.example\""},
        {"*example", "elsewhere than as its first label"},
        {"a.*.example", "elsewhere"},
        {"**", "elsewhere"},
        {"*.*", "\"*\""},
        {"*.", "is empty"},
        {"@example.org", "domain alone"},
        {"a@example.org", "mail address"},
    };
    check_bad(rows, parse_pattern);
  }

  TEST_CASE("a local part is a dot-string [RFC 5321 4.1.2]") {
    CHECK(*parse_local_part("info") == "info");
    CHECK(*parse_local_part("John.O'Neil+tag") == "John.O'Neil+tag");
    CHECK(*parse_local_part("m\xc3\xbcller") == "m\xc3\xbcller");
    CHECK(parse_local_part(std::string(64, 'a')));
    const Bad rows[] = {
        {"", "is empty"},       {"info@example.org", "local part alone"},
        {"a b", "\" \" in it"}, {"root: admin", "\":\" in it"},
        {".a", "dot"},          {"a.", "dot"},
        {"a..b", "dot"},        {std::string(65, 'a'), "64 octets"},
        {"a,b", "\",\" in it"}, {"a\xc2\x98", "control character"},
    };
    check_bad(rows, parse_local_part);
  }

  TEST_CASE("a mailbox is a local part and a domain") {
    CHECK(*parse_mailbox("Postmaster@Example.ORG") == "Postmaster@example.org");
    const Bad rows[] = {{"postmaster", "no \"@\""},
                        {"@example.org", "before its \"@\""},
                        {"a@", "after its \"@\""},
                        {"a@b@c.example", "before"}};
    check_bad(rows, parse_mailbox);
  }

  TEST_CASE("next hops are read, and written as they were") {
    struct Row {
      std::string text;
      Kind kind;
      std::string host;
      std::uint16_t port;
      bool mx;
      std::string value;
      std::string again;  // "": as `text`
    };
    const Row rows[] = {
        {"smtp:mx.example", Kind::smtp, "mx.example", 0, true, "", ""},
        {"smtp:MX.example:2525", Kind::smtp, "mx.example", 2525, true, "", "smtp:mx.example:2525"},
        {"smtp:[mx.example]", Kind::smtp, "mx.example", 0, false, "", ""},
        {"smtp:[10.0.0.5]:2525", Kind::smtp, "10.0.0.5", 2525, false, "", ""},
        {"smtp:[2001:DB8::1]:25", Kind::smtp, "2001:db8::1", 25, false, "", "smtp:[2001:db8::1]:25"},
        {"smtp:[::1]", Kind::smtp, "::1", 0, false, "", ""},
        {"smtp:[mail_out]:25", Kind::smtp, "mail_out", 25, false, "", ""},
        {"lmtp:/run/dovecot/lmtp", Kind::lmtp_socket, "", 0, false, "/run/dovecot/lmtp", ""},
        {"lmtp:127.0.0.1:24", Kind::lmtp_tcp, "127.0.0.1", 24, false, "", ""},
        {"lmtp:store.example:24", Kind::lmtp_tcp, "store.example", 24, false, "", ""},
        {"lmtp:[::1]:24", Kind::lmtp_tcp, "::1", 24, false, "", ""},
        {"maildir:/var/mail/{domain}/{local}", Kind::maildir, "", 0, false, "/var/mail/{domain}/{local}", ""},
        {"maildir:/var/mail/all", Kind::maildir, "", 0, false, "/var/mail/all", ""},
        {"reject:no mail here", Kind::reject, "", 0, false, "no mail here", ""},
        {"reject: moved: see https://example.org", Kind::reject, "", 0, false, "moved: see https://example.org",
         "reject:moved: see https://example.org"},
        {"discard:", Kind::discard, "", 0, false, "", ""},
    };
    for (const Row& row : rows) {
      CAPTURE(row.text);
      Result<NextHop> hop = parse_next_hop(row.text);
      REQUIRE(hop);
      CHECK(hop->kind == row.kind);
      CHECK(hop->host.host == row.host);
      CHECK(hop->host.port == row.port);
      CHECK(hop->look_up_mx == row.mx);
      CHECK(hop->value == row.value);
      CHECK(hop->text() == (row.again.empty() ? row.text : row.again));
      CHECK(*parse_next_hop(hop->text()) == *hop);
    }
  }

  TEST_CASE("what is no next hop says why") {
    const Bad rows[] = {
        {"", "is no next hop"},
        {"mx.example", "begins with \"smtp:\""},
        {"[10.0.0.5]:25", "begins with \"smtp:\""},
        {"SMTP:mx.example", "is no next hop"},
        {"http://mx.example", "is no next hop"},
        {"smtp:", "names no host"},
        {"smtp://mx.example", "no URL"},
        {"smtp:10.0.0.5", "\"smtp:[10.0.0.5]\""},
        {"smtp:10.0.0.5:25", "brackets"},
        {"smtp:2001:db8::1", "brackets"},
        {"smtp:mx.example:", "no port"},
        {"smtp:mx.example:70000", "no port"},
        {"smtp:[mx.example", "closing bracket"},
        {"smtp:[mx.example]25", "after the bracket"},
        {"smtp:a b", "no usable host"},
        {"smtp:m\xc3\xbcller.example", "no usable host"},
        {"lmtp:", "names no host"},
        {"lmtp:unix:/run/lmtp", "without \"unix:\""},
        {"lmtp:store.example", "has no port"},
        {"lmtp:run/lmtp", "absolute path"},
        {"lmtp:/" + std::string(107, 'a'), "107 octets"},
        {"maildir:", "no absolute path"},
        {"maildir:mail/{local}", "no absolute path"},
        {"maildir:/m/{user}", "{domain} and {local}"},
        {"maildir:/m/{local", "without its \"}\""},
        {"maildir:/m/local}", "without its \"{\""},
        {"maildir:/m/{}", "placeholder"},
        {"reject:", "has no text"},
        {"reject:  ", "has no text"},
        {"reject:line\r\n250 ok", "printable ASCII"},
        {"reject:n\xc3\xb6", "printable ASCII"},
        {"reject:" + std::string(401, 'a'), "400 octets"},
        {"discard", "lacks its colon"},
        {"discard:all", "more after"},
    };
    check_bad(rows, parse_next_hop);
  }
}
