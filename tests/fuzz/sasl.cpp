// tests/fuzz/sasl.cpp: exchanges of SASL. Nobody is let in without the right secret, whatever is sent; a client that
// has it is; what was checked is fit for a line of the log. And base64, verifiers and the users file, which are read as
// they are written.
//
// The first octet says how: bits 0-2 the mechanism, bit 3 with channel binding, bit 4 an honest client of SCRAM. The
// rest are fields between US (0x1F): responses, or what the honest client says and how it is altered on the way.
// Covers: mta/sasl.cpp mta/scram.cpp smtp/scram.cpp mta/users.cpp base/base64.cpp
#include "mta/sasl.h"

#include <string>
#include <string_view>
#include <vector>

#include "base/base64.h"
#include "base/escape.h"
#include "mta/users.h"
#include "tests/fuzz/input.h"
#include "tests/support/scram_client.h"

using namespace waypost;

namespace {

constexpr std::string_view kMechanisms[] = {"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "EXTERNAL"};
const mta::ScramVerifier kAnn = mta::scram::make_verifier("secret", "salt", 1);

mta::sasl::Surroundings around(bool bound) {
  mta::sasl::Surroundings out;
  out.nonce = "server";
  out.external = "cert";
  out.scram = [](const std::string& login) { return mta::ScramLookup{kAnn, login == "ann"}; };
  if (bound) out.bindings = {{"tls-exporter", "exported"}};
  return out;
}

void check_login(const std::string& login) {
  fuzz::check(!login.empty() && login.size() <= mta::sasl::kLongestLogin, "a login has 1 to 255 octets");
  fuzz::check(fuzz::is_one_line(login) && is_utf8(login), "it is one line of UTF-8");
}

/// Octets go in as they come. PLAIN is held to a reference; SCRAM never lets in who has no proof.
void say_anything(std::string_view mechanism, bool bound, std::string_view input) {
  const std::unique_ptr<mta::sasl::Exchange> exchange = mta::sasl::make_exchange(mechanism, around(bound));
  if (!exchange) {
    fuzz::check(mechanism == "SCRAM-SHA-256-PLUS" && !bound, "every mechanism has its exchange");
    return;
  }
  const std::string whole(input);
  mta::sasl::Step step = exchange->begin(std::nullopt);
  int challenges = 0;
  while (std::holds_alternative<mta::sasl::Challenge>(step)) {
    fuzz::check(++challenges <= 3, "an exchange ends");
    step = exchange->on_response(mechanism == "PLAIN" ? whole : std::string(fuzz::take_field(input)));
  }
  if (const auto* accepted = std::get_if<mta::sasl::Accepted>(&step)) {
    fuzz::check(mechanism == "EXTERNAL" && accepted->login == "cert", "nobody is let in without a proof");
  }
  if (const auto* password = std::get_if<mta::sasl::Password>(&step)) {
    check_login(password->login);
    fuzz::check(exchange->login() == password->login, "the login is known by then");
    fuzz::check(mta::sasl::is_prepared(password->password, 255), "so is a password");
    const std::string nul(1, '\0');
    const std::string said = password->login + nul + password->password;
    if (mechanism == "PLAIN")
      fuzz::check(whole == nul + said || whole == password->login + nul + said, "PLAIN says what it says");
  }
}

void be_honest(bool bound, std::string_view input) {
  tests::ScramClient client;
  client.login = fuzz::take_field(input);
  client.password = fuzz::take_field(input);
  client.nonce = fuzz::take_field(input);
  const bool honest = client.login.find(',') == std::string::npos && client.nonce.find(',') == std::string::npos;
  if (!honest) return;  // RFC 5802 §5.1: neither has a comma
  client.gs2 = bound ? "p=tls-exporter,," : "n,,";
  client.binding = bound ? "exported" : "";
  const std::string added(fuzz::take_field(input));
  // HMAC pads a short key with zeros (RFC 2104 §2), so that NULs behind a password, which no password has, change
  // nothing.
  std::string password = client.password;
  while (password.size() <= 64 && password.ends_with('\0')) password.pop_back();
  const bool good = client.login == "ann" && password == "secret" && added.empty();

  const std::unique_ptr<mta::sasl::Exchange> exchange =
      mta::sasl::make_exchange(bound ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256", around(bound));
  mta::sasl::Step step = exchange->begin(client.first());
  const auto* first = std::get_if<mta::sasl::Challenge>(&step);
  if (first == nullptr) return;
  check_login(exchange->login());
  fuzz::check(base64_encode(first->octets).size() + 4 <= 510, "a challenge is a line that SMTP can have");
  const std::optional<std::string> proof = client.proof(first->octets);
  fuzz::check(proof.has_value(), "a challenge is one that a client can read");
  step = exchange->on_response(*proof + added);
  if (const auto* last = std::get_if<mta::sasl::Challenge>(&step)) {
    fuzz::check(good, "who has the secret is let in, and nobody else");
    fuzz::check(last->octets == client.signature, "the server has it, too");
    step = exchange->on_response("");
    const auto* accepted = std::get_if<mta::sasl::Accepted>(&step);
    fuzz::check(accepted != nullptr && accepted->login == "ann", "as itself");
    return;
  }
  fuzz::check(!good, "a good proof is taken");
}

void read_and_write(std::string_view text) {
  fuzz::check(base64_decode(base64_encode(text)) == std::string(text), "base64 comes back");
  if (const std::optional<std::string> octets = base64_decode(text))
    fuzz::check(base64_encode(*octets) == text, "base64 has one form");
  if (const Result<mta::ScramVerifier> verifier = mta::scram::parse_verifier(text))
    fuzz::check(*mta::scram::parse_verifier(mta::scram::text(*verifier)) == *verifier, "a verifier comes back");

  const mta::ParsedUsers parsed = mta::parse_users(text, "users");
  for (const std::string& mistake : parsed.mistakes) fuzz::check(fuzz::is_one_line(mistake), "a mistake is one line");
  if (!parsed.mistakes.empty()) return;
  std::string rewritten(text);
  for (const auto& [name, user] : parsed.users.all()) {
    check_login(name);
    rewritten = mta::with_user(rewritten, name, user);
  }
  const mta::ParsedUsers again = mta::parse_users(rewritten, "users");
  fuzz::check(again.mistakes.empty() && again.users.all() == parsed.users.all(), "users who are written are the same");
  for (const auto& [name, user] : parsed.users.all()) rewritten = mta::with_user(rewritten, name, std::nullopt);
  fuzz::check(mta::parse_users(rewritten, "users").users.all().empty(), "all of them can be taken out");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  const std::uint8_t how = fuzz::take_octet(input);
  const bool bound = (how & 8) != 0;
  if ((how & 16) != 0)
    be_honest(bound, input);
  else if ((how & 7) < std::size(kMechanisms))
    say_anything(kMechanisms[how & 7], bound, input);
  else
    read_and_write(input);
  return 0;
}
