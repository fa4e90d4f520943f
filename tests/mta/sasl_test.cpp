#include "mta/sasl.h"

#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include "base/base64.h"
#include "tests/support/scram_client.h"

namespace waypost::mta {
namespace {

using namespace std::string_view_literals;
using tests::ScramClient;

const std::string kSalt = *base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==");

/// `user` has the password "pencil", `a,b=c` "comma"; others are not known.
sasl::Surroundings around() {
  sasl::Surroundings out;
  out.nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
  out.scram = [](const std::string& login) {
    if (login == "user") return ScramLookup{scram::make_verifier("pencil", kSalt, 4096), true};
    if (login == "a,b=c") return ScramLookup{scram::make_verifier("comma", "salt", 1), true};
    return ScramLookup{scram::make_verifier("pencil", "false salt", 2), false};
  };
  return out;
}

sasl::Surroundings bound() {
  sasl::Surroundings out = around();
  out.bindings = {{"tls-exporter", "exported"}, {"tls-server-end-point", "certificate"}};
  return out;
}

/// What a step is, in a word, with what it says.
std::string text(const sasl::Step& step) {
  if (const auto* challenge = std::get_if<sasl::Challenge>(&step)) return "challenge " + challenge->octets;
  if (const auto* password = std::get_if<sasl::Password>(&step)) return password->login + "/" + password->password;
  if (const auto* accepted = std::get_if<sasl::Accepted>(&step)) return "accepted " + accepted->login;
  return std::holds_alternative<sasl::Refused>(step) ? "refused" : "malformed";
}

/// The whole of an exchange of SCRAM, to its last step.
std::string run(std::string_view mechanism, sasl::Surroundings surroundings, ScramClient client) {
  const std::unique_ptr<sasl::Exchange> exchange = sasl::make_exchange(mechanism, std::move(surroundings));
  REQUIRE(exchange);
  sasl::Step step = exchange->begin(client.first());
  const auto* first = std::get_if<sasl::Challenge>(&step);
  if (first == nullptr) return text(step);
  const std::optional<std::string> proof = client.proof(first->octets);
  REQUIRE(proof);
  step = exchange->on_response(*proof);
  const auto* last = std::get_if<sasl::Challenge>(&step);
  if (last == nullptr) return text(step);
  CHECK(last->octets == client.signature);
  return text(exchange->on_response(""));
}

TEST_SUITE("mta/sasl") {
  TEST_CASE("PLAIN [RFC 4616]") {
    struct {
      std::string_view response;
      std::string_view want;
    } const table[] = {
        {"\0tim\0tanstaaftanstaaf"sv, "tim/tanstaaftanstaaf"},
        {"tim\0tim\0secret"sv, "tim/secret"},
        {"Ursel\0Kurt\0xipj3plmq"sv, "refused"},
        {"\0\xC3\xA4nn\0p\xC3\xA4ss"sv, "\xC3\xA4nn/p\xC3\xA4ss"},
        {"\0ann@b.example\0a b:c"sv, "ann@b.example/a b:c"},
        {""sv, "malformed"},
        {"\0"sv, "malformed"},
        {"\0tim"sv, "malformed"},
        {"tim secret"sv, "malformed"},
        {"\0tim\0sec\0ret"sv, "malformed"},
        {"\0\0secret"sv, "refused"},
        {"\0tim\0"sv, "refused"},
        {"\0ti\nm\0secret"sv, "refused"},
        {"\0tim\0sec\x7Fret"sv, "refused"},
        {"\0tim\0sec\xC2\x85ret"sv, "refused"},
        {"\0tim\0sec\xFFret"sv, "refused"},
    };
    for (const auto& [response, want] : table) {
      CAPTURE(want);
      CHECK(text(sasl::make_exchange("PLAIN", {})->begin(response)) == want);
      const std::unique_ptr<sasl::Exchange> asked = sasl::make_exchange("PLAIN", {});
      CHECK(text(asked->begin(std::nullopt)) == "challenge ");
      CHECK(text(asked->on_response(response)) == want);
    }
  }

  TEST_CASE("lengths: 255 octets are a login or a password, 256 are none") {
    const std::string longest(255, 'x');
    const std::string nul(1, '\0');
    const auto plain = [&](const std::string& login, const std::string& password) {
      return text(sasl::make_exchange("PLAIN", {})->begin(nul + login + nul + password));
    };
    CHECK(plain(longest, longest) == longest + "/" + longest);
    CHECK(plain(longest + "x", "p") == "refused");
    CHECK(plain("tim", longest + "x") == "refused");
  }

  TEST_CASE("LOGIN: a name and a password, each to its challenge, or the name at once") {
    const std::unique_ptr<sasl::Exchange> asked = sasl::make_exchange("LOGIN", {});
    CHECK(text(asked->begin(std::nullopt)) == "challenge Username:");
    CHECK(text(asked->on_response("tim")) == "challenge Password:");
    CHECK(asked->login().empty());
    CHECK(text(asked->on_response("secret")) == "tim/secret");
    CHECK(asked->login() == "tim");
    const std::unique_ptr<sasl::Exchange> told = sasl::make_exchange("LOGIN", {});
    CHECK(text(told->begin("tim")) == "challenge Password:");
    CHECK(text(told->on_response("")) == "refused");
    CHECK(text(sasl::make_exchange("LOGIN", {})->begin("")) == "refused");
    CHECK(text(sasl::make_exchange("LOGIN", {})->begin("ti\0m"sv)) == "refused");
  }

  TEST_CASE("EXTERNAL: whom the layer below knows, and nobody else [RFC 4422 A]") {
    sasl::Surroundings known;
    known.external = "ann";
    CHECK(text(sasl::make_exchange("EXTERNAL", known)->begin("")) == "accepted ann");
    CHECK(text(sasl::make_exchange("EXTERNAL", known)->begin("ann")) == "accepted ann");
    CHECK(text(sasl::make_exchange("EXTERNAL", known)->begin("bob")) == "refused");
    CHECK(text(sasl::make_exchange("EXTERNAL", known)->begin(std::nullopt)) == "challenge ");
    CHECK_FALSE(sasl::make_exchange("EXTERNAL", {}));
  }

  TEST_CASE("SCRAM-SHA-256: the example, octet by octet [RFC 7677 3]") {
    const std::unique_ptr<sasl::Exchange> exchange = sasl::make_exchange("SCRAM-SHA-256", around());
    CHECK(text(exchange->begin(std::nullopt)) == "challenge ");
    CHECK(text(exchange->on_response("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")) ==
          "challenge r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    CHECK(exchange->login() == "user");
    CHECK(text(exchange->on_response("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                     "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")) ==
          "challenge v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    CHECK(text(exchange->on_response("")) == "accepted user");
  }

  TEST_CASE("SCRAM-SHA-256: who gets in") {
    struct {
      std::string_view login, password, gs2;
      std::string_view want;
    } const table[] = {
        {"user", "pencil", "n,,", "accepted user"},
        {"user", "pencil", "y,,", "accepted user"},
        {"user", "pencil", "n,a=user,", "accepted user"},
        {"a=2Cb=3Dc", "comma", "n,,", "accepted a,b=c"},
        {"a=2Cb=3Dc", "comma", "n,a=a=2Cb=3Dc,", "accepted a,b=c"},
        {"user", "pen", "n,,", "refused"},
        {"nobody", "pencil", "n,,", "refused"},
        {"user", "pencil", "n,a=ann,", "refused"},
        {"user", "pencil", "p=tls-exporter,,", "refused"},
    };
    for (const auto& [login, password, gs2, want] : table) {
      CAPTURE(login);
      CAPTURE(gs2);
      ScramClient client;
      client.login = login;
      client.password = password;
      client.gs2 = gs2;
      CHECK(run("SCRAM-SHA-256", around(), client) == want);
    }
  }

  TEST_CASE("SCRAM-SHA-256: what is not of its grammar [RFC 5802 7]") {
    struct {
      std::string_view first;
      std::string_view want;
    } const table[] = {
        {"", "malformed"},
        {"n", "malformed"},
        {"n,", "malformed"},
        {"n,,", "malformed"},
        {"n,,n=user", "malformed"},
        {"n,,r=abc", "malformed"},
        {"n,,n=user,r=", "malformed"},
        {"n,,n=user,r=a b", "malformed"},
        {"n,,n=us=er,r=abc", "malformed"},
        {"n,,n=us=2cer,r=abc", "malformed"},
        {"n,,n=user=,r=abc", "malformed"},
        {"n,b=user,n=user,r=abc", "malformed"},
        {"n,a=user", "malformed"},
        {"x,,n=user,r=abc", "malformed"},
        {"n,,r=abc,n=user", "malformed"},
        {"n,,n=,r=abc", "refused"},
        {"n,,m=x,n=user,r=abc", "refused"},
        {"n,,n=us\x01"sv, "malformed"},
        {"n,,n=us\x01,r=abc"sv, "refused"},
    };
    for (const auto& [first, want] : table) {
      CAPTURE(first);
      CHECK(text(sasl::make_exchange("SCRAM-SHA-256", around())->begin(first)) == want);
    }
    ScramClient client;
    client.login = "user";
    client.password = "pencil";
    client.nonce = std::string(255, 'x');
    CHECK(run("SCRAM-SHA-256", around(), client) == "accepted user");
    client.nonce += 'x';
    CHECK(run("SCRAM-SHA-256", around(), client) == "malformed");
  }

  TEST_CASE("SCRAM-SHA-256: a proof that was altered on its way") {
    ScramClient client;
    client.login = "user";
    client.password = "pencil";
    const auto after = [&](const auto& alter) {
      const std::unique_ptr<sasl::Exchange> exchange = sasl::make_exchange("SCRAM-SHA-256", around());
      sasl::Step step = exchange->begin(client.first());
      std::string proof = *client.proof(std::get<sasl::Challenge>(step).octets);
      alter(proof);
      return text(exchange->on_response(proof));
    };
    const std::string unaltered = after([](std::string&) {});  // and then the client knows the signature
    CHECK(unaltered == "challenge " + client.signature);
    CHECK(after([](std::string& proof) { proof[2] = 'e'; }) == "refused");                      // c=
    CHECK(after([](std::string& proof) { proof[proof.find(",r=") + 3] = 'X'; }) == "refused");  // the client's nonce
    CHECK(after([](std::string& proof) { proof[proof.find(",p=") - 1] = 'X'; }) == "refused");  // ours
    CHECK(after([](std::string& proof) { proof[proof.find(",p=") + 3] ^= 1; }) != "challenge " + client.signature);
    CHECK(after([](std::string& proof) { proof.insert(proof.find(",p="), ",x=y"); }) == "refused");
    CHECK(after([](std::string& proof) { proof.pop_back(); }) == "malformed");
    CHECK(after([](std::string& proof) { proof.erase(proof.find(",p=")); }) == "malformed");
    CHECK(after([](std::string& proof) { proof.clear(); }) == "malformed");
    CHECK(after([](std::string& proof) { proof += "\n"; }) == "malformed");
  }

  TEST_CASE("SCRAM-SHA-256: the last response is empty") {
    ScramClient client;
    client.login = "user";
    client.password = "pencil";
    const std::unique_ptr<sasl::Exchange> exchange = sasl::make_exchange("SCRAM-SHA-256", around());
    sasl::Step step = exchange->begin(client.first());
    step = exchange->on_response(*client.proof(std::get<sasl::Challenge>(step).octets));
    CHECK(text(exchange->on_response("x")) == "malformed");
  }

  TEST_CASE("channel binding, and its downgrade [RFC 5802 6]") {
    struct {
      std::string_view mechanism, gs2, binding;
      std::string_view want;
    } const table[] = {
        {"SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "exported", "accepted user"},
        {"SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,", "certificate", "accepted user"},
        {"SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "certificate", "refused"},
        {"SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "", "refused"},
        {"SCRAM-SHA-256-PLUS", "p=tls-unique,,", "exported", "refused"},
        {"SCRAM-SHA-256-PLUS", "p=,,", "", "refused"},
        {"SCRAM-SHA-256-PLUS", "n,,", "", "refused"},
        {"SCRAM-SHA-256-PLUS", "y,,", "", "refused"},
        {"SCRAM-SHA-256", "n,,", "", "accepted user"},
        {"SCRAM-SHA-256", "y,,", "", "refused"},  // -PLUS was offered: somebody took it out
        {"SCRAM-SHA-256", "p=tls-exporter,,", "exported", "refused"},
    };
    for (const auto& [mechanism, gs2, binding, want] : table) {
      CAPTURE(mechanism);
      CAPTURE(gs2);
      CAPTURE(binding);
      ScramClient client;
      client.login = "user";
      client.password = "pencil";
      client.gs2 = gs2;
      client.binding = binding;
      CHECK(run(mechanism, bound(), client) == want);
    }
    CHECK_FALSE(sasl::make_exchange("SCRAM-SHA-256-PLUS", around()));
  }

  TEST_CASE("which mechanisms there are, and which are offered") {
    for (std::string_view none : {"", "plain", "CRAM-MD5", "NTLM", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2"}) {
      CAPTURE(none);
      CHECK_FALSE(sasl::make_exchange(none, {}));
    }
    CHECK(sasl::mechanisms(false, false, false) == std::vector<std::string>{"PLAIN", "LOGIN"});
    CHECK(sasl::mechanisms(false, true, false) == std::vector<std::string>{"PLAIN", "LOGIN"});
    CHECK(sasl::mechanisms(true, true, true) ==
          std::vector<std::string>{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "EXTERNAL"});
  }
}

}  // namespace
}  // namespace waypost::mta
