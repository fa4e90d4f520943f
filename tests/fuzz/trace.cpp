// tests/fuzz/trace.cpp: the fields that we write ourselves, of anything that a peer may have said: exactly these
// fields, in lines of a proper length (RELIABILITY C2); and dates of any time. Covers: smtp/trace.cpp smtp/date.cpp
//
// Fields are split at US (0x1F).
#include "smtp/trace.h"

#include <cstring>
#include <string>

#include "base/text.h"
#include "smtp/header_scan.h"
#include "tests/fuzz/input.h"

using namespace waypost;

namespace {

constexpr std::string_view kOwnHost = "relay.example";

void check_fields(const std::string& header, int fields, int hops) {
  smtp::HeaderScan scan{std::string(kOwnHost)};
  scan.feed(header + "\r\n");
  scan.finish();
  fuzz::check(scan.notes().octets == header.size(), "our fields are a header section");
  fuzz::check(scan.notes().fields == fields, "of as many fields as were written");
  fuzz::check(scan.notes().hops == hops && scan.notes().own_hops == hops, "and of our hop alone");
  std::size_t ends = 0;
  for (std::string_view line : split(header, '\n')) {
    if (line.empty()) break;
    fuzz::check(line.ends_with('\r') && fuzz::is_one_line(line.substr(0, line.size() - 1)), "CRLF alone ends a line");
    fuzz::check(line.size() <= 999, "no line is over 998 octets");
    fuzz::check(!trim(line).empty(), "no line is blank");
    ends += 1;
  }
  fuzz::check(ends >= static_cast<std::size_t>(fields), "each on a line of its own");
}

/// Comments and quoted strings are closed: what stands behind a peer's words is read as what it is. What the field says
/// in them is left out.
std::string outside_of_comments(std::string_view field) {
  std::string out;
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < field.size(); ++i) {
    char c = field[i];
    if ((depth > 0 || quoted) && c == '\\') {
      ++i;
    } else if (depth == 0 && c == '"') {
      quoted = !quoted;
    } else if (!quoted && c == '(') {
      ++depth;
    } else if (!quoted && c == ')') {
      fuzz::check(--depth >= 0, "no comment ends twice");
    } else if (depth == 0 && !quoted) {
      out += c;
    }
  }
  fuzz::check(depth == 0 && !quoted, "comments and quoted strings are closed");
  return out;
}

/// `Thu, 20 Aug 2026 09:05:03 +0200`: D is a digit, A a letter.
bool looks_like(std::string_view text, std::string_view shape) {
  if (text.size() != shape.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    bool good = shape[i] == 'D'   ? is_digit(text[i])
                : shape[i] == 'A' ? is_alpha(text[i])
                : shape[i] == 'S' ? text[i] == '+' || text[i] == '-'
                                  : text[i] == shape[i];
    if (!good) return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  std::uint8_t bits = fuzz::take_octet(input);
  std::int64_t millis = 0;
  std::memcpy(&millis, input.data(), std::min(sizeof millis, input.size()));
  input.remove_prefix(std::min(sizeof millis, input.size()));

  // Any time at all may be read from a damaged row.
  smtp::Time at{std::chrono::milliseconds(millis)};
  std::chrono::minutes offset(static_cast<std::int8_t>(bits) * 6);
  std::string date = smtp::rfc5322_date(at, offset);
  std::string iso = smtp::iso8601(at, offset);
  fuzz::check(looks_like(date, "AAA, DD AAA DDDD DD:DD:DD SDDDD"), "a date of RFC 5322");
  std::string shape = "DDDD-DD-DDTDD:DD:DD.DDD";
  fuzz::check(looks_like(iso, shape + "Z") || looks_like(iso, shape + "SDD:DD"), "a date of RFC 3339");

  smtp::Received received;
  received.protocol = {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0};
  received.helo = fuzz::take_field(input);
  received.client_name = fuzz::take_field(input);
  received.client_address = (bits & 16) != 0 ? "" : (bits & 32) != 0 ? "2001:db8::1" : "192.0.2.1";
  received.by = kOwnHost;
  received.software = (bits & 64) != 0 ? "Waypost" : "";
  received.tls = fuzz::take_field(input);
  received.tls_bits = (bits & 2) != 0 ? 256 : 0;
  received.id = "01JD8Q2M3XK7";
  // A domain is one when it comes here; a local part may be any octets, in quotes.
  std::string local(fuzz::take_field(input)), domain(fuzz::take_field(input));
  smtp::Mailbox mailbox{local, smtp::parse_mailbox("r@" + domain, true) ? domain : "b.example"};
  if ((bits & 128) != 0) received.recipient = mailbox.text();
  received.at = at;
  std::string field = received_field(received);
  check_fields(field, 1, 1);
  std::string outside = outside_of_comments(field);
  fuzz::check(outside.find("by relay.example") != std::string::npos, "our name is told");
  fuzz::check(outside.find("id 01JD8Q2M3XK7") != std::string::npos, "and the queue id");
  fuzz::check(std::count(outside.begin(), outside.end(), ';') == 1, "one date ends it");
  check_fields(smtp::return_path_field({mailbox}) + smtp::delivered_to_field(mailbox) + field, 3, 1);
  return 0;
}
