#include "mta/import_envelope.h"

#include <string>

#include <doctest/doctest.h>

#include "mta/sendmail_submit.h"

namespace waypost::mta {
namespace {

/// The MAIL command that the envelope makes, or the error.
std::string mail_of(const char* text) {
  const Result<smtp::Envelope> envelope = import_envelope(parse_json(text));
  return envelope ? mail_command(*envelope) : envelope.error().what;
}

/// The RCPT command, with "held: " before one that is; "-" where it does not wait.
std::string rcpt_of(const char* text) {
  const Result<std::optional<ImportRecipient>> waiting = import_recipient(parse_json(text));
  if (!waiting) return waiting.error().what;
  if (!*waiting) return "-";
  return ((*waiting)->held ? "held: " : "") + rcpt_command((*waiting)->recipient);
}

struct Row {
  const char* json;
  const char* want;
};

}  // namespace

TEST_SUITE("mta/import_envelope") {
  TEST_CASE("the envelope of a message") {
    const Row rows[] = {
        {R"({"from":"a@b.example"})", "MAIL FROM:<a@b.example>"},
        {R"({"from":""})", "MAIL FROM:<>"},
        {R"({"from":"\"a b\"@c.example","envid":"","ret":"","body":"7bit"})", "MAIL FROM:<\"a b\"@c.example>"},
        {R"({"from":"a@b.example","body":"8bitmime","smtputf8":true,"require_tls":true,"ret":"hdrs","envid":"QQ+2B1"})",
         "MAIL FROM:<a@b.example> BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=QQ+2B1"},
        {R"({"from":"gr\u00fcn@b.example","body":"binarymime","smtputf8":1})",
         "MAIL FROM:<gr\xc3\xbcn@b.example> BODY=BINARYMIME"},
        {R"({})", "no envelope of an export: it has no \"from\""},
        {R"([])", "no envelope of an export: it has no \"from\""},
        {R"({"from":1})", "no envelope of an export: it has no \"from\""},
        {R"({"from":"a b@c\r\nRSET"})", "no address: a b@c\\r\\nRSET"},
        {R"({"from":"a@b.example> SIZE=1"})", "no address: a@b.example> SIZE=1"},
        {R"({"from":"a@b.example","envid":"x y"})", "no value of ENVID: x y"},
        {R"({"from":"a@b.example","ret":"full\tENVID=x"})", "no value of RET: full\\tENVID=x"},
        {R"({"from":"a@b.example","envid":"x\u0000"})", "no value of ENVID: x\\x00"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.json);
      CHECK(mail_of(row.json) == row.want);
    }
    for (const char* bad : {R"({"from":"a@b.example","envid":"x+2"})", R"({"from":"a@b.example","body":"9bit"})",
                            R"({"from":"a@b.example","ret":"some"})"}) {
      CAPTURE(bad);
      CHECK(mail_of(bad).starts_with("501 5.5.4"));
    }
  }

  TEST_CASE("a recipient") {
    const Row rows[] = {
        {R"({"address":"a@b.example","state":"deferred"})", "RCPT TO:<a@b.example>"},
        {R"({"address":"a@b.example","state":"active","notify":"SUCCESS,DELAY","orcpt":"rfc822;x@b.example"})",
         "RCPT TO:<a@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@b.example"},
        {R"({"address":"a@b.example","state":"held","notify":"NEVER"})", "held: RCPT TO:<a@b.example> NOTIFY=NEVER"},
        {R"({"address":"a@b.example","state":"delivered"})", "-"},
        {R"({"address":"a@b.example"})", "-"},
        {R"([{"state":"held"}])", "-"},
        {R"({"state":"deferred"})", "no address: "},
        {R"({"address":"a@b.example\n","state":"held"})", "no address: a@b.example\\n"},
        {R"({"address":"a@b.example","state":"held","notify":"NEVER ORCPT=rfc822;x"})",
         "no value of NOTIFY: NEVER ORCPT=rfc822;x"},
        {R"({"address":"a@b.example","state":"held","orcpt":"rfc822;x\u007f"})", "no value of ORCPT: rfc822;x\\x7f"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.json);
      CHECK(rcpt_of(row.json) == row.want);
    }
    CHECK(rcpt_of(R"({"address":"a@b.example","state":"held","notify":"NEVER,DELAY"})").starts_with("501 5.5.4"));
  }

  TEST_CASE("JSON that is nested too deep is none, nor is any with a NUL; brackets in texts are no nesting") {
    const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
    CHECK(parse_json(nested(64)).is_array());
    CHECK(parse_json(nested(65)).is_discarded());
    CHECK(parse_json("{\"recipients\":" + nested(5'000'000) + "}").is_discarded());
    CHECK(parse_json("[\"\\\\\\\"" + std::string(100, '[') + "\"]").is_array());
    CHECK(parse_json("[" + std::string(100, ']')).is_discarded());
    CHECK(parse_json(std::string("[]\0]", 4)).is_discarded());
  }
}

}  // namespace waypost::mta
