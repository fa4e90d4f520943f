// tests/support/dns_packet.h: DNS messages made by hand, right or wrong.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.h"
#include "net/address.h"

namespace waypost::tests {

using Octets = std::vector<std::uint8_t>;

inline void put16(Octets& out, unsigned value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8));
  out.push_back(static_cast<std::uint8_t>(value));
}
inline void put32(Octets& out, std::uint32_t value) {
  put16(out, value >> 16);
  put16(out, value & 0xffff);
}
inline void append(Octets& out, const Octets& more) {
  out.insert(out.end(), more.begin(), more.end());
}

/// A name uncompressed. "" is the root.
inline Octets wire_name(std::string_view name) {
  Octets out;
  if (!name.empty()) {
    for (std::string_view label : split(name, '.')) {
      out.push_back(static_cast<std::uint8_t>(label.size()));
      out.insert(out.end(), label.begin(), label.end());
    }
  }
  out.push_back(0);
  return out;
}
inline Octets pointer(unsigned offset) {
  Octets out;
  put16(out, 0xc000 | offset);
  return out;
}
inline Octets mx_data(unsigned preference, const Octets& name) {
  Octets out;
  put16(out, preference);
  append(out, name);
  return out;
}
inline Octets address_data(std::string_view text) {
  net::Address address = net::Address::parse(text, 0).value();
  return Octets(address.bytes.begin(), address.bytes.begin() + (address.family == 4 ? 4 : 16));
}
inline Octets soa_data(std::uint32_t minimum) {
  Octets out = wire_name("ns.example");
  append(out, wire_name("root.example"));
  for (int i = 0; i < 4; ++i) put32(out, 1);
  put32(out, minimum);
  return out;
}

inline constexpr unsigned kTypeA = 1, kTypeNs = 2, kTypeCname = 5, kTypeSoa = 6, kTypeMx = 15, kTypeTxt = 16,
                          kTypeAaaa = 28, kTypeOpt = 41;
inline constexpr unsigned kQuestionAt = 12;  ///< where the name of the question stands

/// An answer to one question. Counts are those of what was added; octets() may be changed at will.
class Packet {
 public:
  Packet(std::string_view name, unsigned type, unsigned rcode = 0) : rcode_(rcode) {
    append(body_, wire_name(name));
    put16(body_, type);
    put16(body_, 1);
  }
  Packet& answer(const Octets& owner, unsigned type, std::uint32_t ttl, const Octets& data) {
    return add(1, owner, type, ttl, data);
  }
  Packet& answer(std::string_view owner, unsigned type, std::uint32_t ttl, const Octets& data) {
    return add(1, wire_name(owner), type, ttl, data);
  }
  Packet& authority(std::string_view owner, unsigned type, std::uint32_t ttl, const Octets& data) {
    return add(2, wire_name(owner), type, ttl, data);
  }
  Packet& additional(std::string_view owner, unsigned type, std::uint32_t ttl, const Octets& data) {
    return add(3, wire_name(owner), type, ttl, data);
  }
  Packet& flags(unsigned set) {
    flags_ |= set;
    return *this;
  }
  Packet& id(unsigned id) {
    id_ = id;
    return *this;
  }
  /// Where the next record begins.
  unsigned next_at() const { return static_cast<unsigned>(12 + body_.size()); }
  Octets octets() const {
    Octets out;
    put16(out, id_);
    put16(out, flags_ | rcode_);
    for (unsigned count : counts_) put16(out, count);
    append(out, body_);
    return out;
  }

 private:
  Packet& add(unsigned section, const Octets& owner, unsigned type, std::uint32_t ttl, const Octets& data) {
    ++counts_[section];
    append(body_, owner);
    put16(body_, type);
    put16(body_, 1);
    put32(body_, ttl);
    put16(body_, static_cast<unsigned>(data.size()));
    append(body_, data);
    return *this;
  }
  unsigned id_ = 0;
  unsigned flags_ = 0x8180;  // an answer, recursion desired and available
  unsigned rcode_;
  unsigned counts_[4] = {1, 0, 0, 0};
  Octets body_;
};

}  // namespace waypost::tests
