#include "mta/scram.h"

#include <doctest/doctest.h>

#include "base/base64.h"
#include "tests/support/scram_client.h"

namespace waypost::mta {
namespace {

std::string hex(std::string_view octets) {
  std::string out;
  for (char c : octets) {
    const auto value = static_cast<unsigned char>(c);
    out += "0123456789abcdef"[value >> 4];
    out += "0123456789abcdef"[value & 15];
  }
  return out;
}

TEST_SUITE("mta/scram") {
  TEST_CASE("the primitives [FIPS 180-2, RFC 4231]") {
    CHECK(hex(scram::sha256("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(hex(scram::hmac("Jefe", "what do ya want for nothing?")) ==
          "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    CHECK(scram::equal("", ""));
    CHECK(scram::equal("abc", "abc"));
    CHECK_FALSE(scram::equal("abc", "abd"));
    CHECK_FALSE(scram::equal("abc", "ab"));
  }

  TEST_CASE("the example's proof and signature [RFC 7677 3]") {
    const std::string salt = *base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==");
    const ScramVerifier verifier = scram::make_verifier("pencil", salt, 4096);
    const std::string nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const std::string message =
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r=" + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=" + nonce;
    const std::string proof = *base64_decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    CHECK(scram::proves(verifier, message, proof));
    CHECK(base64_encode(scram::server_signature(verifier, message)) == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    CHECK_FALSE(scram::proves(verifier, message + "x", proof));
    CHECK_FALSE(scram::proves(verifier, message, proof.substr(1)));
    CHECK_FALSE(scram::proves(verifier, message, proof + "x"));
    CHECK_FALSE(scram::proves(verifier, message, ""));
    CHECK(scram::matches(verifier, "pencil"));
    CHECK_FALSE(scram::matches(verifier, "pencils"));
    CHECK(scram::sha256(scram::client_key("pencil", salt, 4096)) == verifier.stored_key);
  }

  TEST_CASE("a verifier as text comes back, and what is none is refused") {
    const ScramVerifier verifier = scram::make_verifier("secret", "salt", 2);
    const std::string text = scram::text(verifier);
    CHECK(text.starts_with("{SCRAM-SHA-256}2,c2FsdA==,"));
    Result<ScramVerifier> again = scram::parse_verifier(text);
    REQUIRE(again.has_value());
    CHECK(*again == verifier);

    const std::string keys = "," + base64_encode(verifier.stored_key) + "," + base64_encode(verifier.server_key);
    CHECK(scram::parse_verifier("{SCRAM-SHA-256}4096,c2FsdA==" + keys).has_value());
    for (const std::string& bad :
         {std::string(), std::string("{SCRAM-SHA-256}"), std::string("{SCRAM-SHA-256}4096,c2FsdA==,c2FsdA==,c2FsdA=="),
          "{SCRAM-SHA-1}4096,c2FsdA==" + keys, "{SCRAM-SHA-256}0,c2FsdA==" + keys, "{SCRAM-SHA-256}x,c2FsdA==" + keys,
          "{SCRAM-SHA-256}10000001,c2FsdA==" + keys, "{SCRAM-SHA-256}4096," + keys, "{SCRAM-SHA-256}4096,c2FsdA" + keys,
          "{SCRAM-SHA-256}4096,c2FsdA==" + keys + ",x", "{SCRAM-SHA-256}4096" + keys}) {
      CAPTURE(bad);
      CHECK_FALSE(scram::parse_verifier(bad).has_value());
    }
  }
}

}  // namespace
}  // namespace waypost::mta
