#include "net/line_buffer.h"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "net/memory_stream.h"
#include "net/scope.h"
#include "tests/support/virtual_runtime.h"

using namespace waypost;
using net::LineBuffer;
using net::Task;
using tests::VirtualRuntime;
using End = LineBuffer::End;

namespace {

constexpr net::Duration kMinute = std::chrono::minutes(1);

/// Hands out what it was given, `step` octets a read, then the end.
class Script : public net::Stream {
 public:
  Script(std::string data, std::size_t step) : data_(std::move(data)), step_(step) {}
  Task<Result<std::size_t>> read(std::span<char> into, net::TimePoint) override {
    ++reads;
    std::size_t count = std::min({into.size(), step_, data_.size() - at_});
    data_.copy(into.data(), count, at_);
    at_ += count;
    co_return count;
  }
  Task<Result<>> write(std::span<const std::string_view>, net::TimePoint) override { co_return Result<>(); }
  void close() override {}
  const net::Address& local() const override { return address_; }
  const net::Address& remote() const override { return address_; }
  std::size_t reads = 0;

 private:
  std::string data_;
  std::size_t step_;
  std::size_t at_ = 0;
  net::Address address_;
};

struct Heard {
  std::string text;
  End end;
  bool operator==(const Heard&) const = default;
};

Task<std::vector<Heard>> read_lines(LineBuffer& buffer, std::size_t max_octets) {
  std::vector<Heard> lines;
  for (;;) {
    Result<LineBuffer::Line> line = co_await buffer.read_line(max_octets, net::TimePoint::max());
    if (!line) {
      CHECK(line.error().code == Errc::closed);
      co_return lines;
    }
    Heard heard;
    heard.text = line->text;
    heard.end = line->end;
    lines.push_back(heard);
  }
}

Task<Result<std::string>> one_line(LineBuffer& buffer, net::TimePoint deadline) {
  Result<LineBuffer::Line> line = co_await buffer.read_line(64, deadline);
  if (!line) co_return fail(line.error());
  co_return std::string(line->text);
}

Task<Result<std::string>> peeked(LineBuffer& buffer) {
  Result<std::string_view> data = co_await buffer.peek(net::TimePoint::max());
  if (!data) co_return fail(data.error());
  co_return std::string(*data);
}

Task<> send(net::Stream& stream, std::string text) {
  Result<> sent = co_await stream.write(text, net::TimePoint::max());
  CHECK(sent.has_value());
}

}  // namespace

TEST_SUITE("net/line_buffer") {
  TEST_CASE("lines are the same however the octets arrive") {
    const std::string input =
        "EHLO a.example\r\n\r\nbare\nx\rmid\r\r\n0123456789abcd\r\n0123456789abcde\r\nQUIT\r\nrest";
    const std::vector<Heard> want = {
        {"EHLO a.example", End::crlf},
        {"", End::crlf},
        {"bare", End::lf},
        {"x\rmid\r", End::crlf},
        {"0123456789abcd", End::crlf},
        {"0123456789abcde\r", End::too_long},
        {"QUIT", End::crlf},
    };
    VirtualRuntime runtime;
    for (std::size_t step : {1, 2, 3, 5, 7, 16, 1000}) {
      for (std::size_t capacity : {16, 17, 32, 16384}) {
        CAPTURE(step);
        CAPTURE(capacity);
        Script script(input, step);
        LineBuffer buffer(script, capacity);
        std::vector<Heard> lines = runtime.complete(read_lines(buffer, 16));
        REQUIRE(lines.size() == want.size());
        for (std::size_t i = 0; i < want.size(); ++i) {
          CAPTURE(i);
          CHECK(lines[i].end == want[i].end);
          if (want[i].end == End::too_long) {
            CHECK(lines[i].text.starts_with("01234567"));
          } else {
            CHECK(lines[i].text == want[i].text);
          }
        }
      }
    }
  }

  TEST_CASE("a line of a megabyte passes through sixteen kilobytes and is too long [RFC 5321 4.5.3.1.4]") {
    VirtualRuntime runtime;
    Script script("A" + std::string(1 << 20, 'x') + "\r\nNOOP\r\n", 1460);
    LineBuffer buffer(script);
    std::vector<Heard> lines = runtime.complete(read_lines(buffer, 512));
    REQUIRE(lines.size() == 2);
    CHECK(lines[0].end == End::too_long);
    CHECK(lines[0].text == "A" + std::string(511, 'x'));
    CHECK(lines[1].text == "NOOP");
  }

  TEST_CASE("a line without an end is not read for ever (RELIABILITY C9, F47)") {
    VirtualRuntime runtime;
    Script script("250 " + std::string(5 << 20, 'x') + "\r\n", 1460);
    LineBuffer buffer(script);
    Result<std::string> line = runtime.complete(one_line(buffer, net::TimePoint::max()));
    REQUIRE_FALSE(line);
    CHECK(line.error().code == Errc::protocol);
  }

  TEST_CASE("pipelined lines come out of one read") {
    VirtualRuntime runtime;
    Script script("MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n", 1000);
    LineBuffer buffer(script);
    CHECK_FALSE(buffer.has_line());
    Result<std::string> first = runtime.complete(one_line(buffer, net::TimePoint::max()));
    CHECK(*first == "MAIL FROM:<>");
    CHECK(buffer.has_line());
    CHECK(*runtime.complete(one_line(buffer, net::TimePoint::max())) == "RCPT TO:<a@b.example>");
    CHECK(buffer.has_line());
    CHECK(*runtime.complete(one_line(buffer, net::TimePoint::max())) == "DATA");
    CHECK_FALSE(buffer.has_line());
    CHECK(script.reads == 1);
  }

  TEST_CASE("peek and consume share the buffer with read_line") {
    VirtualRuntime runtime;
    Script script("BDAT 6 LAST\r\nabc\ndeNOOP\r\n", 1000);
    LineBuffer buffer(script);
    CHECK(*runtime.complete(one_line(buffer, net::TimePoint::max())) == "BDAT 6 LAST");
    CHECK(*runtime.complete(peeked(buffer)) == "abc\ndeNOOP\r\n");
    CHECK(*runtime.complete(peeked(buffer)) == "abc\ndeNOOP\r\n");
    buffer.consume(6);
    CHECK(buffer.buffered() == 6);
    CHECK(*runtime.complete(one_line(buffer, net::TimePoint::max())) == "NOOP");
    CHECK(runtime.complete(peeked(buffer)).error().code == Errc::closed);
  }

  TEST_CASE("discard_all drops what came before a TLS handshake [RFC 3207 4.2]") {
    VirtualRuntime runtime;
    Script script("STARTTLS\r\nMAIL FROM:<>\r\n", 1000);
    LineBuffer buffer(script);
    CHECK(*runtime.complete(one_line(buffer, net::TimePoint::max())) == "STARTTLS");
    buffer.discard_all();
    CHECK_FALSE(buffer.has_line());
    CHECK(buffer.buffered() == 0);
    Script secured("EHLO c.example\r\n", 1000);
    buffer.attach(secured);
    CHECK(*runtime.complete(one_line(buffer, net::TimePoint::max())) == "EHLO c.example");
  }

  TEST_CASE("a deadline leaves what came of the line, and the next call goes on with it") {
    VirtualRuntime runtime;
    auto ends = net::memory_pair(runtime, {});
    LineBuffer buffer(*ends.second);
    runtime.complete(send(*ends.first, "NO"));
    Result<std::string> line = runtime.complete(one_line(buffer, runtime.now() + kMinute));
    REQUIRE_FALSE(line.has_value());
    CHECK(line.error().code == Errc::timed_out);
    runtime.complete(send(*ends.first, "OP\r\n"));
    CHECK(*runtime.complete(one_line(buffer, runtime.now() + kMinute)) == "NOOP");
  }

  TEST_CASE("a line that comes octet by octet is scanned once") {
    VirtualRuntime runtime;
    Script script(std::string(200'000, 'x') + "\r\n", 1);
    LineBuffer buffer(script, 1 << 20);
    std::vector<Heard> lines = runtime.complete(read_lines(buffer, 1 << 20));
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].text.size() == 200'000);
  }

  TEST_CASE("the buffer grows with what a peer sends at once") {
    VirtualRuntime runtime;
    std::string many;
    for (int n = 0; n < 10'000; ++n) many += "NOOP\r\n";
    Script script(many, many.size());
    LineBuffer buffer(script);
    CHECK(runtime.complete(read_lines(buffer, 512)).size() == 10'000);
    CHECK(script.reads == 1 + 4 + 1);  // a kilobyte, 16 each, and the end
  }
}
