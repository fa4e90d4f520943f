#include "smtp/reply_parser.h"

#include <doctest/doctest.h>

using namespace waypost;
using namespace waypost::smtp;

namespace {

/// The reply that all but the last line are the beginning of, or nullopt if one of them is refused.
std::optional<Reply> parse(const std::vector<std::string_view>& lines) {
  ReplyParser parser;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    Result<std::optional<Reply>> got = parser.on_line(lines[i]);
    if (!got) return std::nullopt;
    if (*got) {
      CHECK(i + 1 == lines.size());
      CHECK_FALSE(parser.pending());
      return **got;
    }
    CHECK(parser.pending());
  }
  return std::nullopt;
}

}  // namespace

TEST_SUITE("smtp/reply_parser") {
  TEST_CASE("one line [RFC 5321 4.2]") {
    std::optional<Reply> reply = parse({"250 Ok"});
    REQUIRE(reply);
    CHECK(reply->code == 250);
    CHECK_FALSE(reply->enhanced);
    CHECK(reply->lines == std::vector<std::string>{"Ok"});
    CHECK(parse({"250"})->lines == std::vector<std::string>{""});
    CHECK(parse({"250 "})->lines == std::vector<std::string>{""});
    CHECK(parse({"599 x"})->code == 599);
  }

  TEST_CASE("several lines, with the enhanced status code off them [RFC 2034 4]") {
    std::optional<Reply> reply = parse({"550-5.1.1 No such user", "550-5.1.1", "550 5.1.1 really"});
    REQUIRE(reply);
    CHECK(reply->enhanced == EnhancedCode{5, 1, 1});
    CHECK(reply->lines == std::vector<std::string>{"No such user", "", "really"});
    CHECK(reply->text() == "550 5.1.1 No such user / really");
    // On one of the lines only; and of another class than the reply code, which wins.
    CHECK(parse({"450-wait", "450 4.7.1 later"})->enhanced == EnhancedCode{4, 7, 1});
    CHECK(parse({"450 5.7.1 later"})->transient());
    CHECK(parse({"250-mx.example", "250-SIZE 10", "250 8BITMIME"})->lines.size() == 3);
  }

  TEST_CASE("what is no reply is an error") {
    for (std::string_view line : {"", "2", "25", "abc", "199 x", "600 x", "099 x", "2a0 x", "25 0", "250x", "2500",
                                  "250_x", " 250 x", "HTTP/1.1 400 Bad Request", "+OK", "* OK", "220\tx"}) {
      CAPTURE(line);
      ReplyParser parser;
      Result<std::optional<Reply>> got = parser.on_line(line);
      REQUIRE_FALSE(got);
      CHECK(got.error().code == Errc::protocol);
    }
    ReplyParser parser;
    CHECK(parser.on_line("250-a"));
    CHECK_FALSE(parser.on_line("251 b"));
  }

  TEST_CASE("the parser is ready for the next reply after each") {
    ReplyParser parser;
    CHECK((*parser.on_line("250-2.1.0 a")).has_value() == false);
    CHECK((*parser.on_line("250 b"))->enhanced == EnhancedCode{2, 1, 0});
    Reply second = **parser.on_line("354 go");
    CHECK(second.code == 354);
    CHECK_FALSE(second.enhanced);
    CHECK(second.lines.size() == 1);
    CHECK(parser.on_line("250-x"));
    parser.reset();
    CHECK_FALSE(parser.pending());
    CHECK((*parser.on_line("421 4.3.2 bye"))->code == 421);
  }

  TEST_CASE("a megabyte of reply is read, and 128 lines of 512 octets of it kept") {
    ReplyParser parser;
    std::string line = "250-" + std::string(100'000, 'x');
    for (int i = 0; i < 999; ++i) REQUIRE_FALSE(parser.on_line(line)->has_value());
    Reply reply = **parser.on_line("250 end");
    CHECK(reply.lines.size() == ReplyParser::kMaxLines);
    CHECK(reply.lines[0].size() == ReplyParser::kMaxLineOctets - 4);
  }

  TEST_CASE("a reply without end is an error at last") {
    ReplyParser parser;
    for (std::size_t i = 0; i < ReplyParser::kMaxLinesRead; ++i) REQUIRE(parser.on_line("250-x"));
    CHECK_FALSE(parser.on_line("250-x"));
  }

  TEST_CASE("what is written is read again") {
    for (const Reply& reply : {reply::ehlo("h.example", {"SIZE 1", "DSN"}), reply::queued("x"), reply::start_input(),
                               reply::idle("h"), Reply{550, EnhancedCode{5, 7, 1}, {"a", "", "b c"}}}) {
      std::string wire = reply.wire();
      ReplyParser parser;
      std::optional<Reply> got;
      for (std::size_t at = 0; at < wire.size();) {
        std::size_t end = wire.find("\r\n", at);
        got = *parser.on_line(std::string_view(wire).substr(at, end - at));
        at = end + 2;
      }
      REQUIRE(got);
      CHECK(got->code == reply.code);
      CHECK(got->enhanced == reply.enhanced);
      CHECK(got->lines == reply.lines);
    }
  }
}
