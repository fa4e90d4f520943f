// tests/fuzz/dns.cpp: any octets as the answer of a name server, to questions for a.example.
// Covers: resolver/dns_answer.cpp
#include <cstdlib>
#include <vector>

#include "resolver/dns_answer.h"

namespace {

using namespace waypost;

constexpr net::TimePoint kNow{std::chrono::hours(1)};

template <class Record>
void check(const resolver::Answer<Record>& answer) {
  bool found = answer.status == resolver::Status::found;
  if (found == answer.records.empty()) std::abort();
  if (answer.records.size() > resolver::kMaxRecords) std::abort();
  if (answer.status == resolver::Status::timed_out) std::abort();
  if (answer.valid_until < kNow) std::abort();
  if (found != answer.detail.empty()) std::abort();
}

/// Names come out as visible ASCII, whatever they were.
void check_name(std::string_view name) {
  if (name.size() > 4 * 255) std::abort();
  for (char c : name)
    if (c <= ' ' || c > '~' || (c >= 'A' && c <= 'Z')) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::span<const std::uint8_t> message(data, size);
  resolver::Answer<resolver::Mx> mx = resolver::parse_mx(message, "a.example", kNow);
  check(mx);
  check_name(mx.canonical_name);
  for (const resolver::Mx& one : mx.records) check_name(one.exchanger);
  resolver::Answer<net::Address> a = resolver::parse_a(message, "a.example", kNow);
  check(a);
  check_name(a.canonical_name);
  check(resolver::parse_aaaa(message, "a.example", kNow));
  check(resolver::parse_ptr(message, "a.example", kNow));
  return 0;
}
