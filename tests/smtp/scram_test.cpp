#include "smtp/scram.h"

#include <doctest/doctest.h>

#include "base/base64.h"

namespace waypost::smtp {
namespace {

using namespace std::string_view_literals;

std::string hex(std::string_view octets) {
  std::string out;
  for (char c : octets) {
    const auto value = static_cast<unsigned char>(c);
    out += "0123456789abcdef"[value >> 4];
    out += "0123456789abcdef"[value & 15];
  }
  return out;
}

TEST_SUITE("smtp/scram") {
  TEST_CASE("the primitives [FIPS 180-2, RFC 2202, RFC 4231, RFC 6070]") {
    using scram::Hash;
    CHECK(hex(scram::digest(Hash::sha1, "abc")) == "a9993e364706816aba3e25717850c26c9cd0d89d");
    CHECK(hex(scram::digest(Hash::sha256, "abc")) ==
          "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(hex(scram::hmac(Hash::sha1, "Jefe", "what do ya want for nothing?")) ==
          "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    CHECK(hex(scram::hmac(Hash::sha256, "Jefe", "what do ya want for nothing?")) ==
          "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    CHECK(hex(scram::salted(Hash::sha1, "password", "salt", 1)) == "0c60c80f961f0e71f3a9b524af6012062fe037a6");
    CHECK(hex(scram::salted(Hash::sha1, "password", "salt", 4096)) == "4b007901b765489abead49d926f721d065a429c1");
    // RFC 7677 §3: SaltedPassword is what both keys of its example are made of.
    const std::string key = scram::salted(Hash::sha256, "pencil", *base64_decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096);
    CHECK(base64_encode(scram::digest(Hash::sha256, scram::hmac(Hash::sha256, key, "Client Key"))) ==
          "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=");
    CHECK(scram::exclusive_or("\x0F\xF0", "\xFF\xFF") == "\xF0\x0F");
    CHECK(scram::equal("", ""));
    CHECK(scram::equal("abc", "abc"));
    CHECK_FALSE(scram::equal("abc", "abd"));
    CHECK_FALSE(scram::equal("abc", "ab"));
  }

  TEST_CASE("names that are prepared [RFC 4013]") {
    for (std::string_view good : {"a"sv, "ann@b.example"sv, "a b"sv, "\xC3\xA4nn"sv, "\xC2\xA0"sv, "12345678"sv})
      CHECK(scram::is_prepared(good, 13));
    for (std::string_view bad :
         {""sv, "a\0b"sv, "a\nb"sv, "\x7F"sv, "\xC2\x85"sv, "\xFF"sv, "\xC3"sv, "12345678901234"sv})
      CHECK_FALSE(scram::is_prepared(bad, 13));
  }

  TEST_CASE("a name in a message has no comma and no equals sign of its own [RFC 5802 5.1]") {
    CHECK(scram::saslname("user") == "user");
    CHECK(scram::saslname("a,b=c") == "a=2Cb=3Dc");
    CHECK(scram::saslname("=2C") == "=3D2C");
    for (const std::string& each :
         {std::string(), std::string("a,b=c"), std::string("=2C,=3D"), std::string("\xC3\xA4")})
      CHECK(scram::parse_saslname(scram::saslname(each)) == each);
    for (std::string_view bad : {"="sv, "a=2"sv, "a=2c"sv, "a=41"sv, "a,b"sv})
      CHECK_FALSE(scram::parse_saslname(bad).has_value());
  }

  TEST_CASE("attributes come off the front, in their order [RFC 5802 7]") {
    std::string_view text = "r=a=b,s=,i=4096";
    CHECK_FALSE(scram::take_attribute(text, 's').has_value());
    CHECK(scram::take_attribute(text, 'r') == "a=b"sv);
    CHECK(scram::take_attribute(text, 's') == ""sv);
    CHECK(text == "i=4096");
    CHECK(scram::take_attribute(text, 'i') == "4096"sv);
    CHECK_FALSE(scram::take_attribute(text, 'i').has_value());
    CHECK(scram::is_nonce("!~", 2));
    for (std::string_view bad : {""sv, "abc"sv, "a,"sv, "a "sv, "\x7F"sv, "\xC3"sv})
      CHECK_FALSE(scram::is_nonce(bad, 2));
  }
}

}  // namespace
}  // namespace waypost::smtp
