#include "smtp/extensions.h"

#include <doctest/doctest.h>

using namespace waypost::smtp;

TEST_SUITE("smtp/extensions") {
  TEST_CASE("nothing offered, no keywords") {
    CHECK(ehlo_keywords({}).empty());
  }

  TEST_CASE("the keywords of an EHLO reply") {
    Extensions offered;
    offered.pipelining = offered.size = offered.eight_bit_mime = offered.enhanced_status_codes = true;
    CHECK(ehlo_keywords(offered) == std::vector<std::string>{"PIPELINING", "SIZE", "ENHANCEDSTATUSCODES", "8BITMIME"});
    offered.size_limit = 52428800;
    offered.auth = {"PLAIN", "LOGIN"};
    offered.limits.rcpt_max = 1000;
    CHECK(ehlo_keywords(offered) == std::vector<std::string>{"PIPELINING", "SIZE 52428800", "AUTH PLAIN LOGIN",
                                                             "ENHANCEDSTATUSCODES", "8BITMIME", "LIMITS RCPTMAX=1000"});
  }

  TEST_CASE("a peer's keywords in any case and order; the first line is its name") {
    Extensions peer = parse_extensions(Reply{250,
                                             {},
                                             {"DSN.example hello", "size 1000", "8bitmime", "PipeLining", "X-FOO 1", "",
                                              "AUTH plain Login", "AUTH=LOGIN CRAM-MD5", "LIMITS RCPTMAX=20 X=1"}});
    CHECK_FALSE(peer.dsn);
    CHECK(peer.size);
    CHECK(peer.size_limit == 1000u);
    CHECK(peer.eight_bit_mime);
    CHECK(peer.pipelining);
    CHECK_FALSE(peer.starttls);
    CHECK(peer.auth == std::vector<std::string>{"PLAIN", "LOGIN", "CRAM-MD5"});
    CHECK(peer.has_auth("plain"));
    CHECK_FALSE(peer.has_auth("XOAUTH2"));
    CHECK(peer.limits.rcpt_max == 20u);
    CHECK_FALSE(peer.limits.mail_max);
  }

  TEST_CASE("SIZE without a number, with 0, with nonsense: no limit is known [RFC 1870 4]") {
    for (std::string_view line : {"SIZE", "SIZE 0", "SIZE x", "SIZE 99999999999999999999999"}) {
      Extensions peer = parse_extensions(Reply{250, {}, {"h", std::string(line)}});
      CHECK(peer.size);
      CHECK_FALSE(peer.size_limit);
    }
  }

  TEST_CASE("what one side offers the other side reads") {
    Extensions all;
    all.pipelining = all.size = all.eight_bit_mime = all.enhanced_status_codes = all.dsn = all.smtputf8 = true;
    all.starttls = all.chunking = all.binary_mime = all.require_tls = all.vrfy = all.expn = all.help = all.etrn = true;
    all.size_limit = 5;
    all.auth = {"SCRAM-SHA-256"};
    all.limits = {.mail_max = 1, .rcpt_max = 2, .rcpt_domain_max = 3};
    CHECK(parse_extensions(reply::ehlo("h", ehlo_keywords(all))) == all);
    CHECK(parse_extensions(reply::ehlo("h", ehlo_keywords({}))) == Extensions{});
  }
}
