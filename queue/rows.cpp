// queue/rows.cpp
#include "queue/rows.h"

#include <algorithm>

#include <xxhash.h>

#include "base/escape.h"
#include "smtp/header_scan.h"

namespace waypost::queue {
namespace {

/// XXH3-64 of fields, each with its length before it, so that no field runs into the next.
class Sum {
 public:
  Sum() { octets_.reserve(512); }
  Sum& operator<<(std::int64_t value) {
    for (int shift = 0; shift < 64; shift += 8)
      octets_ += static_cast<char>(static_cast<std::uint64_t>(value) >> shift & 0xff);
    return *this;
  }
  Sum& operator<<(std::string_view text) {
    *this << static_cast<std::int64_t>(text.size());
    octets_ += text;
    return *this;
  }
  std::int64_t value() const { return static_cast<std::int64_t>(XXH3_64bits(octets_.data(), octets_.size())); }

 private:
  std::string octets_;
};

/// What goes into a command line or a header again must be one line, whoever wrote it into the file.
bool is_one_line(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 127; });
}

/// Header fields in wire form: what goes before a body must not end its header section.
bool is_header(std::string_view text) {
  if (text.empty()) return true;
  if (!text.ends_with("\r\n") || text.find('\0') != std::string_view::npos) return false;
  for (std::size_t at = text.find_first_of("\r\n"); at != std::string_view::npos; at = text.find_first_of("\r\n", at)) {
    if (text.compare(at, 2, "\r\n") != 0) return false;
    at += 2;
  }
  smtp::HeaderScan scan;
  scan.feed(text);
  scan.feed("\r\n");
  scan.finish();
  return scan.notes().octets == text.size();
}

tl::unexpected<Error> damaged(Id id, std::string_view what) {
  return fail(Errc::damaged, id.text() + " is damaged in queue.db: " + std::string(what));
}

Result<smtp::Path> parse_path(std::string_view text) {
  std::string bracketed = "<" + std::string(text) + ">";
  std::string_view rest = bracketed;
  smtp::PathRules rules;
  rules.utf8 = true;
  rules.null = true;
  rules.without_domain = true;
  Result<smtp::Path> path = smtp::take_path(rest, rules);
  if (!path) return path;
  if (!rest.empty()) return fail(Errc::invalid, "more than one path");
  return path;
}

}  // namespace

Result<smtp::Path> stored_path(std::string_view text) {
  if (text.empty()) return smtp::Path{};
  Result<smtp::Path> path = parse_path(text);
  if (!path) return fail(Errc::damaged, "address " + escape(text, 100) + " in queue.db: " + path.error().what);
  return path;
}

smtp::Path shown_path(std::string_view text) {
  Result<smtp::Path> path = stored_path(text);
  if (path) return *std::move(path);
  smtp::Path raw;
  raw.mailbox.local = std::string(text);
  return raw;
}

StoredMessage read_message_unchecked(const Run& row) {
  StoredMessage message;
  MessageInfo& info = message.info;
  info.id = id_of(row.integer(0));
  info.arrival = wall_time(row.integer(3));
  info.expires = wall_time(row.integer(4));
  info.size = static_cast<std::uint64_t>(row.integer(5));
  info.body = static_cast<smtp::BodyType>(std::clamp<std::int64_t>(row.integer(6), 0, 2));
  info.eight_bit = row.integer(7) != 0;
  info.dot_lines = row.integer(8) != 0;
  info.smtputf8 = row.integer(9) != 0;
  info.require_tls = row.integer(10) != 0;
  info.ret = static_cast<smtp::Ret>(std::clamp<std::int64_t>(row.integer(11), 0, 2));
  info.envid = row.text(12);
  info.user = row.text(13);
  message.body_size = static_cast<std::uint64_t>(row.integer(14));
  std::string_view checksum = row.octets(15);
  for (std::size_t i = 0; i < std::min(checksum.size(), message.checksum.size()); ++i)
    message.checksum[i] = static_cast<std::uint8_t>(checksum[i]);
  message.in_file = row.integer(16) != 0;
  message.trace = row.text(17);
  info.reverse_path = shown_path(row.text(2));
  return message;
}

Result<StoredMessage> read_message(const Run& row) {
  StoredMessage message = read_message_unchecked(row);
  Id id = message.info.id;
  if (id.value > Id::kMax) return damaged(id, "an id that no message has");
  // The sum first: what it holds for was checked before it was written.
  if (row.integer(1) != sum_of(message, row.text(2))) return damaged(id, "the sum of its row does not hold");
  if (row.octets(15).size() != message.checksum.size()) return damaged(id, "no checksum");
  if (row.integer(6) < 0 || row.integer(6) > 2) return damaged(id, "body type");
  if (row.integer(11) < 0 || row.integer(11) > 2) return damaged(id, "RET");
  if (!is_one_line(message.info.envid) || !is_one_line(message.info.user)) return damaged(id, "ENVID or user");
  if (!is_header(message.trace)) return damaged(id, "trace");
  if (!stored_path(row.text(2))) return damaged(id, "reverse-path");
  return message;
}

Result<DueRecipient> read_recipient(const Run& row, std::string_view destination) {
  Id message = id_of(row.integer(0));
  DueRecipient out;
  out.index = static_cast<std::uint32_t>(row.integer(1));
  if (row.integer(1) != std::int64_t{out.index}) return damaged(message, "number of a recipient");
  std::int64_t notify = row.integer(5);
  if (notify < 0 || notify > 31) return damaged(message, "NOTIFY of a recipient");
  out.notify.bits = static_cast<std::uint8_t>(notify);
  out.orcpt = row.text(6);
  std::int64_t sum =
      sum_of_recipient(message, out.index, row.text(3), row.integer(4), destination, out.notify.bits, out.orcpt);
  if (row.integer(2) != sum) return damaged(message, "the sum of a recipient's row does not hold");
  Result<smtp::Path> path = stored_path(row.text(3));
  if (!path || path->is_null()) return damaged(message, "address of a recipient");
  out.forward_path = *std::move(path);
  if (!is_one_line(out.orcpt)) return damaged(message, "ORCPT of a recipient");
  out.attempts = static_cast<std::uint32_t>(std::clamp<std::int64_t>(row.integer(7), 0, UINT32_MAX));
  out.last_status = row.text(8);
  out.last_reply = row.text(9);
  out.last_host = row.text(10);
  out.delay_told = row.integer(11) != 0;
  return out;
}

DestinationState read_destination(const Run& row, int first) {
  DestinationState state;
  state.name = row.text(first);
  state.kind = row.integer(first + 1) == 1 ? DestinationState::Kind::site : DestinationState::Kind::destination;
  state.failures = static_cast<std::uint32_t>(std::clamp<std::int64_t>(row.integer(first + 2), 0, UINT32_MAX));
  state.next_attempt = wall_time(row.integer(first + 3));
  state.failing_since = wall_time(row.integer(first + 4));
  state.status = row.text(first + 5);
  state.reason = row.text(first + 6);
  state.host = row.text(first + 7);
  state.held_until = wall_time(row.integer(first + 8));
  state.held_reason = row.text(first + 9);
  state.spacing = net::Duration(std::clamp<std::int64_t>(row.integer(first + 10), 0, 86'400'000));
  state.slow_until = wall_time(row.integer(first + 11));
  state.slow_reason = row.text(first + 12);
  state.site_until = wall_time(row.integer(first + 13));
  state.asked = row.text(first + 14);
  return state;
}

DestinationState read_with_site(const Run& row, int first) {
  DestinationState state = read_destination(row, first);
  const DestinationState site = read_destination(row, first + kDestinationColumns);
  state.site = site.name;
  if (site.held_until > state.held_until) {
    state.held_until = site.held_until;
    state.held_reason = site.held_reason;
  }
  const bool sooner = state.failures > 0 && state.next_attempt > site.next_attempt;
  if (site.failures == 0 || sooner) return state;
  state.failures = site.failures;
  state.next_attempt = site.next_attempt;
  state.failing_since = site.failing_since;
  state.status = site.status;
  state.reason = site.reason;
  state.host = site.host;
  state.asked = site.asked;
  return state;
}

std::int64_t sum_of(const StoredMessage& message, std::string_view reverse_path) {
  const MessageInfo& info = message.info;
  std::string checksum(message.checksum.begin(), message.checksum.end());
  Sum sum;
  sum << number(info.id) << reverse_path << millis(info.arrival) << millis(info.expires)
      << static_cast<std::int64_t>(info.size) << static_cast<std::int64_t>(info.body) << std::int64_t{info.eight_bit}
      << std::int64_t{info.dot_lines} << std::int64_t{info.smtputf8} << std::int64_t{info.require_tls}
      << static_cast<std::int64_t>(info.ret) << std::string_view(info.envid) << std::string_view(info.user)
      << std::string_view(message.trace) << static_cast<std::int64_t>(message.body_size) << std::string_view(checksum)
      << std::int64_t{message.in_file};
  return sum.value();
}

std::int64_t sum_of_recipient(Id message, std::uint32_t index, std::string_view address, std::int64_t destination_id,
                              std::string_view destination, std::uint8_t notify, std::string_view orcpt) {
  Sum sum;
  sum << number(message) << std::int64_t{index} << address << destination_id << destination << std::int64_t{notify}
      << orcpt;
  return sum.value();
}

}  // namespace waypost::queue
