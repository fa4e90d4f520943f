#include "smtp/trace.h"

#include <doctest/doctest.h>

#include "base/text.h"

using namespace waypost;
using namespace waypost::smtp;

namespace {

Received sample() {
  Received r;
  r.helo = "client.example";
  r.client_name = "mx.client.example";
  r.client_address = "192.0.2.7";
  r.by = "relay.example.net";
  r.software = "Waypost";
  r.protocol.esmtp = true;
  r.id = "01JD8Q2M3XK7";
  r.recipient = "r@b.example";
  r.at = Time(std::chrono::milliseconds(1787209503250));
  r.utc_offset = std::chrono::minutes(120);
  return r;
}

/// One field: lines end with CRLF, each but the first begins with a tab, none is too long.
void check_field(const std::string& field) {
  CAPTURE(field);
  REQUIRE(field.ends_with("\r\n"));
  std::string_view rest(field);
  bool first = true;
  while (!rest.empty()) {
    std::size_t end = rest.find("\r\n");
    std::string_view line = rest.substr(0, end);
    CHECK(line.size() <= 998);
    CHECK(line.find_first_of("\r\n") == std::string_view::npos);
    if (!first) CHECK(line.starts_with("\t"));
    CHECK_FALSE(trim(line).empty());
    first = false;
    rest.remove_prefix(end + 2);
  }
}

}  // namespace

TEST_SUITE("smtp/trace") {
  TEST_CASE("Received with all clauses [RFC 5321 4.4]") {
    CHECK(received_field(sample()) ==
          "Received: from client.example (mx.client.example [192.0.2.7])\r\n"
          "\tby relay.example.net (Waypost) with ESMTP id 01JD8Q2M3XK7 for <r@b.example>;\r\n"
          "\tThu, 20 Aug 2026 09:05:03 +0200\r\n");
  }

  TEST_CASE("FOR only with one recipient; unknown names; IPv6; TLS") {
    Received r = sample();
    r.recipient.clear();
    r.client_name.clear();
    r.client_address = "2001:db8::1";
    r.protocol.tls = r.protocol.authenticated = true;
    r.tls = "using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384";
    r.tls_bits = 256;
    CHECK(received_field(r) ==
          "Received: from client.example (unknown [IPv6:2001:db8::1])\r\n"
          "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n"
          "\tby relay.example.net (Waypost) with ESMTPSA id 01JD8Q2M3XK7;\r\n"
          "\tThu, 20 Aug 2026 09:05:03 +0200\r\n");
  }

  TEST_CASE("mail that came by no network has no FROM") {
    Received r = sample();
    r.helo = r.client_name = r.client_address = r.recipient = "";
    CHECK(received_field(r) ==
          "Received: by relay.example.net (Waypost) id 01JD8Q2M3XK7;\r\n"
          "\tThu, 20 Aug 2026 09:05:03 +0200\r\n");
  }

  TEST_CASE("a user of this machine stands beside the software, in place of FROM") {
    Received r = sample();
    r.user = "ann";
    r.recipient = r.tls = "";
    r.protocol = Protocol{true};
    CHECK(received_field(r) ==
          "Received: by relay.example.net (Waypost, from user ann) with ESMTP\r\n"
          "\tid 01JD8Q2M3XK7; Thu, 20 Aug 2026 09:05:03 +0200\r\n");
    r.user = "a)\r\nX-Evil: 1";
    CHECK(received_field(r).find("from user a???X-Evil: 1)") != std::string::npos);
  }

  TEST_CASE("nothing that a peer says makes a line, ends a comment or is folded inside") {
    for (std::string_view evil : {"a\r\nX-Evil: 1", "a) by b (", "a\\", "a b", "\xC3\xA4", "a\tb", "(", "x; y"}) {
      Received r = sample();
      r.helo = r.client_name = r.tls = evil;
      std::string field = received_field(r);
      check_field(field);
      CHECK(field.find("X-Evil: 1\r\n") == std::string::npos);
      CHECK(field.find("\nX-Evil") == std::string::npos);
      CHECK(field.find("from [192.0.2.7] (unknown [192.0.2.7])") != std::string::npos);
    }
    Received r = sample();
    r.helo = std::string(255, 'a');
    r.recipient = Mailbox{std::string(255, '"'), std::string(255, 'd')}.text();
    std::string field = received_field(r);
    check_field(field);
    CHECK(field.find('<' + r.recipient + '>') != std::string::npos);
    r.recipient = std::string(2000, 'x');
    check_field(received_field(r));
    CHECK(received_field(r).find("for") == std::string::npos);
  }

  TEST_CASE("protocol names [RFC 3848, RFC 6531 4.3]") {
    CHECK(protocol_name({}) == "SMTP");
    CHECK(protocol_name({.esmtp = true}) == "ESMTP");
    CHECK(protocol_name({.esmtp = true, .tls = true}) == "ESMTPS");
    CHECK(protocol_name({.esmtp = true, .authenticated = true}) == "ESMTPA");
    CHECK(protocol_name({.esmtp = true, .tls = true, .authenticated = true}) == "ESMTPSA");
    CHECK(protocol_name({.esmtp = true, .utf8 = true}) == "UTF8SMTP");
    CHECK(protocol_name({.esmtp = true, .tls = true, .authenticated = true, .utf8 = true}) == "UTF8SMTPSA");
  }

  TEST_CASE("Return-Path and Delivered-To for final delivery") {
    CHECK(return_path_field(Path{}) == "Return-Path: <>\r\n");
    CHECK(return_path_field(Path{{"a b", "c.example"}}) == "Return-Path: <\"a b\"@c.example>\r\n");
    CHECK(delivered_to_field(Mailbox{"r", "b.example"}) == "Delivered-To: r@b.example\r\n");
    CHECK(delivered_to_field(Mailbox{"r\r\nX: y", "b"}) == "Delivered-To: \"r??X: y\"@b\r\n");
  }
}
