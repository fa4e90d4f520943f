// tests/fuzz/header.cpp: a header section cut anywhere, beside a plain reference.
// Covers: smtp/header_scan.cpp
#include <algorithm>

#include "base/text.h"
#include "smtp/header_scan.h"
#include "tests/fuzz/input.h"

using namespace waypost;

namespace {

constexpr std::string_view kOwnHost = "relay.example";

smtp::HeaderNotes scan(std::string_view body, std::size_t chunk) {
  smtp::HeaderScan scan{std::string(kOwnHost)};
  for (std::size_t at = 0; at < body.size(); at += chunk) scan.feed(body.substr(at, chunk));
  scan.finish();
  return scan.notes();
}

/// Name of the field that begins with this line, or "" if none does.
std::string_view field_name(std::string_view line) {
  auto [name, value] = split_once(line, ':');
  if (name.size() == line.size() || name.empty() || is_space(name.front())) return {};
  name = trim_back(name);
  bool good = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7F; });
  return good ? name : std::string_view();
}

struct Counts {
  int fields = 0, hops = 0;
  std::uint64_t octets = 0;
};

/// What follows a first line `From ` of a mailbox file.
std::string_view without_mailbox_line(std::string_view body) {
  for (const std::string_view from : {"From", ">From"}) {
    std::string_view rest = body.substr(std::min(from.size(), body.size()));
    if (!body.starts_with(from) || rest.empty() || !is_space(rest.front())) continue;
    rest = trim_front(rest);
    if (rest.empty() || rest.front() == ':') continue;
    return rest.substr(std::min(rest.find('\n'), rest.size() - 1) + 1);
  }
  return body;
}

Counts count(std::string_view body) {
  Counts out;
  body = without_mailbox_line(body);
  while (!body.empty()) {
    std::size_t end = std::min(body.find('\n'), body.size() - 1) + 1;
    std::string_view line = body.substr(0, end);
    body.remove_prefix(end);
    bool continues = is_space(line.front()) && out.fields > 0;
    if (!continues) {
      std::string_view name = field_name(line);
      if (name.empty()) return out;
      ++out.fields;
      if (equals_no_case(name, "Received")) ++out.hops;
    }
    out.octets += line.size();
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  std::size_t chunk = fuzz::take_octet(input) + std::size_t{1};

  smtp::HeaderNotes notes = scan(input, input.size() + 1);
  fuzz::check(scan(input, chunk) == notes, "chunks make no difference");
  Counts want = count(input);
  fuzz::check(notes.fields == want.fields && notes.hops == want.hops, "fields and hops are the reference's");
  fuzz::check(notes.octets == want.octets, "the header section ends where the reference says");
  fuzz::check(notes.own_hops <= notes.hops, "our hops are hops");
  fuzz::check(notes.delivered_to.size() <= smtp::HeaderScan::kMaxDeliveredTo, "values are bounded in number");
  fuzz::check(notes.message_id.size() <= smtp::HeaderScan::kMaxValue, "and in length");
  return 0;
}
