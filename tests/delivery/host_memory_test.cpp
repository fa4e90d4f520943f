#include "delivery/host_memory.h"

#include <doctest/doctest.h>

namespace waypost::delivery {

using namespace std::chrono_literals;

TEST_SUITE("delivery/host_memory") {
  TEST_CASE("failures are counted, forgotten after three days, and by a success") {
    const net::Address host = *net::Address::parse("192.0.2.1", 25);
    const net::Address other_port = *net::Address::parse("192.0.2.1", 26);
    const net::TimePoint start = net::TimePoint() + 1000h;
    HostMemory memory(72h);
    CHECK(memory.failures(host, start) == 0);
    CHECK(memory.failed(host, start) == 1);
    CHECK(memory.failed(host, start + 71h) == 2);  // the end stays
    CHECK(memory.failures(host, start + 71h) == 2);
    CHECK(memory.failures(other_port, start) == 0);
    CHECK(memory.failures(host, start + 72h) == 0);
    CHECK(memory.failed(host, start + 73h) == 1);
    CHECK(memory.failures(host, start + 144h) == 1);
    memory.succeeded(host);
    CHECK(memory.failures(host, start + 73h) == 0);
    CHECK(memory.size() == 0);
  }

  TEST_CASE("the memory is bounded: the oldest goes first") {
    HostMemory memory(72h);
    const net::TimePoint start{};
    const auto host = [](std::size_t i) { return *net::Address::parse("192.0.2.1", static_cast<std::uint16_t>(i)); };
    for (std::size_t i = 1; i <= HostMemory::kMost; ++i) memory.failed(host(i), start + 1s * static_cast<int>(i));
    memory.failed(host(HostMemory::kMost + 1), start + 5h);
    CHECK(memory.size() == HostMemory::kMost);
    CHECK(memory.failures(host(1), start + 5h) == 0);
    CHECK(memory.failures(host(2), start + 5h) == 1);
    CHECK(memory.failures(host(HostMemory::kMost + 1), start + 5h) == 1);
    memory.failed(host(HostMemory::kMost + 2), start + 1000h);  // all have ended
    CHECK(memory.size() == 1);
  }
}

}  // namespace waypost::delivery
