#include "delivery/wire_body.h"

#include <algorithm>

#include <doctest/doctest.h>

using namespace waypost;
using namespace waypost::delivery;

namespace {

std::string wire_of(std::string_view text, std::size_t split, bool dot_lines,
                    WireBody::Framing framing = WireBody::Framing::dots) {
  WireBody wire(framing, dot_lines);
  std::string out;
  auto send = [&] {
    const std::size_t before = out.size(), octets = wire.octets();
    for (std::string_view piece : wire.pieces()) out += piece;
    CHECK(out.size() - before == octets);
    wire.sent();
  };
  for (std::size_t at = 0; at < text.size(); at += split) {
    wire.feed(text.substr(at, split));
    send();
  }
  wire.finish();
  send();
  return out;
}

/// What smtp::BodyEncoder alone makes of it.
std::string encoded(std::string_view text) {
  smtp::BodyEncoder encoder;
  std::string out;
  encoder.feed(text, out);
  encoder.finish(out);
  return out;
}

}  // namespace

TEST_SUITE("delivery/wire_body") {
  TEST_CASE("the end: CRLF.CRLF, and nothing is added to a body that ends in CRLF [RFC 5321 4.5.2]") {
    struct Row {
      const char* text;
      const char* want;
    };
    const Row rows[] = {
        {"", ".\r\n"},
        {"a\r\n", "a\r\n.\r\n"},
        {"a", "a\r\n.\r\n"},
        {"a\r", "a\r\n.\r\n"},
        {"a\n", "a\r\n.\r\n"},
        {".\r\n", "..\r\n.\r\n"},
        {"a\r\n.\r\nb\r\n", "a\r\n..\r\nb\r\n.\r\n"},
        {"a.\r\nb..\r\n", "a.\r\nb..\r\n.\r\n"},
        {"a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"},
        {"a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"},
        {"\r\n", "\r\n.\r\n"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.text);
      for (std::size_t split : {1, 2, 3, 100})
        for (bool dot_lines : {false, true}) CHECK(wire_of(row.text, split, dot_lines) == row.want);
    }
  }

  TEST_CASE("all 5^7 mixes of CR, LF, dot, NUL and text go out as one message [C3]") {
    const std::string alphabet("\r\n.\0x", 5);
    std::size_t wrong = 0;
    for (int number = 0; number < 78125; ++number) {
      std::string text;
      for (int rest = number, i = 0; i < 7; ++i, rest /= 5) text += alphabet[static_cast<std::size_t>(rest % 5)];
      for (std::size_t split : {1, 3, 7}) {
        std::string wire = wire_of(text, split, false);
        bool one_end = wire == ".\r\n" || wire.find("\r\n.\r\n") == wire.size() - 5;
        auto crs = std::count(wire.begin(), wire.end(), '\r');
        bool crlf_alone = crs == std::count(wire.begin(), wire.end(), '\n');
        for (std::size_t at = wire.find('\n'); at != std::string::npos; at = wire.find('\n', at + 1))
          crlf_alone = crlf_alone && at > 0 && wire[at - 1] == '\r';
        if (!one_end || !crlf_alone || wire != encoded(text)) ++wrong;
      }
    }
    CHECK(wrong == 0);
  }

  TEST_CASE("by BDAT no dot is stuffed and none ends it; CRLF alone are line ends, but in binary content [RFC 3030]") {
    const std::string alphabet("\r\n.\0x", 5);
    std::size_t wrong = 0;
    for (int number = 0; number < 3125; ++number) {
      std::string text;
      for (int rest = number, i = 0; i < 5; ++i, rest /= 5) text += alphabet[static_cast<std::size_t>(rest % 5)];
      std::string want;
      smtp::BodyEncoder encoder(false);
      encoder.feed(text, want);
      encoder.finish(want);
      for (std::size_t split : {1, 2, 5}) {
        for (bool dot_lines : {false, true}) {
          if (wire_of(text, split, dot_lines, WireBody::Framing::counted) != want) ++wrong;
          if (wire_of(text, split, dot_lines, WireBody::Framing::binary) != text) ++wrong;
        }
      }
    }
    CHECK(wrong == 0);
    CHECK(wire_of("", 1, false, WireBody::Framing::counted).empty());
    CHECK(wire_of(".a\n..\r", 9, true, WireBody::Framing::counted) == ".a\r\n..\r\n");
    CHECK(wire_of("a", 9, true, WireBody::Framing::counted) == "a\r\n");
  }

  TEST_CASE("a body in wire form goes out uncopied") {
    const std::string trace = "Received: x\r\n", body = "a\r\nb\r\n";
    WireBody wire(WireBody::Framing::dots, false);
    wire.feed(trace);
    wire.feed(body);
    wire.finish();
    REQUIRE(wire.pieces().size() == 3);
    CHECK(wire.pieces()[0].data() == trace.data());
    CHECK(wire.pieces()[1].data() == body.data());
    CHECK(wire.pieces()[2] == ".\r\n");
  }
}
