#include "smtp/header_scan.h"

#include <doctest/doctest.h>

using namespace waypost::smtp;

namespace {

HeaderNotes scan(std::string_view body, std::string own_host = {}) {
  HeaderScan whole(own_host);
  bool done = whole.feed(body);
  whole.finish();
  // However the chunks are cut, it sees the same.
  for (std::size_t cut = 0; cut <= body.size(); ++cut) {
    HeaderScan parts(own_host);
    parts.feed(body.substr(0, cut));
    CHECK(parts.feed(body.substr(cut)) == done);
    parts.finish();
    CHECK(parts.notes() == whole.notes());
  }
  return whole.notes();
}

}  // namespace

TEST_SUITE("smtp/header_scan") {
  TEST_CASE("what is looked for is found [RFC 5322 2.2]") {
    HeaderNotes notes = scan(
        "Received: from a by b.example; x\r\n"
        "received: from c\r\n\tby d\r\n"
        "Delivered-To: r@b.example\r\n"
        "DELIVERED-TO:  s@b.example \r\n"
        "Date: Thu, 20 Aug 2026 09:05:03 +0200\r\n"
        "From: a@b\r\n"
        "Message-ID:\r\n <1@b.example>\r\n"
        "Message-Id: <2@b.example>\r\n"
        "Subject: x\r\n"
        "\r\n"
        "Received: not a field\r\nDate: x\r\n");
    CHECK(notes.hops == 2);
    CHECK(notes.fields == 9);
    CHECK(notes.delivered_to == std::vector<std::string>{"r@b.example", "s@b.example"});
    CHECK(notes.has_date);
    CHECK(notes.has_from);
    CHECK(notes.has_message_id);
    CHECK(notes.message_id == "<1@b.example>");
  }

  TEST_CASE("a first line of a mailbox file is passed over, no other; what ends the section early is noted") {
    struct {
      std::string_view body;
      bool date;
      bool cut_short;
    } const cases[] = {
        {"From a@b Thu Aug 20 2026\r\nDate: x\r\n\r\n", true, false},
        {">From a@b\r\nDate: x\r\n\r\n", true, false},
        {"From \r\nDate: x\r\n\r\n", true, false},
        {"From \nDate: x\n", true, false},
        {"From : a@b\r\nDate: x\r\n\r\n", true, false},
        {"From a@b\r\nFrom a@b\r\nDate: x\r\n\r\n", false, true},
        {"To: x\r\nFrom a@b\r\nDate: x\r\n\r\n", false, true},
        {"from a@b\r\nDate: x\r\n\r\n", false, true},
        {"no field\r\nDate: x\r\n\r\n", false, true},
        {" x\r\nDate: x\r\n\r\n", false, true},
        {"Date: x\r\nno field\r\n", true, true},
        {"Date: x\r\n\r\nno field\r\n", true, false},
        {"\r\n", false, false},
        {"", false, false},
    };
    for (const auto& row : cases) {
      CAPTURE(row.body);
      const HeaderNotes notes = scan(row.body);
      CHECK(notes.has_date == row.date);
      CHECK(notes.cut_short == row.cut_short);
    }
  }

  TEST_CASE("a header section with a NUL or a bare line end is no text") {
    struct {
      std::string_view body;
      bool not_text;
    } const cases[] = {
        {"A: b\r\nC: d\r\n e\r\n\r\n", false},
        {"A:\r\n\r\n", false},
        {"A: b\nC: d\r\n\r\n", true},
        {"A:\nC: d\r\n\r\n", true},
        {"A: b\rc\r\n\r\n", true},
        {"A: b\r\r\n\r\n", true},
        {std::string_view("A: b\0\r\n\r\n", 9), true},
        {std::string_view("A: b\r\n\r\n\0\n\r", 11), false},
    };
    for (const auto& row : cases) {
      CAPTURE(row.body);
      CHECK(scan(row.body).not_text == row.not_text);
    }
  }

  TEST_CASE("the header section ends at a blank line, or where a line is no field") {
    struct {
      std::string_view body;
      int fields;
      std::uint64_t octets;
    } cases[] = {
        {"", 0, 0},
        {"\r\n", 0, 0},
        {"\r\ntext", 0, 0},
        {"A: b\r\n\r\ntext", 1, 6},
        {"A: b\r\n", 1, 6},
        {"A: b", 1, 4},
        {"A: b\r\n c\r\nB:\r\n\r\n", 2, 14},
        {"A: b\r\ntext without colon\r\nC: d\r\n", 1, 6},
        {"A: b\r\nAB", 1, 6},
        {" not a continuation\r\nA: b\r\n", 0, 0},
        {"From someone Thu Aug 20\r\nA: b\r\n", 1, 6},
        {"A : b\r\n\r\n", 1, 7},
        {"A\x80: b\r\n", 0, 0},
        {": b\r\n", 0, 0},
        {"A: b\n\ntext", 1, 5},
    };
    for (const auto& c : cases) {
      CAPTURE(c.body);
      HeaderNotes notes = scan(c.body);
      CHECK(notes.fields == c.fields);
      CHECK(notes.octets == c.octets);
    }
  }

  TEST_CASE("names that only look like those are none") {
    HeaderNotes notes = scan("X-Received: a\r\nReceivedx: b\r\nDat: c\r\nResent-Date: d\r\nResent-From: e\r\n\r\n");
    CHECK(notes.hops == 0);
    CHECK_FALSE(notes.has_date);
    CHECK_FALSE(notes.has_from);
  }

  TEST_CASE("hops through ourselves are counted by the BY clause, not by comments") {
    HeaderNotes notes = scan(
        "Received: from x (x [192.0.2.1])\r\n\tby relay.example (Waypost) with ESMTP id 1; date\r\n"
        "Received: from x by RELAY.example; date\r\n"
        "Received: from x (by relay.example [1.2.3.4]) by other.example; date\r\n"
        "Received: from relay.example by other.example; date\r\n"
        "Received: by relay.example.com; date\r\n\r\n",
        "relay.example");
    CHECK(notes.hops == 5);
    CHECK(notes.own_hops == 2);
  }

  TEST_CASE("memory stays bounded whatever comes") {
    HeaderScan scan;
    std::string line = "Delivered-To: " + std::string(100'000, 'a') + "\r\n";
    for (int i = 0; i < 300; ++i) REQUIRE_FALSE(scan.feed(line));
    REQUIRE_FALSE(scan.feed("Message-ID: "));
    for (int i = 0; i < 10'000; ++i) REQUIRE_FALSE(scan.feed("\r\n " + std::string(50, 'm')));
    REQUIRE_FALSE(scan.feed("\r\n" + std::string(1'000'000, 'n')));
    CHECK(scan.feed(":\r\n\r\n"));
    const HeaderNotes& notes = scan.notes();
    CHECK(notes.delivered_to.size() == HeaderScan::kMaxDeliveredTo);
    CHECK(notes.delivered_to[0].size() <= 320);
    CHECK(notes.message_id.size() <= HeaderScan::kMaxValue);
    CHECK(notes.fields == 302);
  }
}
