#include "net/memory_stream.h"

#include <optional>
#include <string>

#include <doctest/doctest.h>

#include "net/scope.h"
#include "tests/support/virtual_runtime.h"

using namespace waypost;
using net::Stream;
using net::Task;
using tests::VirtualRuntime;

namespace {

constexpr net::Duration kMinute = std::chrono::minutes(1);

struct Pair {
  explicit Pair(std::size_t capacity = 1 << 16) {
    net::MemoryPairOptions options;
    options.first_address = *net::Address::parse("192.0.2.1", 1000);
    options.second_address = *net::Address::parse("192.0.2.2", 25);
    options.capacity = capacity;
    auto ends = net::memory_pair(runtime, options);
    first = std::move(ends.first);
    second = std::move(ends.second);
  }
  VirtualRuntime runtime;
  std::unique_ptr<Stream> first;
  std::unique_ptr<Stream> second;
  net::Scope scope{runtime, nullptr};
};

Task<> read_into(Stream& stream, std::string& heard, std::optional<Result<std::size_t>>& last,
                 net::TimePoint deadline) {
  char buffer[16];
  Result<std::size_t> got = co_await stream.read(buffer, deadline);
  if (got) heard.append(buffer, *got);
  last = got;
}

Task<> write_from(Stream& stream, std::string data, std::optional<Result<>>& result, net::TimePoint deadline) {
  result = co_await stream.write(data, deadline);
}

Task<std::string> read_all(Stream& stream, net::TimePoint deadline) {
  std::string all;
  char buffer[7];
  for (;;) {
    Result<std::size_t> got = co_await stream.read(buffer, deadline);
    if (!got || *got == 0) co_return all;
    all.append(buffer, *got);
  }
}

Task<> write_and_close(Stream& stream, std::string data, net::TimePoint deadline) {
  Result<> sent = co_await stream.write(data, deadline);
  CHECK(sent.has_value());
  stream.close();
}

}  // namespace

TEST_SUITE("net/memory_stream") {
  TEST_CASE("what is written to one is read from the other; addresses are crossed") {
    Pair pair;
    std::string heard;
    std::optional<Result<std::size_t>> last;
    std::optional<Result<>> sent;
    pair.scope.spawn(read_into(*pair.second, heard, last, pair.runtime.now() + kMinute));
    pair.scope.spawn(write_from(*pair.first, "EHLO c.example\r\n", sent, pair.runtime.now() + kMinute));
    pair.runtime.run_until_idle();
    CHECK(heard == "EHLO c.example\r\n");
    CHECK(sent->has_value());
    CHECK(pair.second->remote().text() == "192.0.2.1:1000");
    CHECK(pair.second->local().text() == "192.0.2.2:25");
    CHECK(pair.first->remote() == pair.second->local());
  }

  TEST_CASE("a read times out at its deadline and the stream lives on") {
    Pair pair;
    std::string heard;
    std::optional<Result<std::size_t>> last;
    std::optional<Result<>> sent;
    pair.scope.spawn(read_into(*pair.second, heard, last, pair.runtime.now() + kMinute));
    pair.runtime.advance(kMinute - net::Duration(1));
    CHECK_FALSE(last.has_value());
    pair.runtime.advance(net::Duration(1));
    REQUIRE(last.has_value());
    CHECK(last->error().code == Errc::timed_out);
    pair.scope.spawn(write_from(*pair.first, "x", sent, pair.runtime.now() + kMinute));
    pair.scope.spawn(read_into(*pair.second, heard, last, pair.runtime.now() + kMinute));
    pair.runtime.run_until_idle();
    CHECK(heard == "x");
  }

  TEST_CASE("a later, nearer deadline holds") {
    Pair pair;
    std::string heard;
    std::optional<Result<std::size_t>> last;
    std::optional<Result<>> sent;
    pair.scope.spawn(read_into(*pair.second, heard, last, pair.runtime.now() + 10 * kMinute));
    pair.scope.spawn(write_from(*pair.first, "x", sent, pair.runtime.now() + kMinute));
    pair.runtime.run_until_idle();
    last.reset();
    pair.scope.spawn(read_into(*pair.second, heard, last, pair.runtime.now() + kMinute));
    pair.runtime.advance(kMinute);
    REQUIRE(last.has_value());
    CHECK(last->error().code == Errc::timed_out);
    last.reset();
    pair.scope.spawn(read_into(*pair.second, heard, last, pair.runtime.now() + 20 * kMinute));
    pair.runtime.advance(15 * kMinute);
    CHECK_FALSE(last.has_value());
    pair.runtime.advance(5 * kMinute);
    CHECK(last.has_value());
  }

  TEST_CASE("a write waits for room, and fails at its deadline when there comes none") {
    Pair pair(8);
    std::optional<Result<>> sent;
    std::string heard;
    std::optional<Result<std::size_t>> last;
    pair.scope.spawn(write_from(*pair.first, "0123456789", sent, pair.runtime.now() + kMinute));
    pair.runtime.run_until_idle();
    CHECK_FALSE(sent.has_value());
    pair.scope.spawn(read_into(*pair.second, heard, last, pair.runtime.now() + kMinute));
    pair.runtime.run_until_idle();
    REQUIRE(sent.has_value());
    CHECK(sent->has_value());

    sent.reset();
    pair.scope.spawn(write_from(*pair.first, std::string(20, 'x'), sent, pair.runtime.now() + kMinute));
    pair.runtime.advance(kMinute);
    REQUIRE(sent.has_value());
    CHECK(sent->error().code == Errc::timed_out);
  }

  TEST_CASE("close: what was written is read, then the end; later writes there fail as closed") {
    Pair pair;
    std::string data(1000, 'x');
    net::TimePoint deadline = pair.runtime.now() + kMinute;
    pair.scope.spawn(write_and_close(*pair.first, data, deadline));
    CHECK(pair.runtime.complete(read_all(*pair.second, deadline)) == data);
    std::optional<Result<>> sent;
    pair.scope.spawn(write_from(*pair.second, "x", sent, deadline));
    pair.runtime.run_until_idle();
    CHECK(sent->error().code == Errc::closed);
  }

  TEST_CASE("close cancels the awaits of this end on a later turn, and is idempotent") {
    Pair pair(8);
    std::optional<Result<>> sent;
    std::string heard;
    std::optional<Result<std::size_t>> last;
    net::TimePoint deadline = pair.runtime.now() + kMinute;
    pair.scope.spawn(write_from(*pair.first, "0123456789", sent, deadline));
    pair.scope.spawn(read_into(*pair.first, heard, last, deadline));
    pair.runtime.run_until_idle();
    pair.first->close();
    pair.first->close();
    CHECK_FALSE(sent.has_value());
    CHECK_FALSE(last.has_value());
    pair.runtime.run_until_idle();
    CHECK(sent->error().code == Errc::cancelled);
    CHECK(last->error().code == Errc::cancelled);
    pair.scope.spawn(read_into(*pair.first, heard, last, deadline));
    pair.runtime.run_until_idle();
    CHECK(last->error().code == Errc::cancelled);
  }

  TEST_CASE("try_write: as much as has room; nothing while a write is awaited, nor after close") {
    Pair pair(8);
    net::TimePoint deadline = pair.runtime.now() + kMinute;
    pair.first->try_write("0123");
    pair.first->try_write("456789");
    std::string heard;
    std::optional<Result<std::size_t>> last;
    pair.scope.spawn(read_into(*pair.second, heard, last, deadline));
    pair.runtime.run_until_idle();
    CHECK(heard == "01234567");
    std::optional<Result<>> sent;
    pair.scope.spawn(write_from(*pair.first, "abcdefghij", sent, deadline));
    pair.runtime.run_until_idle();
    pair.first->try_write("x");
    CHECK(pair.runtime.complete(pair.second->read(std::span<char>(heard.data(), 8), deadline)).value() == 8);
    pair.runtime.run_until_idle();
    REQUIRE(sent);
    pair.first->close();
    pair.first->try_write("y");
    CHECK(pair.runtime.complete(read_all(*pair.second, deadline)) == "ij");
  }

  TEST_CASE("destroying one end wakes the other") {
    Pair pair;
    std::string heard;
    std::optional<Result<std::size_t>> last;
    pair.scope.spawn(read_into(*pair.second, heard, last, pair.runtime.now() + kMinute));
    pair.first.reset();
    pair.runtime.run_until_idle();
    REQUIRE(last.has_value());
    CHECK(last->value() == 0);
  }
}
