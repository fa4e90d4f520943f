// tests/fuzz/command.cpp: a command line. A command that is written is read as the same; a refusal is one line of the
// right class.
// Covers: smtp/command.cpp smtp/xclient.cpp smtp/parameters.cpp smtp/path.cpp smtp/address.cpp
#include "smtp/command.h"

#include "tests/fuzz/input.h"

using namespace waypost;

namespace {

smtp::CommandRules rules_of(std::uint8_t bits) {
  smtp::CommandRules rules;
  rules.bare_path = (bits & 1) != 0;
  rules.path_without_domain = (bits & 2) != 0;
  rules.utf8_transaction = (bits & 4) != 0;
  smtp::Extensions& offered = rules.offered;
  offered.size = offered.eight_bit_mime = (bits & 8) != 0;
  offered.dsn = (bits & 16) != 0;
  offered.smtputf8 = (bits & 32) != 0;
  offered.chunking = offered.binary_mime = (bits & 64) != 0;
  if ((bits & 128) != 0) {
    offered.auth = {"PLAIN"};
    offered.starttls = offered.require_tls = offered.etrn = offered.xclient = true;
  }
  return rules;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view line = fuzz::view(data, size);
  smtp::CommandRules rules = rules_of(fuzz::take_octet(line));
  (void)smtp::foreign_protocol(line);

  auto command = smtp::parse_command(line, rules);
  if (!command) {
    const smtp::Reply& reply = command.error();
    fuzz::check(reply.permanent() && reply.enhanced && reply.enhanced->klass == 5, "a refusal is 5xx 5.x.x");
    fuzz::check(reply.wire().find('\n') + 1 == reply.wire().size(), "a refusal is one line");
    return 0;
  }
  std::string written = smtp::text(*command);
  auto again = smtp::parse_command(written, rules);
  fuzz::check(again.has_value(), "a command that is written is read");
  fuzz::check(*again == *command, "and is the same");
  fuzz::check(smtp::text(*again) == written, "and is written the same");
  fuzz::check(smtp::verb(*command).size() <= 16, "a verb is short");
  return 0;
}
