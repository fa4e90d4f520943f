#include "resolver/dns_answer.h"

#include <doctest/doctest.h>

#include "tests/support/dns_packet.h"

namespace waypost::resolver {

using namespace waypost::tests;
using std::chrono::seconds;

namespace {

constexpr net::TimePoint kNow{seconds(1000)};

long ttl_of(const auto& answer) {
  return std::chrono::duration_cast<seconds>(answer.valid_until - kNow).count();
}
net::Address ip(std::string_view text) {
  return net::Address::parse(text, 0).value();
}
Packet soa(Packet packet, std::uint32_t ttl, std::uint32_t minimum, std::string_view zone = "example") {
  packet.authority(zone, kTypeSoa, ttl, soa_data(minimum));
  return packet;
}
/// A chain of so many CNAMEs from n0.example, then an address.
Packet chain(int aliases) {
  Packet packet("n0.example", kTypeA);
  for (int i = 0; i < aliases; ++i)
    packet.answer("n" + std::to_string(i) + ".example", kTypeCname, 60,
                  wire_name("n" + std::to_string(i + 1) + ".example"));
  packet.answer("n" + std::to_string(aliases) + ".example", kTypeA, 60, address_data("192.0.2.1"));
  return packet;
}

}  // namespace

TEST_SUITE("resolver/dns_answer") {
  TEST_CASE("MX records come with preference, name in lower case, and the smallest TTL [RFC 1035 3.3.9]") {
    Packet packet("A.Example", kTypeMx);
    packet.answer(pointer(kQuestionAt), kTypeMx, 600, mx_data(10, wire_name("MX1.A.Example")));
    packet.answer(pointer(kQuestionAt), kTypeMx, 300, mx_data(65535, pointer(kQuestionAt)));
    Answer<Mx> answer = parse_mx(packet.octets(), "a.EXAMPLE.", kNow);
    CHECK(answer.status == Status::found);
    CHECK(answer.records == std::vector<Mx>{{10, "mx1.a.example"}, {65535, "a.example"}});
    CHECK(ttl_of(answer) == 300);
    CHECK(answer.canonical_name == "");
    CHECK(answer.detail == "");
  }

  TEST_CASE("the root as exchanger is kept as an empty name [RFC 7505 3]") {
    Packet packet("a.example", kTypeMx);
    packet.answer("a.example", kTypeMx, 600, mx_data(0, wire_name("")));
    Answer<Mx> answer = parse_mx(packet.octets(), "a.example", kNow);
    CHECK(answer.records == std::vector<Mx>{{0, ""}});
  }

  TEST_CASE("A and AAAA") {
    Packet a("h.example", kTypeA);
    a.answer("h.example", kTypeA, 5, address_data("192.0.2.1"))
        .answer("h.example", kTypeA, 5, address_data("192.0.2.2"));
    CHECK(parse_a(a.octets(), "h.example", kNow).records ==
          std::vector<net::Address>{ip("192.0.2.1"), ip("192.0.2.2")});
    Packet aaaa("h.example", kTypeAaaa);
    aaaa.answer("h.example", kTypeAaaa, 5, address_data("2001:db8::1"));
    CHECK(parse_aaaa(aaaa.octets(), "h.example", kNow).records == std::vector<net::Address>{ip("2001:db8::1")});
  }

  TEST_CASE("PTR") {
    Packet ptr("1.2.0.192.in-addr.arpa", 12);
    ptr.answer("1.2.0.192.in-addr.arpa", 12, 5, tests::wire_name("Mx.A.example"))
        .answer("1.2.0.192.in-addr.arpa", 12, 5, tests::wire_name(""));
    CHECK(parse_ptr(ptr.octets(), "1.2.0.192.IN-ADDR.arpa", kNow).records ==
          std::vector<std::string>{"mx.a.example", ""});
    Packet long_one("a.example", 12);
    tests::Octets data = tests::wire_name("b.example");
    data.push_back(0);
    long_one.answer("a.example", 12, 5, data);
    CHECK(parse_ptr(long_one.octets(), "a.example", kNow).status == Status::server_failed);
  }

  TEST_CASE("an IPv4-mapped AAAA is an IPv4 address") {
    Packet packet("h.example", kTypeAaaa);
    packet.answer("h.example", kTypeAaaa, 5, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1});
    CHECK(parse_aaaa(packet.octets(), "h.example", kNow).records == std::vector<net::Address>{ip("192.0.2.1")});
  }

  TEST_CASE("records of another owner, type or class are not the answer") {
    Packet packet("h.example", kTypeA);
    packet.answer("evil.example", kTypeA, 5, address_data("203.0.113.9"));
    packet.answer("h.example", kTypeTxt, 5, {1, 'x'});
    packet.answer("h.example", kTypeA, 50, address_data("192.0.2.1"));
    Answer<net::Address> answer = parse_a(packet.octets(), "h.example", kNow);
    CHECK(answer.records == std::vector<net::Address>{ip("192.0.2.1")});
    CHECK(ttl_of(answer) == 50);
  }

  TEST_CASE("CNAMEs are followed in any order, and count for the TTL [RFC 1034 3.6.2]") {
    Packet packet("h.example", kTypeA);
    packet.answer("c.example", kTypeA, 500, address_data("192.0.2.1"));
    packet.answer("b.example", kTypeCname, 40, wire_name("C.example"));
    packet.answer("h.example", kTypeCname, 400, wire_name("b.example"));
    Answer<net::Address> answer = parse_a(packet.octets(), "h.example", kNow);
    CHECK(answer.status == Status::found);
    CHECK(answer.canonical_name == "c.example");
    CHECK(ttl_of(answer) == 40);
  }

  TEST_CASE("eight CNAMEs are followed, nine are not") {
    CHECK(parse_a(chain(8).octets(), "n0.example", kNow).status == Status::found);
    Answer<net::Address> answer = parse_a(chain(9).octets(), "n0.example", kNow);
    CHECK(answer.status == Status::server_failed);
    CHECK(answer.detail == "chain of more than 8 CNAMEs");
  }

  TEST_CASE("CNAMEs in a circle fail for now [F27]") {
    Packet self("h.example", kTypeA);
    self.answer("h.example", kTypeCname, 60, wire_name("h.example"));
    CHECK(parse_a(self.octets(), "h.example", kNow).status == Status::server_failed);
    Packet two("h.example", kTypeA);
    two.answer("h.example", kTypeCname, 60, wire_name("b.example"))
        .answer("b.example", kTypeCname, 60, wire_name("h.example"));
    CHECK(parse_a(two.octets(), "h.example", kNow).status == Status::server_failed);
  }

  TEST_CASE("a CNAME without what it leads to is no data, or no domain by the code [RFC 6604 3]") {
    Packet data("h.example", kTypeA);
    data.answer("h.example", kTypeCname, 60, wire_name("b.example"));
    Answer<net::Address> answer = parse_a(soa(data, 900, 900).octets(), "h.example", kNow);
    CHECK(answer.status == Status::no_data);
    CHECK(answer.canonical_name == "b.example");
    CHECK(ttl_of(answer) == 60);
    Packet name("h.example", kTypeA, 3);
    name.answer("h.example", kTypeCname, 60, wire_name("b.example"));
    CHECK(parse_a(name.octets(), "h.example", kNow).status == Status::no_domain);
  }

  TEST_CASE("how long a no holds is in the SOA [RFC 2308 5]") {
    struct {
      std::uint32_t ttl, minimum;
      const char* zone;
      long want;
    } cases[] = {{3600, 300, "example", 300},    {60, 300, "example", 60}, {60, 300, "", 60},
                 {60, 0xffffffff, "example", 0}, {60, 300, "other", 0},    {60, 300, "ample", 0},
                 {0x80000000, 300, "example", 0}};
    for (const auto& one : cases) {
      CAPTURE(one.zone);
      Packet none("h.example", kTypeA, 3);
      Answer<net::Address> answer = parse_a(soa(none, one.ttl, one.minimum, one.zone).octets(), "h.example", kNow);
      CHECK(answer.status == Status::no_domain);
      CHECK(ttl_of(answer) == one.want);
    }
    Answer<net::Address> bare = parse_a(Packet("h.example", kTypeA).octets(), "h.example", kNow);
    CHECK(bare.status == Status::no_data);
    CHECK(ttl_of(bare) == 0);
  }

  TEST_CASE("a TTL with its top bit set is zero [RFC 2181 8]") {
    Packet packet("h.example", kTypeA);
    packet.answer("h.example", kTypeA, 0xffffffff, address_data("192.0.2.1"));
    CHECK(ttl_of(parse_a(packet.octets(), "h.example", kNow)) == 0);
  }

  TEST_CASE("a referral is no answer [RFC 2308 2.2.1]") {
    Packet packet("h.example", kTypeA);
    packet.authority("example", kTypeNs, 60, wire_name("ns.example"));
    CHECK(parse_a(packet.octets(), "h.example", kNow).status == Status::server_failed);
    packet.flags(0x0400);  // from the authority itself it is "no data"
    CHECK(parse_a(packet.octets(), "h.example", kNow).status == Status::no_data);
  }

  TEST_CASE("codes of the server") {
    struct {
      unsigned rcode;
      Status status;
      const char* detail;
    } cases[] = {{1, Status::server_failed, "FORMERR"}, {2, Status::server_failed, "SERVFAIL"},
                 {3, Status::no_domain, "NXDOMAIN"},    {4, Status::server_failed, "NOTIMP"},
                 {5, Status::server_failed, "REFUSED"}, {9, Status::server_failed, "RCODE 9"}};
    for (const auto& one : cases) {
      Answer<Mx> answer = parse_mx(Packet("a.example", kTypeMx, one.rcode).octets(), "a.example", kNow);
      CHECK(answer.status == one.status);
      CHECK(answer.detail == one.detail);
    }
    Octets bare = {0, 0, 0x81, 0x82, 0, 0, 0, 0, 0, 0, 0, 0};  // without the question
    CHECK(parse_mx(bare, "a.example", kNow).detail == "SERVFAIL");
    Packet extended("a.example", kTypeMx);
    extended.additional("", kTypeOpt, 0x01000000, {});
    CHECK(parse_mx(extended.octets(), "a.example", kNow).detail == "BADVERS");
  }

  TEST_CASE("what answers another question is not believed") {
    Packet packet("a.example", kTypeMx);
    packet.answer("a.example", kTypeMx, 60, mx_data(10, wire_name("mx.a.example")));
    CHECK(parse_mx(packet.octets(), "b.example", kNow).detail == "answer to another question");
    CHECK(parse_a(packet.octets(), "a.example", kNow).detail == "answer to another question");
    Octets query = packet.octets();
    query[2] &= 0x7f;  // a question
    CHECK(parse_mx(query, "a.example", kNow).status == Status::server_failed);
    Octets update = packet.octets();
    update[2] |= 0x28;  // OPCODE 5
    CHECK(parse_mx(update, "a.example", kNow).status == Status::server_failed);
    Octets truncated = packet.octets();
    truncated[2] |= 0x02;
    CHECK(parse_mx(truncated, "a.example", kNow).detail == "truncated answer");
  }

  TEST_CASE("cut at any octet it fails for now, and never is a no [C7]") {
    Packet packet("a.example", kTypeMx);
    packet.answer(pointer(kQuestionAt), kTypeMx, 60, mx_data(10, wire_name("mx1.a.example")));
    packet.answer(pointer(kQuestionAt), kTypeMx, 60, mx_data(20, pointer(kQuestionAt)));
    packet.authority("example", kTypeSoa, 60, soa_data(60));
    packet.additional("mx1.a.example", kTypeA, 60, address_data("192.0.2.1"));
    packet.additional("", kTypeOpt, 0, {});
    Octets whole = packet.octets();
    CHECK(parse_mx(whole, "a.example", kNow).status == Status::found);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      Octets cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));  // its own heap block, for ASan
      CAPTURE(size);
      CHECK(parse_mx(cut, "a.example", kNow).status == Status::server_failed);
    }
  }

  TEST_CASE("counts that do not hold") {
    Packet packet("a.example", kTypeMx);
    packet.answer("a.example", kTypeMx, 60, mx_data(10, wire_name("mx.a.example")));
    for (std::size_t count_at : {4, 6, 8, 10}) {
      Octets more = packet.octets();
      more[count_at] = 0x27;  // 10,000 and some
      CAPTURE(count_at);
      CHECK(parse_mx(more, "a.example", kNow).status == Status::server_failed);
    }
    Octets no_question = packet.octets();
    no_question[5] = 0;
    CHECK(parse_mx(no_question, "a.example", kNow).status == Status::server_failed);
  }

  TEST_CASE("data that is not as long as its type says") {
    struct {
      unsigned type;
      Octets data;
    } cases[] = {{kTypeMx, {}},
                 {kTypeMx, {0}},
                 {kTypeMx, {0, 10}},
                 {kTypeMx, {0, 10, 2, 'm'}},
                 {kTypeMx, {0, 10, 0, 0}},
                 {kTypeMx, {0, 10, 0xc0}},
                 {kTypeMx, {0, 10, 0x40, 0}},
                 {kTypeMx, {0, 10, 0x80, 0}},
                 {kTypeCname, {}},
                 {kTypeCname, {0, 0}}};
    for (const auto& one : cases) {
      Packet packet("a.example", kTypeMx);
      packet.answer("a.example", one.type, 60, one.data);
      CHECK(parse_mx(packet.octets(), "a.example", kNow).status == Status::server_failed);
    }
    for (std::size_t size : {0, 3, 5, 16}) {
      Packet packet("a.example", kTypeA);
      packet.answer("a.example", kTypeA, 60, Octets(size, 1));
      CHECK(parse_a(packet.octets(), "a.example", kNow).status == Status::server_failed);
    }
    for (std::size_t size : {0, 4, 15, 17}) {
      Packet packet("a.example", kTypeAaaa);
      packet.answer("a.example", kTypeAaaa, 60, Octets(size, 1));
      CHECK(parse_aaaa(packet.octets(), "a.example", kNow).status == Status::server_failed);
    }
  }

  TEST_CASE("pointers lead back, never forward, to themselves, or in circles [RFC 1035 4.1.4]") {
    auto parse_with = [](const auto& make_name) {
      Packet packet("a.example", kTypeMx);
      unsigned data_at = packet.next_at() + static_cast<unsigned>(wire_name("a.example").size()) + 10 + 2;
      packet.answer("a.example", kTypeMx, 60, mx_data(10, make_name(data_at)));
      return parse_mx(packet.octets(), "a.example", kNow);
    };
    auto join = [](Octets labels, unsigned target) {
      append(labels, pointer(target));
      return labels;
    };
    CHECK(parse_with([](unsigned) { return pointer(kQuestionAt); }).records.front().exchanger == "a.example");
    CHECK(parse_with([&](unsigned) {
            return join({2, 'm', 'x'}, kQuestionAt);
          })
              .records.front()
              .exchanger == "mx.a.example");
    CHECK(parse_with([](unsigned at) { return pointer(at); }).status == Status::server_failed);
    CHECK(parse_with([](unsigned at) { return pointer(at + 2); }).status == Status::server_failed);
    CHECK(parse_with([&](unsigned at) { return join({2, 'm', 'x'}, at); }).status == Status::server_failed);
    CHECK(parse_with([&](unsigned at) { return join({2, 'm', 'x'}, at + 1); }).status == Status::server_failed);
    CHECK(parse_with([](unsigned) { return pointer(0x3fff); }).status == Status::server_failed);
    CHECK(parse_with([](unsigned at) { return pointer(at - 1); }).status == Status::server_failed);
  }

  TEST_CASE("a long row of pointers is given up") {
    Packet packet("a.example", kTypeMx);
    Octets pointers;
    unsigned at = packet.next_at() + 11 + 10;
    append(pointers, pointer(kQuestionAt));
    for (unsigned i = 0; i < 5000; ++i) append(pointers, pointer(at + 2 * i));
    packet.answer("a.example", kTypeTxt, 60, pointers);
    packet.answer(pointer(at + 2 * 5000), kTypeMx, 60, mx_data(10, wire_name("mx.example")));
    CHECK(parse_mx(packet.octets(), "a.example", kNow).status == Status::server_failed);
  }

  TEST_CASE("names of 255 octets are taken, longer ones are not [RFC 1035 2.3.4]") {
    auto name_of = [](std::size_t last) {
      Octets name;
      for (std::size_t size : {std::size_t{63}, std::size_t{63}, std::size_t{63}, last}) {
        name.push_back(static_cast<std::uint8_t>(size));
        name.insert(name.end(), size, 'x');
      }
      name.push_back(0);
      return name;
    };
    Packet longest("a.example", kTypeMx);
    longest.answer("a.example", kTypeMx, 60, mx_data(10, name_of(61)));
    CHECK(parse_mx(longest.octets(), "a.example", kNow).records.front().exchanger.size() == 253);
    Packet longer("a.example", kTypeMx);
    longer.answer("a.example", kTypeMx, 60, mx_data(10, name_of(62)));
    CHECK(parse_mx(longer.octets(), "a.example", kNow).status == Status::server_failed);
  }

  TEST_CASE("odd octets of a name are escaped, and make no other name of it [RFC 1035 5.1]") {
    Packet packet("a.example", kTypeMx);
    packet.answer("a.example", kTypeMx, 60, mx_data(10, {5, 'a', '.', '\\', ' ', 0xff, 2, '\r', '\n', 0}));
    CHECK(parse_mx(packet.octets(), "a.example", kNow).records.front().exchanger == "a\\.\\\\\\032\\255.\\013\\010");
  }

  TEST_CASE("of 4,000 MX records 1,000 are kept [F27]") {
    Packet packet("a.example", kTypeMx);
    for (unsigned i = 0; i < 4000; ++i)
      packet.answer(pointer(kQuestionAt), kTypeMx, 60, mx_data(i, pointer(kQuestionAt)));
    Answer<Mx> answer = parse_mx(packet.octets(), "a.example", kNow);
    CHECK(answer.status == Status::found);
    CHECK(answer.records.size() == kMaxRecords);
  }

  TEST_CASE("a question for a name that is a prefix or suffix of another's owner") {
    Packet packet("a.example", kTypeA);
    packet.answer("xa.example", kTypeA, 60, address_data("192.0.2.1"));
    packet.answer("a.example.com", kTypeA, 60, address_data("192.0.2.1"));
    CHECK(parse_a(packet.octets(), "a.example", kNow).status == Status::no_data);
  }
}

}  // namespace waypost::resolver
