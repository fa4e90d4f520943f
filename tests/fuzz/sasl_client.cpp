// tests/fuzz/sasl_client.cpp: our login at a host. A host that does not know the password has no success of SCRAM,
// whatever it says; one that does, our own server, has it; what is sent is a line that AUTH can have, and no error
// tells the password.
//
// The first octet says how: bits 0-1 the mechanism, bit 2 our own server, bit 3 base64 as it comes, bit 4 the choice of
// a mechanism (bit 5 where it is private). The rest are fields between US (0x1F): what the host says, or user, password
// and what is added on the way, or the names that are offered and, behind an empty one, allowed.
// Covers: delivery/sasl_client.cpp smtp/scram.cpp
#include "delivery/sasl_client.h"

#include <string>
#include <string_view>
#include <vector>

#include "base/base64.h"
#include "base/escape.h"
#include "base/text.h"
#include "mta/sasl.h"
#include "tests/fuzz/input.h"

using namespace waypost;

namespace {

using delivery::SaslClient;
using delivery::SaslMechanism;

constexpr SaslMechanism kMechanisms[] = {SaslMechanism::scram_sha_256, SaslMechanism::scram_sha_1, SaslMechanism::plain,
                                         SaslMechanism::login};
constexpr std::size_t kLongestLine = 12'286;  // RFC 4954 §4, and its CRLF
const mta::ScramVerifier kAnn = mta::scram::make_verifier("secret", "salt", SaslClient::kFewestIterations);

void check_error(const Error& error, std::string_view said) {
  fuzz::check(fuzz::is_one_line(error.what) && is_utf8(error.what), "an error is one line of UTF-8");
  fuzz::check(error.what.size() < 400, "and no long one");
  fuzz::check(error.what.find("secret") == std::string::npos || said.find("secret") != std::string_view::npos,
              "it does not tell the password");
}

bool is_scram(SaslMechanism mechanism) {
  return mechanism == SaslMechanism::scram_sha_256 || mechanism == SaslMechanism::scram_sha_1;
}

/// It takes a second, which is known to be so, and is of no other use here.
bool is_slow(std::string_view challenge) {
  for (std::string_view part : split(challenge, ',')) {
    if (!part.starts_with("i=")) continue;
    const std::optional<std::uint64_t> count = parse_decimal(part.substr(2));
    if (count && *count > 2 * SaslClient::kFewestIterations && *count <= SaslClient::kMostIterations) return true;
  }
  return false;
}

/// The signature of one who knows the password, by another way than the client's.
std::string right_signature(std::string_view first, std::string_view response) {
  std::string_view salt, count;
  for (std::string_view part : split(first, ',')) {
    if (salt.empty() && part.starts_with("s=")) salt = part.substr(2);
    if (count.empty() && part.starts_with("i=")) count = part.substr(2);
  }
  const mta::ScramVerifier verifier =
      mta::scram::make_verifier("secret", *base64_decode(salt), static_cast<std::uint32_t>(*parse_decimal(count)));
  const std::string message =
      "n=ann,r=client," + std::string(first) + ',' + std::string(response.substr(0, response.rfind(",p=")));
  return "v=" + base64_encode(mta::scram::server_signature(verifier, message));
}

void hear_anything(SaslMechanism mechanism, bool raw, std::string_view input) {
  const std::string_view whole = input;
  Result<SaslClient> us = SaslClient::make(mechanism, {"ann", "secret"}, "client");
  fuzz::check(us.has_value(), "these can be sent");
  std::vector<std::string> heard, said;
  while (true) {
    const std::string_view field = fuzz::take_field(input);
    const std::optional<std::string> octets = raw ? base64_decode(field) : std::string(field);
    if (octets && is_slow(*octets)) return;
    const bool early = us->finished().has_value();
    if (early) fuzz::check(mechanism == SaslMechanism::plain || said.size() == 2, "no success before all was said");
    const Result<std::string> response = us->answer(raw ? std::string(field) : base64_encode(field));
    if (!response) {
      check_error(response.error(), octets ? *octets : whole);
      break;
    }
    fuzz::check(!early, "nothing is said behind it");
    fuzz::check(octets.has_value(), "an answer is to something that can be read");
    fuzz::check(base64_decode(*response).has_value() && response->size() <= kLongestLine, "it is a line");
    heard.push_back(*octets);
    said.push_back(*base64_decode(*response));
    fuzz::check(said.size() <= 2, "an exchange ends");
  }
  fuzz::check(!us->finished().has_value() && !us->answer("").has_value(), "what was given up stays so");
  if (!is_scram(mechanism)) return;
  if (!said.empty()) fuzz::check(said[0].starts_with("c=biws,r=client"), "a proof is of this exchange");
  if (said.size() < 2 || mechanism != SaslMechanism::scram_sha_256) return;
  fuzz::check(heard[1].substr(0, heard[1].find(',')) == right_signature(heard[0], said[0]),
              "who signs knows the password");
}

void log_in_here(SaslMechanism mechanism, std::string_view input) {
  if (mechanism == SaslMechanism::scram_sha_1) return;  // our server has none
  const std::string user(fuzz::take_field(input));
  const std::string password(fuzz::take_field(input));
  const std::string added(fuzz::take_field(input));
  Result<SaslClient> us = SaslClient::make(mechanism, {user, password}, "client");
  if (!us) {
    fuzz::check(!mta::sasl::is_prepared(user, SaslClient::kLongestUser) ||
                    !mta::sasl::is_prepared(password, SaslClient::kLongestPassword),
                "what the server can take can be sent");
    return;
  }
  mta::sasl::Surroundings around;
  around.nonce = "server";
  around.scram = [&](const std::string& login) { return mta::ScramLookup{kAnn, login == user}; };
  const std::unique_ptr<mta::sasl::Exchange> server = mta::sasl::make_exchange(delivery::name(mechanism), around);
  const std::string& command = us->command();
  fuzz::check(command.size() <= 510, "the command is a line");
  const std::size_t at = command.find(' ', 5);
  std::optional<std::string> first;
  if (at != std::string::npos) first = base64_decode(command.substr(at + 1));
  mta::sasl::Step step = server->begin(first);
  while (const auto* challenge = std::get_if<mta::sasl::Challenge>(&step)) {
    const Result<std::string> response = us->answer(base64_encode(challenge->octets + added));
    if (!response) {
      check_error(response.error(), added);
      fuzz::check(!added.empty(), "our server is understood");
      return;
    }
    step = server->on_response(*base64_decode(*response));
  }
  fuzz::check(!std::holds_alternative<mta::sasl::Malformed>(step), "our server understands");
  if (const auto* told = std::get_if<mta::sasl::Password>(&step))
    fuzz::check(told->login == user && told->password == password, "both are as they are here");
  if (is_scram(mechanism)) {
    const bool accepted = std::holds_alternative<mta::sasl::Accepted>(step);
    fuzz::check(accepted == us->finished().has_value(), "both sides see it alike");
    fuzz::check(accepted <= (password == "secret"), "nobody is let in without the password");
    if (added.empty()) fuzz::check(accepted == (password == "secret"), "who has it is");
  }
}

void choose(bool is_private, std::string_view input) {
  std::vector<std::string> offered, allowed;
  std::vector<std::string>* names = &offered;
  while (!input.empty()) {
    const std::string_view field = fuzz::take_field(input);
    if (field.empty())
      names = &allowed;
    else
      names->emplace_back(field);
  }
  const Result<SaslMechanism> chosen = delivery::choose_mechanism(offered, is_private, allowed);
  const auto is_among = [](const std::vector<std::string>& list, SaslMechanism mechanism) {
    for (const std::string& each : list)
      if (to_upper(each) == delivery::name(mechanism)) return true;
    return false;
  };
  for (SaslMechanism mechanism : kMechanisms) {
    const bool can = is_among(offered, mechanism) && (allowed.empty() || is_among(allowed, mechanism)) &&
                     (is_private || is_scram(mechanism));
    if (!can) continue;
    fuzz::check(chosen.has_value() && *chosen == mechanism, "the strongest that can be is chosen");
    return;
  }
  fuzz::check(!chosen.has_value(), "none can be");
  fuzz::check(fuzz::is_one_line(chosen.error().what) && is_utf8(chosen.error().what), "an error is one line of UTF-8");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  const std::uint8_t how = fuzz::take_octet(input);
  const SaslMechanism mechanism = kMechanisms[how & 3];
  if ((how & 16) != 0)
    choose((how & 32) != 0, input);
  else if ((how & 4) != 0)
    log_in_here(mechanism, input);
  else
    hear_anything(mechanism, (how & 8) != 0, input);
  return 0;
}
