// resolver/records.h: DNS records as plain values.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "net/address.h"
#include "net/clock.h"

namespace waypost::resolver {

struct Mx {
  std::uint16_t preference = 0;
  std::string exchanger;  ///< lower case, no trailing dot; "" for the root: a null MX (RFC 7505)
  bool operator==(const Mx&) const = default;
};

/// How a question ended. What is not `found`, `no_data` or `no_domain` is trouble that passes.
enum class Status : std::uint8_t {
  found,
  no_data,        ///< the name exists, without such a record
  no_domain,      ///< NXDOMAIN
  server_failed,  ///< SERVFAIL, REFUSED, or an answer that does not parse
  timed_out,      ///< no server answered
};

template <class Record>
struct Answer {
  Status status = Status::timed_out;
  std::vector<Record> records;
  net::TimePoint valid_until;  ///< from the smallest TTL on the way, CNAMEs too; for no_data and no_domain from the SOA
  std::string canonical_name;  ///< after CNAMEs (at most 8); "" where it is the name asked
  std::string detail;          ///< for people: "SERVFAIL from 127.0.0.1:5353"; "" where found
  bool no_server = false;      ///< timed_out: nothing at all was heard from any server while this was asked
};

}  // namespace waypost::resolver
