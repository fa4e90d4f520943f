#include "delivery/sasl_client.h"

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <doctest/doctest.h>

#include "base/base64.h"
#include "mta/sasl.h"
#include "smtp/extensions.h"

namespace waypost::delivery {
namespace {

using namespace std::string_view_literals;
using namespace std::string_literals;
using Names = std::vector<std::string>;

constexpr std::string_view kNonce = "rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view kBoth = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr std::string_view kSalt = "W22ZaJ0SNY7soEsUEjb6gQ==";
const std::string kServerFirst = "r=" + std::string(kBoth) + ",s=" + std::string(kSalt) + ",i=4096";
const std::string kServerFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

SaslClient client(SaslMechanism mechanism, std::string_view user = "user", std::string_view password = "pencil",
                  std::string_view nonce = kNonce) {
  Result<SaslClient> made = SaslClient::make(mechanism, {std::string(user), std::string(password)}, std::string(nonce));
  REQUIRE(made.has_value());
  return *std::move(made);
}

/// What `command` says behind the mechanism's name, out of its base64.
std::string initial(const std::string& command) {
  const std::size_t at = command.find(' ', 5);
  REQUIRE(at != std::string::npos);
  const std::optional<std::string> octets = base64_decode(command.substr(at + 1));
  REQUIRE(octets.has_value());
  return *octets;
}

/// The client's answer to `challenge`, both out of their base64; the error in words where there is none.
std::string answer(SaslClient& client, std::string_view challenge) {
  const Result<std::string> response = client.answer(base64_encode(challenge));
  if (!response) return "error: " + response.error().what;
  const std::optional<std::string> octets = base64_decode(*response);
  REQUIRE(octets.has_value());
  return *octets;
}

std::string chosen(const Names& offered, bool is_private, const Names& allowed = {}) {
  const Result<SaslMechanism> mechanism = choose_mechanism(offered, is_private, allowed);
  return mechanism ? std::string(name(*mechanism)) : mechanism.error().what;
}

/// Our own server's side, with the user's password, as far as 235 or a no.
bool logs_in(SaslMechanism mechanism, const std::string& user, const std::string& password, const std::string& right) {
  mta::sasl::Surroundings around;
  around.nonce = "server";
  around.scram = [&](const std::string& login) {
    return mta::ScramLookup{mta::scram::make_verifier(right, "salt", 4096), login == user};
  };
  const std::unique_ptr<mta::sasl::Exchange> server = mta::sasl::make_exchange(name(mechanism), around);
  REQUIRE(server);
  SaslClient us = client(mechanism, user, password);
  std::optional<std::string> first;
  if (us.command().find(' ', 5) != std::string::npos) first = initial(us.command());
  mta::sasl::Step step = server->begin(first);
  while (const auto* challenge = std::get_if<mta::sasl::Challenge>(&step)) {
    CHECK_FALSE(us.finished().has_value());
    const Result<std::string> response = us.answer(base64_encode(challenge->octets));
    REQUIRE(response.has_value());
    step = server->on_response(*base64_decode(*response));
  }
  if (const auto* told = std::get_if<mta::sasl::Password>(&step)) {
    CHECK(us.finished().has_value());
    return told->login == user && told->password == right;
  }
  const auto* accepted = std::get_if<mta::sasl::Accepted>(&step);
  CHECK(us.finished().has_value() == (accepted != nullptr));
  return accepted != nullptr && accepted->login == user;
}

TEST_SUITE("delivery/sasl_client") {
  TEST_CASE("the strongest mechanism that is offered and allowed; a password only where it is private [RFC 4954 4]") {
    const Names all = {"LOGIN", "PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "GSSAPI"};
    struct {
      Names offered;
      bool is_private;
      Names allowed;
      std::string_view want;
    } const table[] = {
        {all, true, {}, "SCRAM-SHA-256"},
        {all, false, {}, "SCRAM-SHA-256"},
        {{"LOGIN", "SCRAM-SHA-1", "PLAIN"}, true, {}, "SCRAM-SHA-1"},
        {{"LOGIN", "PLAIN"}, true, {}, "PLAIN"},
        {{"LOGIN"}, true, {}, "LOGIN"},
        {{"login", "cram-md5"}, true, {}, "LOGIN"},
        {all, true, {"PLAIN", "LOGIN"}, "PLAIN"},
        {all, true, {"login"}, "LOGIN"},
        {all, false, {"LOGIN", "SCRAM-SHA-1"}, "SCRAM-SHA-1"},
        {{}, true, {}, "the host offers no AUTH"},
        {{"GSSAPI", "NTLM"}, true, {}, "the host offers AUTH GSSAPI NTLM, of which none is known here"},
        {{"SCRAM-SHA-256-PLUS"}, true, {}, "the host offers AUTH SCRAM-SHA-256-PLUS, of which none is known here"},
        {{"LOGIN", "PLAIN"}, false, {}, "the host offers AUTH LOGIN PLAIN, which needs TLS"},
        {{"PLAIN", "SCRAM-SHA-1"}, false, {"PLAIN"}, "the host offers AUTH PLAIN SCRAM-SHA-1, which needs TLS"},
        {{"PLAIN"}, true, {"LOGIN"}, "the host offers AUTH PLAIN, of which the configuration allows none"},
        {{"PLAIN"}, false, {"LOGIN"}, "the host offers AUTH PLAIN, of which the configuration allows none"},
        {{"A\nB\x1B"}, true, {}, "the host offers AUTH A\\nB\\x1b, of which none is known here"},
    };
    for (const auto& [offered, is_private, allowed, want] : table) {
      CAPTURE(want);
      CHECK(chosen(offered, is_private, allowed) == want);
    }
    CHECK(choose_mechanism({"PLAIN"}, false, {}).error().code == Errc::denied);
    CHECK(choose_mechanism({}, false, {}).error().code == Errc::unsupported);
    CHECK(chosen({std::string(5000, 'X')}, true).size() < 300);
    CHECK(chosen(smtp::parse_extensions({250, std::nullopt, {"mx", "AUTH PLAIN SCRAM-SHA-256"}}).auth, false) ==
          "SCRAM-SHA-256");
  }

  TEST_CASE("an initial response of nothing is =, and one that makes the line too long waits [RFC 4954 4]") {
    CHECK(auth_command("LOGIN", std::nullopt) == "AUTH LOGIN");
    CHECK(auth_command("EXTERNAL", "") == "AUTH EXTERNAL =");
    CHECK(auth_command("PLAIN", "abc") == "AUTH PLAIN YWJj");
    // Base64 of 369 octets is 492 long: 510 with the rest of the line, and 512 with its CRLF.
    CHECK(auth_command(std::string(12, 'X'), std::string(369, 'x')).size() == 510);
    CHECK(auth_command(std::string(12, 'X'), std::string(370, 'x')) == "AUTH XXXXXXXXXXXX");
    CHECK(auth_command(std::string(13, 'X'), std::string(369, 'x')) == "AUTH XXXXXXXXXXXXX");
  }

  TEST_CASE("PLAIN [RFC 4616 4]") {
    SaslClient us = client(SaslMechanism::plain, "tim", "tanstaaftanstaaf");
    CHECK(us.command() == "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
    CHECK(initial(us.command()) == "\0tim\0tanstaaftanstaaf"sv);
    CHECK(us.finished().has_value());
    CHECK(us.answer("").error().code == Errc::protocol);
    CHECK(us.finished().error().code == Errc::denied);
  }

  TEST_CASE("PLAIN with a key of 400 octets: it waits for the challenge, and a 235 before it is not believed") {
    const std::string key(400, 'k');
    SaslClient us = client(SaslMechanism::plain, "tim", key);
    CHECK(us.command() == "AUTH PLAIN");
    CHECK(us.finished().error().code == Errc::protocol);
    CHECK(answer(us, "") == "\0tim\0"s + key);
    CHECK(us.finished().has_value());
    CHECK(us.answer("").error().code == Errc::protocol);
  }

  TEST_CASE("LOGIN: the order of the challenges counts, not their words [draft-murchison-sasl-login]") {
    for (const auto& [one, two] :
         {std::pair("Username:"sv, "Password:"sv), {"User Name\0"sv, "Password\0"sv}, {""sv, ""sv}}) {
      SaslClient us = client(SaslMechanism::login, "tim", "secret");
      CHECK(us.command() == "AUTH LOGIN");
      CHECK(us.finished().error().code == Errc::protocol);
      CHECK(answer(us, one) == "tim");
      CHECK(us.finished().error().code == Errc::protocol);
      CHECK(answer(us, two) == "secret");
      CHECK(us.finished().has_value());
      CHECK(us.answer("").error().code == Errc::protocol);
      CHECK_FALSE(us.finished().has_value());
    }
  }

  TEST_CASE("SCRAM-SHA-1 [RFC 5802 5]") {
    SaslClient us = client(SaslMechanism::scram_sha_1, "user", "pencil", "fyko+d2lbbFgONRv9qkxdawL");
    CHECK(us.command() == "AUTH SCRAM-SHA-1 " + base64_encode("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"));
    CHECK(answer(us, "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096") ==
          "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=");
    CHECK(answer(us, "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=") == "");
    CHECK(us.finished().has_value());
  }

  TEST_CASE("SCRAM-SHA-256 [RFC 7677 3]") {
    SaslClient us = client(SaslMechanism::scram_sha_256);
    CHECK(us.command() == "AUTH SCRAM-SHA-256 " + base64_encode("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"));
    CHECK(us.finished().error().code == Errc::protocol);
    CHECK(answer(us, kServerFirst) ==
          "c=biws,r=" + std::string(kBoth) + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    CHECK(us.finished().error().code == Errc::protocol);
    CHECK(answer(us, kServerFinal) == "");
    CHECK(us.finished().has_value());
    CHECK(us.answer("").error().code == Errc::protocol);
    CHECK(us.finished().error().code == Errc::denied);
  }

  TEST_CASE("SCRAM: a name with a comma, and one that is too long for the command") {
    SaslClient us = client(SaslMechanism::scram_sha_256, "a,b=c");
    CHECK(initial(us.command()) == "n,,n=a=2Cb=3Dc,r=" + std::string(kNonce));
    SaslClient waits = client(SaslMechanism::scram_sha_256, std::string(255, ','));
    CHECK(waits.command() == "AUTH SCRAM-SHA-256");
    CHECK(answer(waits, "").starts_with("n,,n==2C=2C"));
    CHECK(answer(waits, kServerFirst).starts_with("c=biws,r="));
  }

  TEST_CASE("SCRAM: extensions that need not be known are passed over, and belong to what is signed [RFC 5802 5.1]") {
    SaslClient us = client(SaslMechanism::scram_sha_256);
    const std::string first = kServerFirst + ",x=later";
    const std::string response = answer(us, first);
    const std::size_t at = response.find(",p=");
    REQUIRE(at != std::string::npos);
    const mta::ScramVerifier verifier = mta::scram::make_verifier("pencil", *base64_decode(kSalt), 4096);
    const std::string message = "n=user,r=" + std::string(kNonce) + ',' + first + ',' + response.substr(0, at);
    CHECK(mta::scram::proves(verifier, message, *base64_decode(response.substr(at + 3))));
    CHECK(answer(us, "v=" + base64_encode(mta::scram::server_signature(verifier, message)) + ",x=later") == "");
    CHECK(us.finished().has_value());
  }

  TEST_CASE("SCRAM: a host that is not who it should be gets no success") {
    const std::string both(kBoth);
    const std::string salt(kSalt);
    const auto first = [&](const std::string& nonce, const std::string& octets, const std::string& count) {
      return base64_encode("r=" + nonce + ",s=" + octets + ",i=" + count);
    };
    const std::string good = base64_encode(kServerFirst);
    struct {
      std::vector<std::string> challenges;  // of which the last is refused
      Errc code;
      std::string_view want;
    } const table[] = {
        {{good, base64_encode("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")}, Errc::denied, "signature is wrong"},
        {{good, base64_encode("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")}, Errc::denied, "signature is wrong"},
        {{good, base64_encode("v=")}, Errc::denied, "signature is wrong"},
        {{good, base64_encode("v=***")}, Errc::protocol, "no signature"},
        {{good, base64_encode("x=1,") + base64_encode(kServerFinal)}, Errc::protocol, "not base64"},
        {{good, base64_encode("x=1," + kServerFinal)}, Errc::protocol, "no signature"},
        {{good, ""}, Errc::protocol, "no signature"},
        {{good, good}, Errc::protocol, "no signature"},
        {{good, base64_encode("e=invalid-proof")}, Errc::denied, "ends SCRAM: invalid-proof"},
        {{good, base64_encode("e=a\nb,x")}, Errc::denied, "ends SCRAM: a\\nb"},
        {{good, base64_encode("e=")}, Errc::denied, "ends SCRAM: "},
        {{good, base64_encode(kServerFinal), ""}, Errc::protocol, "when all was said"},
        {{base64_encode("e=unknown-user")}, Errc::denied, "ends SCRAM: unknown-user"},
        {{base64_encode("m=1," + kServerFirst)}, Errc::unsupported, "demands an extension"},
        {{base64_encode(kServerFinal)}, Errc::protocol, "lacks a nonce"},
        {{""}, Errc::protocol, "lacks a nonce"},
        {{base64_encode("r=" + both)}, Errc::protocol, "lacks a nonce"},
        {{base64_encode("s=" + salt + ",r=" + both + ",i=4096")}, Errc::protocol, "lacks a nonce"},
        {{first("x" + both, salt, "4096")}, Errc::protocol, "nonce is not ours"},
        {{first("", salt, "4096")}, Errc::protocol, "nonce is not ours"},
        {{first(both.substr(0, 19), salt, "4096")}, Errc::protocol, "nonce is not ours"},
        {{first(std::string(kNonce), salt, "4096")}, Errc::protocol, "nonce is not ours"},
        {{first(both + " x", salt, "4096")}, Errc::protocol, "nonce is not ours"},
        {{first(both + std::string(1000, 'x'), salt, "4096")}, Errc::protocol, "nonce is not ours"},
        {{first(both, "", "4096")}, Errc::protocol, "salt is not base64"},
        {{first(both, "W22", "4096")}, Errc::protocol, "salt is not base64"},
        {{first(both, salt, "")}, Errc::protocol, "is no number"},
        {{first(both, salt, "-1")}, Errc::protocol, "is no number"},
        {{first(both, salt, "4096x")}, Errc::protocol, "is no number"},
        {{first(both, salt, "99999999999999999999")}, Errc::protocol, "is no number"},
        {{first(both, salt, "0")}, Errc::unsupported, "asks for 0 iterations"},
        {{first(both, salt, "1")}, Errc::unsupported, "asks for 1 iterations"},
        {{first(both, salt, "4095")}, Errc::unsupported, "asks for 4095 iterations"},
        {{first(both, salt, "2000001")}, Errc::unsupported, "asks for 2000001 iterations"},
        {{first(both, salt, "4294971392")}, Errc::unsupported, "asks for 4294971392 iterations"},
        {{"*"}, Errc::protocol, "not base64"},
        {{"Password:"}, Errc::protocol, "not base64"},
        {{good.substr(1)}, Errc::protocol, "not base64"},
        {{good + "\r"}, Errc::protocol, "not base64"},
        {{std::string(12'284, 'A')}, Errc::protocol, "too long"},
        {{std::string(12'280, 'A')}, Errc::protocol, "lacks a nonce"},
    };
    for (const auto& [challenges, code, want] : table) {
      CAPTURE(want);
      CAPTURE(challenges.back());
      SaslClient us = client(SaslMechanism::scram_sha_256);
      for (std::size_t i = 0; i + 1 < challenges.size(); ++i) REQUIRE(us.answer(challenges[i]).has_value());
      const Result<std::string> refused = us.answer(challenges.back());
      REQUIRE_FALSE(refused.has_value());
      CHECK(refused.error().code == code);
      CHECK(refused.error().what.starts_with("SCRAM-SHA-256: "));
      CHECK(refused.error().what.find(want) != std::string::npos);
      CHECK(refused.error().what.find("pencil") == std::string::npos);
      CHECK(refused.error().what.size() < 300);
      // It stays that way, also if the host then comes with what would have been right.
      CHECK_FALSE(us.answer(good).has_value());
      CHECK_FALSE(us.answer(base64_encode(kServerFinal)).has_value());
      CHECK(us.finished().error().code == Errc::denied);
    }
  }

  TEST_CASE("challenges that are no base64 end PLAIN and LOGIN, too [RFC 4954 4]") {
    SaslClient login = client(SaslMechanism::login);
    CHECK(login.answer("Username:").error().code == Errc::protocol);
    CHECK_FALSE(login.answer("").has_value());
    SaslClient plain = client(SaslMechanism::plain, "user", std::string(400, 'k'));
    CHECK(plain.answer("ok. go on.").error().code == Errc::protocol);
    CHECK_FALSE(plain.answer("").has_value());
    CHECK_FALSE(plain.finished().has_value());
  }

  TEST_CASE("what cannot be sent is refused before anything is, and is not in the error") {
    struct {
      SaslMechanism mechanism;
      std::string user, password, nonce;
      std::string_view want;
    } const table[] = {
        {SaslMechanism::plain, "", "secret", "", "the user is"},
        {SaslMechanism::plain, "tim\0x"s, "secret", "", "the user is"},
        {SaslMechanism::plain, std::string(256, 'u'), "secret", "", "the user is"},
        {SaslMechanism::login, "tim", "", "", "the password is"},
        {SaslMechanism::plain, "tim", "sec\0ret"s, "", "the password is"},
        {SaslMechanism::plain, "tim", "sec\xFFret", "", "the password is"},
        {SaslMechanism::login, "tim", std::string(4097, 's'), "", "the password is"},
        {SaslMechanism::scram_sha_1, "tim", "secret", "", "the nonce is"},
        {SaslMechanism::scram_sha_256, "tim", "secret", "a,b", "the nonce is"},
        {SaslMechanism::scram_sha_256, "tim", "secret", std::string(1025, 'n'), "the nonce is"},
    };
    for (const auto& [mechanism, user, password, nonce, want] : table) {
      const Result<SaslClient> made = SaslClient::make(mechanism, {user, password}, nonce);
      REQUIRE_FALSE(made.has_value());
      CHECK(made.error().code == Errc::invalid);
      CHECK(made.error().what.starts_with(want));
      CHECK(made.error().what.find("sec") == std::string::npos);
    }
    CHECK(SaslClient::make(SaslMechanism::plain, {std::string(255, 'u'), std::string(4096, 's')}, "").has_value());
  }

  TEST_CASE("our own server takes the right password, and no other") {
    for (SaslMechanism mechanism : {SaslMechanism::plain, SaslMechanism::login, SaslMechanism::scram_sha_256}) {
      CAPTURE(name(mechanism));
      for (const std::string& user : {"user"s, "a,b=c"s, "\xC3\xA4nn@b.example"s, std::string(255, '=')}) {
        CAPTURE(user);
        CHECK(logs_in(mechanism, user, "p\xC3\xA4ss word", "p\xC3\xA4ss word"));
        CHECK_FALSE(logs_in(mechanism, user, "pass word", "p\xC3\xA4ss word"));
      }
    }
  }
}

}  // namespace
}  // namespace waypost::delivery
