#include "mta/policy.h"

#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include "smtp/command.h"
#include "tests/support/harness.h"

namespace waypost::mta {
namespace {

using conf::Role;
using tests::harness_config;

constexpr const char* kStranger = "198.51.100.7";
constexpr const char* kTrusted = "192.0.2.1";

Client client(const conf::Config& config, const char* address) {
  Client out;
  out.address = address;
  out.local = "203.0.113.25";
  out.trusted = is_trusted(config, address);
  return out;
}

/// What becomes of `RCPT TO:` and this: the code and enhanced code, or the address that is stored.
std::string admit(const conf::Config& config, const char* address, Role role, std::string_view path) {
  smtp::CommandRules rules;
  rules.bare_path = role == Role::submission;
  auto command = smtp::parse_command("RCPT TO:" + std::string(path), rules);
  const smtp::Reply* refused = command ? nullptr : &command.error();
  Decision<smtp::Path> decision;
  if (command) {
    decision = admit_recipient(config, client(config, address), role, std::get<smtp::Rcpt>(*command).forward_path);
    if (decision) return decision->text();
    refused = &decision.error();
  }
  return std::to_string(refused->code) + " " + (refused->enhanced ? refused->enhanced->text() : "");
}

TEST_SUITE("mta/policy") {
  TEST_CASE("whom a stranger may write to by an MX listener [RFC 5321 3.6.1]") {
    struct {
      const char* path;
      const char* want;
    } const table[] = {
        {"<anyone@b.example>", "anyone@b.example"},
        {"<anyone@B.EXAMPLE>", "anyone@B.EXAMPLE"},
        {"<ann@known.example>", "ann@known.example"},
        {"<ANN@known.example>", "ANN@known.example"},
        {"<carl@known.example>", "550 5.1.1"},
        {"<postmaster@known.example>", "postmaster@known.example"},
        {"<PostMaster@known.example>", "PostMaster@known.example"},
        {"<x@backup.example>", "x@backup.example"},
        {"<x@a.sub.example>", "x@a.sub.example"},
        {"<x@sub.example>", "554 5.7.1"},
        {"<x@elsewhere.example>", "554 5.7.1"},
        {"<x@c.b.example>", "554 5.7.1"},
        {"<@b.example:x@elsewhere.example>", "554 5.7.1"},
        {"<@elsewhere.example,@b.example:x@b.example>", "x@b.example"},
        {"<x@[192.0.2.99]>", "550 5.1.2"},
        {"<x@[IPv6:2001:db8::1]>", "550 5.1.2"},
        {"<x@[203.0.113.25]>", "550 5.1.2"},
        {"<x%elsewhere.example@b.example>", "x%elsewhere.example@b.example"},
        {"<x%elsewhere.example@backup.example>", "550 5.7.1"},
        {"<elsewhere.example!x@backup.example>", "550 5.7.1"},
        {"<\"x@elsewhere.example\"@backup.example>", "550 5.7.1"},
        {"<x>", "501 5.1.3"},
        {"<>", "501 5.1.3"},
    };
    conf::Config config = harness_config();
    for (const auto& row : table) {
      CAPTURE(row.path);
      CHECK(admit(config, kStranger, Role::mx, row.path) == row.want);
    }
  }

  TEST_CASE("<postmaster> without a domain is always accepted, any case [RFC 5321 4.5.1]") {
    conf::Config config = harness_config();
    for (const char* path : {"<postmaster>", "<Postmaster>", "<POSTMASTER>", "<postmaster@relay.example>",
                             "<postmaster@[203.0.113.25]>"}) {
      CAPTURE(path);
      CHECK(admit(config, kStranger, Role::mx, path) == "pm@b.example");
      CHECK(admit(config, kTrusted, Role::mx, path) == "pm@b.example");
    }
    CHECK(admit(config, kStranger, Role::mx, "<postmaster@[203.0.113.26]>") == "550 5.1.2");

    config.postmaster = "";
    CHECK(admit(config, kStranger, Role::mx, "<postmaster>") == "postmaster@b.example");
    config.domains.clear();
    CHECK(admit(config, kStranger, Role::mx, "<postmaster>") == "postmaster@relay.example");
  }

  TEST_CASE("who is told as the postmaster: whom that address stands for, nobody where none is known") {
    conf::Config config = harness_config();
    auto names = [&config] {
      std::string out;
      for (const smtp::Path& path : postmasters(config)) out += path.text() + " ";
      return out;
    };
    CHECK(names() == "pm@b.example ");
    config.domains.front().aliases["pm"] = {{"ann@a.example", false}, {"bob@c.example", false}};
    CHECK(names() == "ann@a.example bob@c.example ");
    config.postmaster = "";
    CHECK(names().empty());
  }

  TEST_CASE("a trusted client relays to anyone, literals and % too") {
    conf::Config config = harness_config();
    for (const char* path : {"<x@elsewhere.example>", "<x@[192.0.2.99]>", "<x@[IPv6:2001:db8::1]>",
                             "<x%elsewhere.example@backup.example>", "<a!b@elsewhere.example>"}) {
      CAPTURE(path);
      CHECK(admit(config, kTrusted, Role::mx, path) == std::string(path).substr(1, std::string(path).size() - 2));
    }
    CHECK(admit(config, kTrusted, Role::mx, "<carl@known.example>") == "550 5.1.1");
    CHECK(admit(config, kTrusted, Role::mx, "<x>") == "501 5.1.3");
  }

  TEST_CASE("submission is for trusted clients: 530 5.7.0 for others, even to our own domains") {
    conf::Config config = harness_config();
    CHECK(admit(config, kTrusted, Role::submission, "<x@elsewhere.example>") == "x@elsewhere.example");
    CHECK(admit(config, kTrusted, Role::submission, "x@elsewhere.example") == "x@elsewhere.example");
    CHECK(admit(config, kStranger, Role::submission, "<x@elsewhere.example>") == "530 5.7.0");
    CHECK(admit(config, kStranger, Role::submission, "<x@b.example>") == "530 5.7.0");
    CHECK(admit(config, kStranger, Role::submission, "<postmaster>") == "530 5.7.0");
  }

  TEST_CASE("no address is trusted by itself, loopback no more than others") {
    conf::Config config = harness_config();
    CHECK(is_trusted(config, "192.0.2.255"));
    CHECK_FALSE(is_trusted(config, "192.0.3.1"));
    CHECK_FALSE(is_trusted(config, "127.0.0.1"));
    CHECK_FALSE(is_trusted(config, "::1"));
    CHECK_FALSE(is_trusted(config, "10.0.0.1"));
    CHECK_FALSE(is_trusted(config, ""));
    config.relay.networks.clear();
    CHECK_FALSE(is_trusted(config, "192.0.2.1"));
  }

  TEST_CASE("relay.open relays for anyone, but keeps unknown local recipients out") {
    conf::Config config = harness_config();
    config.relay.open = true;
    CHECK(admit(config, kStranger, Role::mx, "<x@elsewhere.example>") == "x@elsewhere.example");
    CHECK(admit(config, kStranger, Role::mx, "<carl@known.example>") == "550 5.1.1");
    CHECK(admit(config, kStranger, Role::submission, "<x@elsewhere.example>") == "530 5.7.0");
  }

  TEST_CASE("MAIL: SIZE over the limit is 552 5.3.4 [RFC 1870 6.1]; the null path is welcome [RFC 5321 4.5.5]") {
    conf::Config config = harness_config();
    config.limits.message_size = 1000;
    smtp::MailParameters parameters;
    smtp::Path null;
    parameters.size = 1000;
    CHECK(admit_sender(config, client(config, kStranger), Role::mx, null, parameters));
    CHECK(admit_sender(config, client(config, kTrusted), Role::submission, null, parameters));
    parameters.size = 1001;
    Decision<smtp::Path> too_big = admit_sender(config, client(config, kTrusted), Role::mx, null, parameters);
    REQUIRE_FALSE(too_big);
    CHECK(too_big.error().code == 552);
    CHECK(too_big.error().enhanced->text() == "5.3.4");
    parameters.size.reset();
    Decision<smtp::Path> stranger = admit_sender(config, client(config, kStranger), Role::submission, null, parameters);
    REQUIRE_FALSE(stranger);
    CHECK(stranger.error().code == 530);
  }

  TEST_CASE("VRFY: for those who may send to anyone, of our own domains [RFC 5321 3.5]") {
    conf::Config config = harness_config();
    config.domains[1].relocated["carl"] = "carl@new.example";
    struct {
      const char* address;
      const char* text;
      const char* want;
    } const table[] = {
        {kTrusted, "ann@known.example", "250 2.1.5 <ann@known.example>"},
        {kTrusted, "<ANN@Known.example>", "250 2.1.5 <ANN@Known.example>"},
        {kTrusted, "dora@known.example", "550 5.1.1"},
        {kTrusted, "carl@known.example", "551 5.1.6"},
        {kTrusted, "postmaster@known.example", "250 2.1.5"},
        {kTrusted, "anybody@b.example", "252 2.0.0"},
        {kTrusted, "x@elsewhere.example", "252 2.0.0"},
        {kTrusted, "ann", "252 2.0.0"},
        {kTrusted, "Ann Bee", "252 2.0.0"},
        {kStranger, "ann@known.example", "252 2.0.0"},
        {kStranger, "dora@known.example", "252 2.0.0"},
    };
    for (const auto& row : table) {
      CAPTURE(row.text);
      CHECK(verify(config, client(config, row.address), row.text).text().starts_with(row.want));
    }
  }

  TEST_CASE("an address that is submitted without a domain has that of the origin") {
    conf::Config config = harness_config();
    config.origin = "origin.example";
    const auto path = [](const char* local, const char* domain) {
      smtp::Path out;
      out.mailbox.local = local;
      out.mailbox.domain = domain;
      return out;
    };
    CHECK(completed(config, Role::submission, path("ann", "")).text() == "ann@origin.example");
    CHECK(completed(config, Role::submission, path("ann", "b.example")).text() == "ann@b.example");
    CHECK(completed(config, Role::submission, path("Postmaster", "")).text() == "Postmaster@origin.example");
    CHECK(completed(config, Role::submission, path("", "")).is_null());
    CHECK(completed(config, Role::mx, path("ann", "")).text() == "ann");
    config.origin.clear();
    CHECK(completed(config, Role::submission, path("ann", "")).text() == "ann@relay.example");
  }

  TEST_CASE("an address within the local part is not handed to the host that has the domain (C1)") {
    conf::Config config = harness_config();
    conf::NextHop hop;
    hop.kind = conf::NextHop::Kind::smtp;
    config.domains.front().deliver = hop;
    for (const char* path : {"<x%elsewhere.example@b.example>", "<elsewhere.example!x@b.example>",
                             "<\"x@elsewhere.example\"@b.example>", "<x+y%elsewhere.example@b.example>"}) {
      CAPTURE(path);
      CHECK(admit(config, kStranger, Role::mx, path) == "550 5.7.1");
      CHECK(admit(config, kTrusted, Role::mx, path) != "550 5.7.1");
    }
    CHECK(admit(config, kStranger, Role::mx, "<x@b.example>") == "x@b.example");
  }

  // The forms that open-relay testers try, from a stranger, to a host that is neither ours nor our backup's.
  TEST_CASE("never an open relay: classic forms (P5)") {
    constexpr const char* kForms[] = {
        "<victim@elsewhere.example>",
        "<victim@elsewhere.example.>",
        "<victim@ELSEWHERE.EXAMPLE>",
        "victim@elsewhere.example",
        "<victim>",
        "<victim%elsewhere.example>",
        "<\"victim@elsewhere.example\">",
        "<\"victim%elsewhere.example\">",
        "<victim%elsewhere.example@backup.example>",
        "<\"victim%elsewhere.example\"@backup.example>",
        "<victim%elsewhere.example@[203.0.113.25]>",
        "<\"victim@elsewhere.example\"@backup.example>",
        "<\"victim@elsewhere.example\"@[203.0.113.25]>",
        "<victim@elsewhere.example@backup.example>",
        "<victim@elsewhere.example@b.example>",
        "<victim@elsewhere.example@[203.0.113.25]>",
        "<victim@elsewhere.example@relay.example>",
        "<@b.example:victim@elsewhere.example>",
        "<@relay.example:victim@elsewhere.example>",
        "<@[203.0.113.25]:victim@elsewhere.example>",
        "<@backup.example,@b.example:victim@elsewhere.example>",
        "<elsewhere.example!victim>",
        "<elsewhere.example!victim@backup.example>",
        "<elsewhere.example!victim@[203.0.113.25]>",
        "<b.example!elsewhere.example!victim@backup.example>",
        "<victim%elsewhere.example@relay.example>",
        "<\"elsewhere.example!victim\"@backup.example>",
        "<victim@[198.51.100.99]>",
        "<victim@[IPv6:2001:db8::99]>",
        "<victim@198.51.100.99>",
        "<victim@b.example.elsewhere.example>",
        "<victim@elsewhere-b.example>",
        "<victim@b.example,elsewhere.example>",
        "<victim@elsewhere.example>,<x@b.example>",
        "<x@b.example>,<victim@elsewhere.example>",
        "<victim@elsewhere.example%00@b.example>",
        "<victim(comment)@elsewhere.example>",
        "<x@b.example> <victim@elsewhere.example>",
        "<postmaster@elsewhere.example>",
        "<\"postmaster\"@elsewhere.example>",
    };
    conf::Config config = harness_config();
    for (const char* form : kForms) {
      CAPTURE(form);
      std::string decided = admit(config, kStranger, Role::mx, form);
      CAPTURE(decided);
      CHECK(decided.starts_with("5"));
    }
  }
}

}  // namespace
}  // namespace waypost::mta
