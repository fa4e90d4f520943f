// tests/fuzz/maildir.cpp: no address names a path outside its place in the template, or another address's; and the
// filter of Return-Path fields, in pieces of any size, beside a plain reference. Covers: delivery/maildir.cpp
#include "delivery/maildir.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/text.h"
#include "tests/fuzz/input.h"

using namespace waypost;

namespace {

std::string decoded(std::string_view part) {
  if (part == "%") return "";
  auto digit = [](char c) { return is_digit(c) ? c - '0' : c - 'A' + 10; };
  std::string out;
  for (std::size_t i = 0; i < part.size(); ++i) {
    if (part[i] != '%') {
      out += part[i];
      continue;
    }
    fuzz::check(i + 2 < part.size(), "two digits follow a percent sign");
    out += static_cast<char>(digit(part[i + 1]) * 16 + digit(part[i + 2]));
    i += 2;
  }
  return out;
}

void check_path(std::string_view local, std::string_view domain) {
  smtp::Mailbox mailbox{std::string(local), std::string(domain)};
  std::string path = delivery::maildir_path("/var/mail/{domain}/x-{local}/m", mailbox);
  std::vector<std::string_view> parts = split(path, '/');
  fuzz::check(parts.size() == 6 && path.starts_with("/var/mail/"), "a path has the template's parts");
  fuzz::check(parts[4].starts_with("x-") && parts[5] == "m", "in their places");
  for (std::string_view part : {parts[3], parts[4]}) {
    fuzz::check(!part.empty() && !part.starts_with('.'), "no part goes up, or is hidden");
    for (char c : part) fuzz::check(c > ' ' && c < 0x7F, "and all of it is visible");
  }
  fuzz::check(decoded(parts[3]) == to_lower(domain), "the domain can be read back");
  fuzz::check(decoded(parts[4].substr(2)) == local, "and the local part: no two addresses have one path");
}

std::string filtered(std::string_view body, std::size_t chunk) {
  std::string out;
  delivery::ReturnPathFilter filter;
  for (std::size_t at = 0; at < body.size(); at += chunk) filter.feed(body.substr(at, chunk), out);
  filter.finish(out);
  return out;
}

/// The reference: line by line.
std::string without_return_paths(std::string_view body) {
  std::string out;
  bool in_field = false, dropped = false;
  while (!body.empty()) {
    std::size_t end = std::min(body.find('\n'), body.size() - 1) + 1;
    std::string_view line = body.substr(0, end);
    bool continues = in_field && is_space(line.front());
    if (!continues) {
      auto visible = [](char c) { return c > ' ' && c < 0x7F && c != ':'; };
      auto name_end = std::find_if_not(line.begin(), line.end(), visible);
      auto colon = std::find_if_not(name_end, line.end(), is_space);
      if (name_end == line.begin() || colon == line.end() || *colon != ':') break;  // the header section is over
      std::string_view name = line.substr(0, static_cast<std::size_t>(name_end - line.begin()));
      // Obsolete syntax may have spaces before the colon; not as many as anybody likes.
      bool held = colon - line.begin() <= 11 + 64;
      dropped = held && equals_no_case(name, "Return-Path");
      in_field = true;
    }
    if (!dropped) out += line;
    body.remove_prefix(end);
  }
  return out.append(body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  std::size_t chunk = fuzz::take_octet(input) + std::size_t{1};
  std::string want = without_return_paths(input);
  fuzz::check(filtered(input, input.size() + 1) == want, "the body is the reference's");
  fuzz::check(filtered(input, chunk) == want, "in pieces, too");

  std::string_view local = fuzz::take_field(input);
  check_path(local, input);
  std::string unique = delivery::maildir_unique_name({}, std::string(input));
  fuzz::check(unique.find_first_of("/:") == std::string::npos, "a unique name is a name");
  return 0;
}
