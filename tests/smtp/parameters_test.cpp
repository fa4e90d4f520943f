#include "smtp/parameters.h"

#include <doctest/doctest.h>

using namespace waypost::smtp;

namespace {

Extensions everything() {
  Extensions e;
  e.size = e.eight_bit_mime = e.dsn = e.smtputf8 = e.require_tls = e.binary_mime = true;
  e.auth = {"PLAIN"};
  return e;
}

std::string first(const Reply& reply) {
  return reply.wire().substr(0, 9);
}

}  // namespace

TEST_SUITE("smtp/parameters") {
  TEST_CASE("MAIL: each parameter [RFC 1870, 6152, 3461, 6531, 8689, 4954]") {
    auto p = parse_mail_parameters(
        " SIZE=100 body=8bitmime RET=hdrs ENVID=a+2Bb SMTPUTF8 REQUIRETLS AUTH=e+3Dmc2@b.example", everything());
    REQUIRE(p);
    CHECK(p->size == 100u);
    CHECK(p->body == BodyType::eight_bit_mime);
    CHECK(p->ret == Ret::headers);
    CHECK(p->envid == "a+2Bb");
    CHECK(p->smtputf8);
    CHECK(p->require_tls);
    CHECK(p->authenticated == "e=mc2@b.example");
    CHECK(text(*p) == " SIZE=100 BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=a+2Bb AUTH=e+3Dmc2@b.example");
    CHECK(*parse_mail_parameters(text(*p), everything()) == *p);

    CHECK(*parse_mail_parameters("", {}) == MailParameters{});
    CHECK(*parse_mail_parameters("  ", {}) == MailParameters{});
    CHECK(parse_mail_parameters(" AUTH=<>", everything())->authenticated == "");
    CHECK(parse_mail_parameters(" BODY=7BIT", everything())->body == BodyType::seven_bit);
    CHECK(parse_mail_parameters(" SIZE=99999999999999999999", everything())->size == UINT64_MAX);
  }

  TEST_CASE("MAIL: unknown and not offered keywords 555, bad values 501 [RFC 5321 4.1.1.11]") {
    Extensions mx;
    mx.size = mx.eight_bit_mime = true;
    struct {
      std::string_view text, want;
    } cases[] = {
        {" FOO", "555 5.5.4"},
        {" FOO=bar", "555 5.5.4"},
        {" RET=FULL", "555 5.5.4"},
        {" SMTPUTF8", "555 5.5.4"},
        {" ENVID=x", "555 5.5.4"},
        {" REQUIRETLS", "555 5.5.4"},
        {" AUTH=<>", "555 5.5.4"},
        {" NOTIFY=NEVER", "555 5.5.4"},
        {" SIZE", "501 5.5.4"},
        {" SIZE=", "501 5.5.4"},
        {" SIZE=x", "501 5.5.4"},
        {" SIZE=-1", "501 5.5.4"},
        {" SIZE=1=2", "501 5.5.4"},
        {" SIZE=999999999999999999999", "501 5.5.4"},
        {" BODY=9BIT", "501 5.5.4"},
        {" BODY", "501 5.5.4"},
        {" BODY=BINARYMIME", "501 5.5.4"},
        {" SIZE=1 SIZE=1", "501 5.5.4"},
        {" =1", "501 5.5.4"},
        {" -A=1", "501 5.5.4"},
        {" S\xC3\xA4=1", "501 5.5.4"},
        {" SIZE=1\x01", "501 5.5.4"},
    };
    for (const auto& c : cases) {
      CAPTURE(c.text);
      auto p = parse_mail_parameters(c.text, mx);
      REQUIRE_FALSE(p);
      CHECK(first(p.error()) == c.want);
    }
    for (std::string_view bad : {" RET=ALL", " RET", " ENVID=", " ENVID=a+2b", " ENVID=a=b", " SMTPUTF8=1",
                                 " REQUIRETLS=x", " AUTH=", " AUTH=nobody", " AUTH=a+2@b"}) {
      CAPTURE(bad);
      auto p = parse_mail_parameters(bad, everything());
      REQUIRE_FALSE(p);
      CHECK(first(p.error()) == "501 5.5.4");
    }
    CHECK(parse_mail_parameters(" ENVID=" + std::string(100, 'x'), everything()));
    CHECK_FALSE(parse_mail_parameters(" ENVID=" + std::string(101, 'x'), everything()));
  }

  TEST_CASE("RCPT: NOTIFY and ORCPT [RFC 3461 4.1, 4.2]") {
    struct {
      std::string_view text;
      std::uint8_t bits;
    } cases[] = {{"", 0},
                 {" NOTIFY=NEVER", Notify::kNever},
                 {" notify=success", Notify::kSuccess},
                 {" NOTIFY=SUCCESS,FAILURE,DELAY", Notify::kSuccess | Notify::kFailure | Notify::kDelay},
                 {" NOTIFY=DELAY,DELAY", Notify::kDelay}};
    for (const auto& c : cases) {
      auto p = parse_rcpt_parameters(c.text, everything());
      REQUIRE(p);
      CHECK(p->notify.bits == c.bits);
      CHECK(*parse_rcpt_parameters(text(*p), everything()) == *p);
    }
    for (std::string_view bad :
         {" NOTIFY=", " NOTIFY", " NOTIFY=NEVER,FAILURE", " NOTIFY=NEVER,NEVER", " NOTIFY=SUCCESS,", " NOTIFY=ALWAYS",
          " ORCPT=a@b", " ORCPT=;a@b", " ORCPT=rfc822;", " ORCPT=rfc822;a+b@c", " ORCPT=rfc822;j\xC3\xB6@c"}) {
      CAPTURE(bad);
      auto p = parse_rcpt_parameters(bad, everything());
      REQUIRE_FALSE(p);
      CHECK(first(p.error()) == "501 5.5.4");
    }
    auto p = parse_rcpt_parameters(" ORCPT=rfc822;a+2Bb@c.example", everything());
    REQUIRE(p);
    CHECK(p->orcpt == "rfc822;a+2Bb@c.example");
    CHECK(text(*p) == " ORCPT=rfc822;a+2Bb@c.example");
    CHECK(parse_rcpt_parameters(" ORCPT=utf-8;j\xC3\xB6@c", everything()));
    CHECK_FALSE(parse_rcpt_parameters(" ORCPT=rfc822;" + std::string(500, 'a'), everything()));
    CHECK(first(parse_rcpt_parameters(" NOTIFY=NEVER", {}).error()) == "555 5.5.4");
    CHECK(first(parse_rcpt_parameters(" SIZE=1", everything()).error()) == "555 5.5.4");
  }

  TEST_CASE("xtext [RFC 3461 4]") {
    CHECK(xtext_encode("a+b=c d\xFF") == "a+2Bb+3Dc+20d+FF");
    CHECK(*xtext_decode("a+2Bb+3Dc+20d+FF") == "a+b=c d\xFF");
    CHECK(xtext_decode("")->empty());
    for (std::string_view bad : {"+", "+2", "+2b", "+G0", "a b", "a=b", "\x7F", "\xC3", "a\n"})
      CHECK_FALSE(xtext_decode(bad));
    std::string all;
    for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
    CHECK(*xtext_decode(xtext_encode(all)) == all);
  }

  TEST_CASE("ORCPT in UTF-8 is kept in US-ASCII [RFC 6533 3]") {
    Extensions offered;
    offered.dsn = offered.smtputf8 = true;
    const auto given = parse_rcpt_parameters(" ORCPT=utf-8;j\xc3\xbc\\x{E4}+@b\xf0\x9f\x90\x84", offered);
    REQUIRE(given);
    CHECK(given->orcpt == "utf-8;j\\x{FC}\\x{E4}+@b\\x{1F404}");
    CHECK(parse_rcpt_parameters(text(*given), offered)->orcpt == given->orcpt);
    CHECK(orcpt_of("a+b@c.example") == "rfc822;a+2Bb@c.example");
    CHECK(orcpt_of("j\xc3\xbc+x\\@c.example") == "utf-8;j\\x{FC}\\x{2B}x\\x{5C}@c.example");
    CHECK(utf8_xtext("") == "");
  }

  TEST_CASE("utf-8-addr-xtext is read back [RFC 6533 3]") {
    for (const std::string_view text :
         {"", "a+b@c.example", "\x7f", "j\xc3\xbc+x\\@c.example", "\xe4\xbe\x8b", "\xf0\x9f\x93\xae"}) {
      CAPTURE(text);
      CHECK(utf8_xtext_decode(utf8_xtext(text)).value_or("none") == text);
    }
    CHECK(utf8_xtext_decode("j\xc3\xbc@c.example").value_or("none") == "j\xc3\xbc@c.example");
    for (const std::string_view text : {"\\", "\\x", "\\x{", "\\x{}", "\\x{E4", "\\x{G}", "\\x{-1}", "\\x{D800}",
                                        "\\x{110000}", "\\x{100000041}", "\xff"}) {
      CAPTURE(text);
      CHECK_FALSE(utf8_xtext_decode(text));
    }
  }
}
