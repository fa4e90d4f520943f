#include "delivery/local.h"

#include <doctest/doctest.h>

#include "tests/delivery/folder.h"
#include "tests/delivery/stored_message.h"
#include "tests/support/virtual_runtime.h"

using namespace waypost;
using namespace waypost::delivery;
using queue::Event;
using tests::names_in;
using tests::octets_of;

namespace {

struct Harness {
  tests::VirtualRuntime runtime;
  tests::TemporaryFolder root;
  tests::StoredMessage message;

  Outcome deliver() {
    std::string path_template = root.path() + "/{domain}/{local}";
    return runtime.complete(deliver_to_maildir(runtime, queue::open_folder, path_template, message.info,
                                               message.recipients[0], *message.content, message.opener(runtime),
                                               "relay.example"));
  }
  std::string maildir() const { return root.path() + "/b.example/r1"; }
  /// What is in new/, if it is one file and tmp/ is empty.
  std::string delivered() const {
    std::vector<std::string> names = names_in(maildir() + "/new");
    if (names.size() != 1 || !names_in(maildir() + "/tmp").empty()) return "not one file";
    return octets_of(maildir() + "/new/" + names[0]);
  }
};

std::string lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "line " + std::to_string(i) + "\r\n";
  return text;
}

std::string with_lf(std::string text) {
  std::erase(text, '\r');
  return text;
}

}  // namespace

TEST_SUITE("delivery/local") {
  TEST_CASE("Return-Path, Delivered-To, the trace, then the body as it came [RFC 5321 4.4]") {
    Harness h;
    Outcome outcome = h.deliver();
    CHECK(outcome.event == Event::attempt_delivered);
    CHECK(outcome.status == "2.0.0");
    CHECK(outcome.host == "maildir");
    CHECK(h.delivered() ==
          "Return-Path: <s@a.example>\nDelivered-To: r1@b.example\nReceived: by relay.example; now\n"
          "Subject: hello\n\ntext\n");
  }

  TEST_CASE("a null reverse-path, a Return-Path that came with the message") {
    Harness h;
    h.message.set_sender("");
    h.message.set_body("Return-Path: <evil@x.example>\r\nX: 1\r\n\r\nReturn-Path: kept\r\n");
    CHECK(h.deliver().event == Event::attempt_delivered);
    CHECK(h.delivered() ==
          "Return-Path: <>\nDelivered-To: r1@b.example\nReceived: by relay.example; now\n"
          "X: 1\n\nReturn-Path: kept\n");
  }

  TEST_CASE("a message in a spool file, larger than what is gathered; an empty one") {
    Harness h;
    std::string body = "Subject: long\r\n\r\n" + lines(100'000);
    h.message.set_body_in_file(body);
    CHECK(h.deliver().event == Event::attempt_delivered);
    CHECK(h.delivered().ends_with("now\n" + with_lf(body)));

    Harness empty;
    empty.message.set_body("");
    CHECK(empty.deliver().event == Event::attempt_delivered);
    CHECK(empty.delivered().ends_with("now\n"));
  }

  TEST_CASE("Delivered-To of this mailbox: a loop, failed 5.4.6, nothing delivered") {
    for (bool in_file : {false, true}) {
      for (const char* field :
           {"Delivered-To: r1@b.example", "delivered-to:  r1@B.EXAMPLE ", "Delivered-To:\r\n r1@b.example"}) {
        CAPTURE(field);
        Harness h;
        std::string body = std::string(field) + "\r\nSubject: x\r\n\r\n" + lines(50'000);
        in_file ? h.message.set_body_in_file(body) : h.message.set_body(body);
        Outcome outcome = h.deliver();
        CHECK(outcome.event == Event::attempt_failed);
        CHECK(outcome.status == "5.4.6");
        CHECK_FALSE(outcome.try_next_host);
        CHECK(names_in(h.maildir() + "/new").empty());
        CHECK(names_in(h.maildir() + "/tmp").empty());
      }
    }
  }

  TEST_CASE("Delivered-To of others, or in the text, is no loop") {
    Harness h;
    h.message.set_body(
        "Delivered-To: r2@b.example\r\nDelivered-To: R1@b.example\r\nDelivered-To: junk\r\n\r\n"
        "Delivered-To: r1@b.example\r\n");
    CHECK(h.deliver().event == Event::attempt_delivered);
  }

  TEST_CASE("a damaged body is deferred and leaves nothing behind [F14]") {
    for (bool in_file : {false, true}) {
      Harness h;
      in_file ? h.message.set_body_in_file(lines(100'000)) : h.message.set_body("x\r\n");
      h.message.damage();
      Outcome outcome = h.deliver();
      CHECK(outcome.event == Event::attempt_deferred);
      CHECK(outcome.status == "4.3.0");
      CHECK(outcome.host == "maildir");
      CHECK(names_in(h.maildir() + "/new").empty());
      CHECK(names_in(h.maildir() + "/tmp").empty());
    }
  }

  TEST_CASE("a Maildir that cannot be made defers") {
    Harness h;
    std::ofstream(h.root.path() + "/b.example") << "a file";
    Outcome outcome = h.deliver();
    CHECK(outcome.event == Event::attempt_deferred);
    CHECK(outcome.status == "4.3.0");
    CHECK_FALSE(outcome.reply.empty());
  }

  TEST_CASE("the same message twice is two files") {
    Harness h;
    CHECK(h.deliver().event == Event::attempt_delivered);
    CHECK(h.deliver().event == Event::attempt_delivered);
    CHECK(names_in(h.maildir() + "/new").size() == 2);
  }
}
