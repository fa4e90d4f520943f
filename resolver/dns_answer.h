// resolver/dns_answer.h: a DNS message (RFC 1035 §4) to records with their TTL. Pure; takes any octets. Private here.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "resolver/records.h"

namespace waypost::resolver {

enum class RecordType : std::uint16_t { a = 1, ns = 2, cname = 5, soa = 6, ptr = 12, mx = 15, aaaa = 28, opt = 41 };

inline constexpr std::size_t kMaxRecords = 1000;  ///< more in one answer are checked, and not kept
inline constexpr int kMaxAliases = 8;             ///< a longer chain of CNAMEs fails (RFC 1034 §3.6.2 sets no number)

/// The answer to the question for `name`. A message that is malformed, truncated, or answers another question is
/// server_failed; `detail` then says why, without the server. Only records whose owner is `name`, or where its CNAMEs
/// lead, count.
Answer<Mx> parse_mx(std::span<const std::uint8_t> message, std::string_view name, net::TimePoint now);
Answer<net::Address> parse_a(std::span<const std::uint8_t> message, std::string_view name, net::TimePoint now);
Answer<net::Address> parse_aaaa(std::span<const std::uint8_t> message, std::string_view name, net::TimePoint now);
Answer<std::string> parse_ptr(std::span<const std::uint8_t> message, std::string_view name, net::TimePoint now);

}  // namespace waypost::resolver
