#include "mta/checks.h"

#include <string>

#include <doctest/doctest.h>

#include "conf/values.h"

namespace waypost::mta {
namespace {

using resolver::Answer;
using resolver::Status;
using Helo = conf::Config::Checks::Helo;

net::Address ip(const char* text) {
  return *net::Address::parse(text, 0);
}

template <class Record>
Answer<Record> answer(Status status, std::vector<Record> records = {}) {
  Answer<Record> out;
  out.status = records.empty() ? status : Status::found;
  out.records = std::move(records);
  return out;
}

ClientFindings findings() {
  ClientFindings out;
  out.client = ip("198.51.100.7");
  out.helo = "c.example";
  return out;
}

std::string said(const std::optional<smtp::Reply>& reply) {
  return reply ? reply->text() : "";
}

conf::Config::Checks::List list(const char* zone, int score, std::vector<conf::Network> answers = {}) {
  conf::Config::Checks::List out;
  out.zone = zone;
  out.score = score;
  out.answers = std::move(answers);
  return out;
}

}  // namespace

TEST_SUITE("mta/checks") {
  TEST_CASE("lists: scores add up, a good one speaks for a client, and what fails says nothing") {
    conf::Config::Checks checks;
    checks.refuse_at = 3;
    checks.lists = {list("bad.example", 3), list("worse.example", 2, {*conf::parse_network("127.0.0.4/30")}),
                    list("some.example", 1), list("good.example", -2)};
    const auto none = answer<net::Address>(Status::no_domain);
    const auto late = Answer<net::Address>();
    const auto listed = answer<net::Address>(Status::found, {ip("127.0.0.2")});
    const auto worse = answer<net::Address>(Status::found, {ip("127.0.0.2"), ip("127.0.0.5")});
    const auto hijacked = answer<net::Address>(Status::found, {ip("192.0.2.9")});
    struct {
      std::vector<Answer<net::Address>> answers;
      std::string want;
    } const table[] = {
        {{none, none, none, none}, ""},
        {{listed, none, none, none}, "554 5.7.1 Client [198.51.100.7] is listed by bad.example"},
        {{listed, none, none, listed}, ""},
        {{listed, none, listed, listed}, ""},
        {{listed, worse, none, listed}, "554 5.7.1 Client [198.51.100.7] is listed by bad.example, worse.example"},
        {{none, worse, listed, none}, "554 5.7.1 Client [198.51.100.7] is listed by worse.example, some.example"},
        {{none, listed, listed, none}, ""},
        {{answer<net::Address>(Status::found, {ip("127.255.255.254")}), none, none, none}, ""},
        {{hijacked, hijacked, hijacked, none}, ""},
        {{late, late, late, late}, ""},
        {{answer<net::Address>(Status::server_failed), late, listed, none}, ""},
    };
    for (const auto& row : table) {
      ClientFindings found = findings();
      found.lists = row.answers;
      CHECK(said(refusal(checks, found)) == row.want);
    }
  }

  TEST_CASE("reverse DNS: a name that leads back, none, and trouble") {
    conf::Config::Checks checks;
    checks.reverse_dns = true;
    using Names = std::optional<Answer<std::string>>;
    const auto back = answer<net::Address>(Status::found, {ip("192.0.2.1"), ip("198.51.100.7")});
    const auto elsewhere = answer<net::Address>(Status::found, {ip("192.0.2.1")});
    struct {
      Names names;
      std::vector<Answer<net::Address>> addresses;
      std::string code, name;
    } const table[] = {
        {answer<std::string>(Status::found, {"c.example"}), {back}, "", "c.example"},
        {answer<std::string>(Status::found, {"x.example", "c.example"}), {elsewhere, back}, "", "c.example"},
        {answer<std::string>(Status::found, {"c.example"}), {elsewhere}, "550 5.7.25", ""},
        {answer<std::string>(Status::found, {"c. example"}), {back}, "550 5.7.25", ""},
        {answer<std::string>(Status::found, {"c.example"}),
         {answer<net::Address>(Status::no_domain)},
         "550 5.7.25",
         ""},
        {answer<std::string>(Status::found, {"c.example"}), {Answer<net::Address>()}, "450 4.7.25", ""},
        {answer<std::string>(Status::no_domain), {}, "550 5.7.25", ""},
        {answer<std::string>(Status::no_data), {}, "550 5.7.25", ""},
        {answer<std::string>(Status::server_failed), {}, "450 4.7.25", ""},
        {std::nullopt, {}, "", ""},
    };
    for (const auto& row : table) {
      ClientFindings found = findings();
      found.names = row.names;
      found.addresses = row.addresses;
      CHECK(said(refusal(checks, found)).starts_with(row.code));
      CHECK(said(refusal(checks, found)).empty() == row.code.empty());
      CHECK(confirmed_name(found) == row.name);
      CHECK(said(refusal(conf::Config::Checks(), found)).empty());
    }
  }

  TEST_CASE("the name in EHLO: any, qualified, in the DNS") {
    const auto none = answer<net::Address>(Status::no_domain);
    const auto no_data = answer<net::Address>(Status::no_data);
    const auto here = answer<net::Address>(Status::found, {ip("192.0.2.1")});
    struct {
      Helo rule;
      const char* helo;
      std::vector<Answer<net::Address>> answers;
      bool refused;
    } const table[] = {
        {Helo::any, "x", {}, false},
        {Helo::qualified, "x", {}, true},
        {Helo::qualified, "x_y", {}, true},
        {Helo::qualified, "192.0.2.1", {}, false},  // a name of digits, as far as its form goes
        {Helo::qualified, "[192.0.2.1]", {}, false},
        {Helo::qualified, "[IPv6:2001:db8::1]", {}, false},
        {Helo::qualified, "[192.0.2]", {}, true},
        {Helo::qualified, "c.example", {}, false},
        {Helo::resolves, "c.example", {}, false},
        {Helo::resolves, "c.example", {none, none}, true},
        {Helo::resolves, "c.example", {no_data, no_data}, true},
        {Helo::resolves, "c.example", {no_data, here}, false},
        {Helo::resolves, "c.example", {here, none}, false},
        {Helo::resolves, "c.example", {none, Answer<net::Address>()}, false},
        {Helo::resolves, "[192.0.2.1]", {}, false},
    };
    for (const auto& row : table) {
      CAPTURE(row.helo);
      conf::Config::Checks checks;
      checks.helo = row.rule;
      ClientFindings found = findings();
      found.helo = row.helo;
      found.helo_addresses = row.answers;
      CHECK(said(refusal(checks, found)).starts_with("550 5.7.1") == row.refused);
    }
  }

  TEST_CASE("domains that cannot be, and those that take no mail [RFC 7505]") {
    using resolver::Mx;
    const auto no_domain = answer<Mx>(Status::no_domain);
    const auto null_mx = answer<Mx>(Status::found, {{0, ""}});
    CHECK(said(recipient_refusal("a.example", no_domain)).starts_with("550 5.1.2"));
    CHECK(said(recipient_refusal("a.example", null_mx)).starts_with("556 5.1.10"));
    CHECK(said(sender_refusal("a.example", no_domain)).starts_with("550 5.1.8"));
    CHECK(said(sender_refusal("a.example", null_mx)).starts_with("550 5.7.27"));
    for (const auto& fine : {answer<Mx>(Status::no_data), answer<Mx>(Status::server_failed), Answer<Mx>(),
                             answer<Mx>(Status::found, {{10, "mx.a.example"}}),
                             answer<Mx>(Status::found, {{0, ""}, {10, "mx.a.example"}})}) {
      CHECK_FALSE(recipient_refusal("a.example", fine));
      CHECK_FALSE(sender_refusal("a.example", fine));
    }
  }
}

}  // namespace waypost::mta
