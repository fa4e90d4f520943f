// tests/fuzz/path.cpp: addresses. What is accepted is written in a form that means the same, on one line.
// Covers: smtp/path.cpp smtp/address.cpp
#include "smtp/path.h"

#include "tests/fuzz/input.h"

using namespace waypost;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text = fuzz::view(data, size);
  std::uint8_t bits = fuzz::take_octet(text);
  smtp::PathRules rules{
      .utf8 = (bits & 1) != 0, .bare = (bits & 2) != 0, .null = (bits & 4) != 0, .without_domain = (bits & 8) != 0};

  std::string_view rest = text;
  Result<smtp::Path> path = smtp::take_path(rest, rules);
  if (path) {
    fuzz::check(text.ends_with(rest) && rest.size() < text.size(), "a path is taken off the front");
    fuzz::check(rules.null || !path->is_null(), "no null path where none is admitted");
    std::string written = path->bracketed();
    fuzz::check(fuzz::is_one_line(written), "a path is one line");
    std::string_view view = written;
    Result<smtp::Path> again = smtp::take_path(view, rules);
    fuzz::check(again.has_value() && view.empty() && *again == *path, "a path that is written is read as the same");
    fuzz::check(again->mailbox.local == path->mailbox.local, "its local part, too");
  } else {
    fuzz::check(rest == text, "what is refused is left");
    fuzz::check(fuzz::is_one_line(path.error().what), "an error is one line");
  }

  Result<smtp::Mailbox> mailbox = smtp::parse_mailbox(text, rules.utf8);
  if (mailbox) {
    fuzz::check(!mailbox->domain.empty(), "a mailbox has a domain");
    Result<smtp::Mailbox> again = smtp::parse_mailbox(mailbox->text(), rules.utf8);
    fuzz::check(again.has_value() && *again == *mailbox, "a mailbox that is written is read as the same");
  }

  std::string address = smtp::literal_address(text);
  fuzz::check(address.empty() != smtp::is_address_literal(text), "a literal has an address");
  if (!address.empty()) {
    bool six = address.find(':') != std::string::npos;
    std::string literal = (six ? "[IPv6:" : "[") + address + ']';
    fuzz::check(smtp::literal_address(literal) == address, "an address is written as it is read");
  }
  return 0;
}
