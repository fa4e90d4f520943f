#include "smtp/reply.h"

#include <doctest/doctest.h>

using namespace waypost::smtp;

TEST_SUITE("smtp/reply") {
  TEST_CASE("enhanced status codes [RFC 3463 2]") {
    CHECK(parse_enhanced("5.1.1") == EnhancedCode{5, 1, 1});
    CHECK(parse_enhanced("4.7.123 text") == EnhancedCode{4, 7, 123});
    CHECK(parse_enhanced("2.0.0 ") == EnhancedCode{2, 0, 0});
    for (std::string_view text : {"", "5", "5.", "5.1", "5.1.", "5.1.1.", "5.1.1x", "5.1.1:", "3.1.1", "1.0.0",
                                  "5.1.1234", "5.1234.1", "5.01.1", " 5.1.1", "5..1", "5.1.-1", "5.1.1\t"})
      CHECK_FALSE(parse_enhanced(text));
    CHECK(EnhancedCode{5, 10, 200}.text() == "5.10.200");
  }

  TEST_CASE("one line and several on the wire [RFC 5321 4.2.1]") {
    CHECK(Reply{250, {}, {"Ok"}}.wire() == "250 Ok\r\n");
    CHECK(Reply{250, EnhancedCode{2, 1, 5}, {"Ok"}}.wire() == "250 2.1.5 Ok\r\n");
    CHECK(Reply{250, EnhancedCode{2, 0, 0}, {"a", "", "c"}}.wire() == "250-2.0.0 a\r\n250-2.0.0 \r\n250 2.0.0 c\r\n");
    CHECK(Reply{354, {}, {}}.wire() == "354 \r\n");
  }

  TEST_CASE("no text makes a second line, and none is over 512 octets [RFC 5321 4.5.3.1.5]") {
    CHECK(Reply{550, {}, {"a\r\n250 b"}}.wire() == "550 a??250 b\r\n");
    CHECK(Reply{550, {}, {std::string(600, 'x')}}.wire().size() == 512);
    std::string umlauts;
    while (umlauts.size() < 600) umlauts += "ü";
    std::string wire = Reply{550, {}, {umlauts}}.wire();
    CHECK(wire.size() == 512);
    wire = Reply{550, {}, {'x' + umlauts}}.wire();
    CHECK(wire.size() == 511);
    CHECK(wire.ends_with("ü\r\n"));
  }

  TEST_CASE("on one line for logs and reports") {
    CHECK(Reply{550, EnhancedCode{5, 1, 1}, {"no such user", "", "see x"}}.text() == "550 5.1.1 no such user / see x");
    CHECK(Reply{250, {}, {""}}.text() == "250");
  }

  TEST_CASE("classes of replies") {
    CHECK(Reply{250, {}, {""}}.positive());
    CHECK(Reply{354, {}, {""}}.intermediate());
    CHECK(Reply{421, {}, {""}}.transient());
    CHECK(Reply{599, {}, {""}}.permanent());
    CHECK_FALSE(Reply{500, {}, {""}}.transient());
  }

  TEST_CASE("the named replies have the codes that PROTOCOL promises, class and code agree") {
    struct {
      Reply reply;
      std::string_view want;
    } cases[] = {
        {reply::greeting("h.example"), "220 h.example ESMTP"},
        {reply::helo("h.example"), "250 h.example"},
        {reply::ok(), "250 2.0.0 "},
        {reply::sender_ok(), "250 2.1.0 "},
        {reply::recipient_ok(), "250 2.1.5 "},
        {reply::start_input(), "354 "},
        {reply::queued("01JD"), "250 2.0.0 Ok: queued as 01JD"},
        {reply::start_tls(), "220 2.0.0 "},
        {reply::closing("h"), "221 2.0.0 h "},
        {reply::cannot_verify(), "252 2.0.0 "},
        {reply::help({"HELO EHLO"}), "214 2.0.0 HELO EHLO"},
        {reply::help({}), "214 2.0.0 "},
        {reply::unknown_command(), "500 5.5.2 "},
        {reply::line_too_long(), "500 5.5.2 "},
        {reply::not_offered("EXPN"), "502 5.5.1 EXPN "},
        {reply::bad_syntax("x"), "501 5.5.2 x"},
        {reply::bad_parameter("x"), "501 5.5.4 x"},
        {reply::unknown_parameter("FOO"), "555 5.5.4 "},
        {reply::bad_sequence("x"), "503 5.5.1 x"},
        {reply::no_valid_recipients(), "554 5.5.1 "},
        {reply::bad_sender_syntax("x"), "501 5.1.7 "},
        {reply::bad_recipient_syntax("x"), "501 5.1.3 "},
        {reply::needs_smtputf8(), "553 5.6.7 "},
        {reply::too_big(10), "552 5.3.4 "},
        {reply::too_many_recipients(), "452 4.5.3 "},
        {reply::relay_denied(), "554 5.7.1 "},
        {reply::authentication_required(), "530 5.7.0 "},
        {reply::percent_hack(), "550 5.7.1 "},
        {reply::unknown_recipient(), "550 5.1.1 "},
        {reply::unroutable_literal(), "550 5.1.2 "},
        {reply::protocol_error("x"), "554 5.5.0 x"},
        {reply::bad_content("x"), "554 5.6.0 x"},
        {reply::bare_line_end(), "550 5.6.0 "},
        {reply::loop(101), "554 5.4.6 "},
        {reply::insufficient_storage(), "452 4.3.1 "},
        {reply::tls_unavailable(), "454 4.7.0 "},
        {reply::local_error(), "451 4.3.0 "},
        {reply::too_many_errors("h"), "421 4.7.0 h "},
        {reply::too_many_connections("h"), "421 4.7.0 h "},
        {reply::injected("h"), "421 4.7.0 h "},
        {reply::idle("h"), "421 4.4.2 h "},
        {reply::shutting_down("h"), "421 4.3.2 h "},
        {reply::not_accepting("h"), "421 4.3.2 h "},
    };
    for (const auto& c : cases) {
      CAPTURE(c.want);
      CHECK(c.reply.wire().starts_with(c.want));
      if (c.reply.enhanced) CHECK(c.reply.enhanced->klass == c.reply.code / 100);
    }
    CHECK(reply::ehlo("h", {"SIZE 10", "8BITMIME"}).wire() == "250-h\r\n250-SIZE 10\r\n250 8BITMIME\r\n");
    CHECK(reply::unknown_parameter("A\r\nB").lines[0].find('\n') == std::string::npos);
  }
}
