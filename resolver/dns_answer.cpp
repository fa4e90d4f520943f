#include "resolver/dns_answer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "resolver/name.h"

namespace waypost::resolver {

namespace {

using Octets = std::span<const std::uint8_t>;

constexpr std::uint16_t kClassIn = 1;
constexpr unsigned kNoError = 0;
constexpr unsigned kNameError = 3;
constexpr int kMaxPointers = 128;            // in one name: as many as it can have labels
constexpr std::size_t kMaxNameOctets = 255;  // RFC 1035 §2.3.4, length octets included

/// One label as text: lower case, with what would be mistaken for something else as \. or \DDD (RFC 1035 §5.1).
void append_label(std::string& name, Octets label) {
  if (!name.empty()) name += '.';
  for (std::uint8_t octet : label) {
    char c = static_cast<char>(octet);
    if (c == '.' || c == '\\') {
      name += '\\';
      name += c;
    } else if (octet > ' ' && octet < 0x7f) {
      name += lower(c);
    } else {
      name += '\\';
      name += static_cast<char>('0' + octet / 100);
      name += static_cast<char>('0' + octet / 10 % 10);
      name += static_cast<char>('0' + octet % 10);
    }
  }
}

/// Reads on from an offset of the message, up to `end`. What does not fit sets failed(), and then all reads give
/// nothing.
class Reader {
 public:
  Reader(Octets message, std::size_t at, std::size_t end) : message_(message), at_(at), end_(end) {}

  std::uint8_t u8() {
    Octets one = octets(1);
    return one.empty() ? std::uint8_t{0} : one[0];
  }
  std::uint16_t u16() {
    std::uint16_t high = u8();
    return static_cast<std::uint16_t>(high << 8 | u8());
  }
  std::uint32_t u32() {
    std::uint32_t high = u16();
    return high << 16 | u16();
  }
  Octets octets(std::size_t count) {
    if (failed_ || count > end_ - at_) {
      failed_ = true;
      return {};
    }
    Octets taken = message_.subspan(at_, count);
    at_ += count;
    return taken;
  }
  /// A name; of a compressed one only the part up to its first pointer need lie before `end`.
  std::string name();

  bool failed() const { return failed_; }
  bool at_end() const { return !failed_ && at_ == end_; }
  std::size_t at() const { return at_; }

 private:
  Octets message_;
  std::size_t at_;
  std::size_t end_;
  bool failed_ = false;
};

std::string Reader::name() {
  std::string text;
  std::size_t length = 1;           // of the root label at the end
  std::size_t part_start = at_;     // of the labels now being read
  std::optional<std::size_t> back;  // where reading goes on after the first pointer
  std::size_t whole_end = end_;
  int pointers = 0;
  while (true) {
    std::size_t label_at = at_;
    std::uint8_t size = u8();
    if (failed_ || size == 0) break;
    if ((size & 0xc0) == 0xc0) {
      std::size_t target = static_cast<std::size_t>(size & 0x3f) << 8 | u8();
      // A pointer leads to an earlier place (RFC 1035 §4.1.4). Held strictly, that leaves no way to go in circles.
      if (failed_ || target >= part_start || ++pointers > kMaxPointers) {
        failed_ = true;
        break;
      }
      if (!back) back = at_;
      part_start = target;
      at_ = target;
      end_ = label_at;  // what is pointed at lies before the pointer
      continue;
    }
    length += size + 1U;
    if ((size & 0xc0) != 0 || length > kMaxNameOctets) {
      failed_ = true;
      break;
    }
    append_label(text, octets(size));
  }
  if (back) at_ = *back;
  end_ = whole_end;
  return failed_ ? std::string() : text;
}

/// What is asked for, aliases, and what tells how long a "no" holds. Other records are only checked.
struct Record {
  std::string owner;
  RecordType type = RecordType::a;
  std::uint32_t ttl = 0;
  std::size_t data = 0;  ///< offset in the message
  std::size_t data_end = 0;
};

struct Message {
  unsigned rcode = kNoError;
  bool authoritative = false;
  std::vector<Record> answers;
  std::vector<Record> authority;
  const char* wrong = nullptr;  ///< why it cannot be used
};

bool is_wanted(std::uint16_t type, RecordType asked) {
  return type == static_cast<std::uint16_t>(asked) || type == static_cast<std::uint16_t>(RecordType::cname) ||
         type == static_cast<std::uint16_t>(RecordType::soa) || type == static_cast<std::uint16_t>(RecordType::ns);
}

/// Reads one section. Records that matter go into `records`; the upper bits of the code are in an OPT (RFC 6891
/// §6.1.3).
void read_section(Reader& reader, Octets message, unsigned count, RecordType asked, std::vector<Record>& records,
                  unsigned& rcode) {
  for (unsigned i = 0; i < count && !reader.failed(); ++i) {
    Record record;
    record.owner = reader.name();
    std::uint16_t type = reader.u16();
    std::uint16_t of_class = reader.u16();
    record.ttl = reader.u32();
    std::uint16_t length = reader.u16();
    record.data = reader.at();
    reader.octets(length);
    record.data_end = reader.at();
    if (reader.failed()) return;
    if (type == static_cast<std::uint16_t>(RecordType::opt)) rcode |= record.ttl >> 24 << 4;
    if (of_class != kClassIn || !is_wanted(type, asked)) continue;
    record.type = static_cast<RecordType>(type);
    if (record.ttl > std::numeric_limits<std::int32_t>::max()) record.ttl = 0;  // RFC 2181 §8
    // What these name must be whole too, so that nothing half read is believed.
    if (record.type == RecordType::cname) {
      Reader data(message, record.data, record.data_end);
      data.name();
      if (!data.at_end()) reader.octets(message.size() + 1);  // fails it
    }
    records.push_back(std::move(record));
  }
}

Message read_message(Octets octets, std::string_view name, RecordType asked) {
  Message message;
  Reader reader(octets, 0, octets.size());
  reader.u16();  // the id is c-ares's to check
  std::uint16_t flags = reader.u16();
  std::uint16_t questions = reader.u16();
  std::uint16_t answers = reader.u16();
  std::uint16_t authority = reader.u16();
  std::uint16_t additional = reader.u16();
  message.rcode = flags & 0xfU;
  message.authoritative = (flags & 0x0400U) != 0;
  bool is_answer = (flags & 0xf800U) == 0x8000U;  // QR, and OPCODE 0
  bool truncated = (flags & 0x0200U) != 0;
  if (reader.failed() || !is_answer) {
    message.wrong = "malformed answer";
    return message;
  }
  if (questions == 0 && message.rcode != kNoError && message.rcode != kNameError) return message;  // a bare refusal
  std::string question = reader.name();
  std::uint16_t type = reader.u16();
  std::uint16_t of_class = reader.u16();
  if (questions != 1 || reader.failed()) {
    message.wrong = "malformed answer";
    return message;
  }
  if (question != name || type != static_cast<std::uint16_t>(asked) || of_class != kClassIn) {
    message.wrong = "answer to another question";
    return message;
  }
  if (truncated) {
    message.wrong = "truncated answer";
    return message;
  }
  std::vector<Record> ignored;
  read_section(reader, octets, answers, asked, message.answers, message.rcode);
  read_section(reader, octets, authority, asked, message.authority, message.rcode);
  read_section(reader, octets, additional, asked, ignored, message.rcode);
  if (reader.failed()) message.wrong = "malformed answer";
  return message;
}

std::string rcode_text(unsigned rcode) {
  switch (rcode) {
    case 1:
      return "FORMERR";
    case 2:
      return "SERVFAIL";
    case 4:
      return "NOTIMP";
    case 5:
      return "REFUSED";
    case 16:
      return "BADVERS";
    default:
      return "RCODE " + std::to_string(rcode);
  }
}

bool is_below(std::string_view name, std::string_view zone) {
  if (zone.empty() || name == zone) return true;
  return name.size() > zone.size() && name.ends_with(zone) && name[name.size() - zone.size() - 1] == '.';
}

/// How long a "no" holds: the smaller of the SOA's TTL and its last field (RFC 2308 §5). 0 without a SOA of that zone.
std::uint32_t negative_ttl(Octets message, const std::vector<Record>& authority, std::string_view name) {
  for (const Record& record : authority) {
    if (record.type != RecordType::soa || !is_below(name, record.owner)) continue;
    Reader data(message, record.data, record.data_end);
    data.name();
    data.name();
    data.octets(16);  // serial, refresh, retry, expire
    std::uint32_t minimum = data.u32();
    if (!data.at_end() || minimum > std::numeric_limits<std::int32_t>::max()) return 0;
    return std::min(record.ttl, minimum);
  }
  return 0;
}

/// True if there is no data because the server only points to others (RFC 2308 §2.2.1): that is no "no".
bool is_referral(const Message& message) {
  bool soa = false;
  bool ns = false;
  for (const Record& record : message.authority) {
    soa = soa || record.type == RecordType::soa;
    ns = ns || record.type == RecordType::ns;
  }
  return ns && !soa && !message.authoritative;
}

std::optional<Mx> read_mx(Octets message, const Record& record) {
  Reader data(message, record.data, record.data_end);
  Mx mx;
  mx.preference = data.u16();
  mx.exchanger = data.name();
  if (!data.at_end()) return std::nullopt;
  return mx;
}

std::optional<std::string> read_ptr(Octets message, const Record& record) {
  Reader data(message, record.data, record.data_end);
  std::string name = data.name();
  if (!data.at_end()) return std::nullopt;
  return name;
}

std::optional<net::Address> read_a(Octets message, const Record& record) {
  Reader data(message, record.data, record.data_end);
  net::Address address;
  address.family = 4;
  std::ranges::copy(data.octets(4), address.bytes.begin());
  if (!data.at_end()) return std::nullopt;
  return address;
}

std::optional<net::Address> read_aaaa(Octets message, const Record& record) {
  constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  Reader data(message, record.data, record.data_end);
  Octets octets = data.octets(16);
  if (!data.at_end()) return std::nullopt;
  net::Address address;
  if (std::ranges::equal(octets.first(12), kMapped)) {
    address.family = 4;
    std::ranges::copy(octets.subspan(12), address.bytes.begin());
  } else {
    address.family = 6;
    std::ranges::copy(octets, address.bytes.begin());
  }
  return address;
}

template <class R>
Answer<R> failed(std::string why, net::TimePoint now) {
  Answer<R> answer;
  answer.status = Status::server_failed;
  answer.valid_until = now;
  answer.detail = std::move(why);
  return answer;
}

const Record* find_alias(const std::vector<Record>& records, std::string_view owner) {
  for (const Record& record : records)
    if (record.type == RecordType::cname && record.owner == owner) return &record;
  return nullptr;
}

template <class R>
Answer<R> parse(Octets octets, std::string_view asked_name, RecordType type, net::TimePoint now,
                std::optional<R> (*read)(Octets, const Record&)) {
  std::string name = canonical(asked_name);
  Message message = read_message(octets, name, type);
  if (message.wrong != nullptr) return failed<R>(message.wrong, now);
  if (message.rcode != kNoError && message.rcode != kNameError) return failed<R>(rcode_text(message.rcode), now);

  Answer<R> answer;
  std::uint32_t ttl = std::numeric_limits<std::int32_t>::max();
  for (int aliases = 0;; ++aliases) {
    bool found = false;
    for (const Record& record : message.answers) {
      if (record.type != type || record.owner != name) continue;
      std::optional<R> value = read(octets, record);
      if (!value) return failed<R>("malformed answer", now);
      found = true;
      ttl = std::min(ttl, record.ttl);
      if (answer.records.size() < kMaxRecords) answer.records.push_back(std::move(*value));
    }
    const Record* alias = found ? nullptr : find_alias(message.answers, name);
    if (alias == nullptr) break;
    if (aliases == kMaxAliases) return failed<R>("chain of more than 8 CNAMEs", now);
    ttl = std::min(ttl, alias->ttl);
    name = Reader(octets, alias->data, alias->data_end).name();
    answer.canonical_name = name;
  }

  // After CNAMEs the code speaks of the last name (RFC 6604 §3).
  if (message.rcode == kNameError) {
    answer.status = Status::no_domain;
    answer.records.clear();
  } else if (answer.records.empty()) {
    if (is_referral(message)) return failed<R>("referral: the server does not recurse", now);
    answer.status = Status::no_data;
  } else {
    answer.status = Status::found;
  }
  if (answer.status != Status::found) {
    ttl = std::min(ttl, negative_ttl(octets, message.authority, name));
    answer.detail = answer.status == Status::no_domain ? "NXDOMAIN" : "no such record";
  }
  answer.valid_until = now + std::chrono::seconds(ttl);
  return answer;
}

}  // namespace

Answer<Mx> parse_mx(std::span<const std::uint8_t> message, std::string_view name, net::TimePoint now) {
  return parse<Mx>(message, name, RecordType::mx, now, read_mx);
}

Answer<net::Address> parse_a(std::span<const std::uint8_t> message, std::string_view name, net::TimePoint now) {
  return parse<net::Address>(message, name, RecordType::a, now, read_a);
}

Answer<net::Address> parse_aaaa(std::span<const std::uint8_t> message, std::string_view name, net::TimePoint now) {
  return parse<net::Address>(message, name, RecordType::aaaa, now, read_aaaa);
}

Answer<std::string> parse_ptr(std::span<const std::uint8_t> message, std::string_view name, net::TimePoint now) {
  return parse<std::string>(message, name, RecordType::ptr, now, read_ptr);
}

}  // namespace waypost::resolver
