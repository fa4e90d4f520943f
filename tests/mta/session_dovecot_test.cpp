// Logging in where Dovecot says who may: a session, and a server that answers as it is told.
#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include "base/base64.h"
#include "mta/dovecot_client.h"
#include "mta/session.h"
#include "net/line_buffer.h"
#include "net/scope.h"
#include "tests/support/harness.h"

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using tests::Harness;
using tests::HarnessOptions;

const net::Address kSocket = net::Address::local("/run/dovecot/auth-client");
constexpr std::string_view kWrong = "FAIL\t1\tuser=ann";

/// Listens while it lives.
class FakeDovecot {
 public:
  FakeDovecot(Harness& harness, const net::Address& at = kSocket)
      : harness_(harness), scope_(harness.runtime, rethrow) {
    Result<std::shared_ptr<net::ListenSocket>> socket = harness.runtime.listen(at);
    REQUIRE(socket);
    Result<std::unique_ptr<net::Listener>> listener = harness.runtime.accept_on(*socket);
    REQUIRE(listener);
    listener_ = *std::move(listener);
    scope_.spawn(accept(*this));
  }
  ~FakeDovecot() {
    listener_->close();
    for (net::Stream* stream : streams_) stream->close();
    harness_.runtime.run_until([this] { return scope_.running() == 0; });
  }

  std::string greeting = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nDONE\n";
  std::string reply = "OK\t1\tuser=ann";  ///< "": none comes; "CLOSE": the connection ends
  std::vector<std::string> asked;         ///< a line each
  std::vector<std::string> numbers;       ///< of the connections

 private:
  static void rethrow(std::string_view what) { throw std::runtime_error(std::string(what)); }

  static net::Task<> accept(FakeDovecot& self) {
    while (true) {
      Result<std::unique_ptr<net::Stream>> stream = co_await self.listener_->accept();
      if (!stream) co_return;
      self.scope_.spawn(serve(self, std::move(*stream)));
    }
  }

  static net::Task<> serve(FakeDovecot& self, std::unique_ptr<net::Stream> stream) {
    self.streams_.push_back(stream.get());
    net::LineBuffer lines(*stream);
    const std::string greeting = self.greeting;
    Result<> sent = co_await stream->write(greeting, net::TimePoint::max());
    while (sent) {
      Result<net::LineBuffer::Line> line = co_await lines.read_line(8192, net::TimePoint::max());
      if (!line) break;
      if (line->text.starts_with("CPID\t")) self.numbers.emplace_back(line->text);
      if (!line->text.starts_with("AUTH\t")) continue;
      self.asked.emplace_back(line->text);
      const std::string reply = self.reply + "\n";
      if (self.reply == "CLOSE") break;
      if (!self.reply.empty()) sent = co_await stream->write(reply, net::TimePoint::max());
    }
    std::erase(self.streams_, stream.get());
  }

  Harness& harness_;
  std::unique_ptr<net::Listener> listener_;
  std::vector<net::Stream*> streams_;
  net::Scope scope_;
};

HarnessOptions options(std::string at = kSocket.path) {
  HarnessOptions out;
  out.listener.role = conf::Role::submission;
  out.config.auth.dovecot = std::move(at);
  out.config.auth.require_tls = false;
  return out;
}

std::string plain(std::string_view login, std::string_view password) {
  return "AUTH PLAIN " + base64_encode('\0' + std::string(login) + '\0' + std::string(password));
}

TEST_SUITE("mta/session_dovecot") {
  TEST_CASE("PLAIN and LOGIN are offered, and asked of Dovecot") {
    Harness h(options());
    FakeDovecot dovecot(h);
    h.heard();
    CHECK(h.say("EHLO c.example").find("250-AUTH PLAIN LOGIN\r\n") != std::string::npos);
    CHECK(h.say("AUTH SCRAM-SHA-256").starts_with("504 5.5.4"));
    CHECK(h.say(plain("ann", "secret")).starts_with("235 2.7.0"));
    REQUIRE(dovecot.asked.size() == 1);
    CHECK(dovecot.asked[0] ==
          "AUTH\t1\tPLAIN\tservice=smtp\tnologin\tlip=203.0.113.25\tlport=25\trip=198.51.100.7\trport=40000\tresp=" +
              base64_encode("\0ann\0secret"s));

    Harness other(options());
    FakeDovecot same(other);
    other.greet();
    CHECK(Harness::codes(other.say({"AUTH LOGIN", base64_encode("bob"), base64_encode("hunter2")})) == "334 334 235");
    REQUIRE(same.asked.size() == 1);
    CHECK(same.asked[0].ends_with("\tresp=" + base64_encode("\0bob\0hunter2"s)));
  }

  TEST_CASE("the name that Dovecot has for the user is the login, with its own address alone as the sender") {
    for (bool held : {true, false}) {
      HarnessOptions with = options();
      with.config.auth.sender_must_match = held;
      Harness h(std::move(with));
      FakeDovecot dovecot(h);
      dovecot.reply = "OK\t1\tuser=ann@b.example";
      h.greet();
      CHECK(h.say(plain("ANN", "secret")).starts_with("235 2.7.0"));
      CHECK(h.say("MAIL FROM:<bob@b.example>").starts_with(held ? "553 5.7.1" : "250 2.1.0"));
      h.say("RSET");
      CHECK(Harness::codes(h.say({"MAIL FROM:<ann@b.example>", "RCPT TO:<r@far.example>", "DATA", "Subject: x", "",
                                  "text", "."})) == "250 250 354 250");
      REQUIRE(h.store.committed.size() == 1);
      CHECK(h.store.committed[0].message.origin.user == "ann@b.example");
    }
  }

  TEST_CASE("a wrong password is 535, whatever else Dovecot tells; trouble is 454, and the session goes on") {
    struct {
      std::string reply;
      std::string_view want;
    } const table[] = {
        {"OK\t1\tuser=ann", "235 2.7.0"},
        {std::string(kWrong), "535 5.7.8 Authentication credentials invalid\r\n"},
        {"FAIL\t1\tuser=ann\tcode=user_disabled\treason=too late", "535 5.7.8 Authentication credentials invalid\r\n"},
        {"FAIL\t1\tuser=ann\ttemp", "454 4.7.0"},
        {"FAIL\t1\tuser=ann\tcode=temp_fail", "454 4.7.0"},
        {"OK\t2\tuser=ann", "454 4.7.0"},
        {"OK\t1\tuser=", "454 4.7.0"},
        {"CONT\t1\t", "454 4.7.0"},
        {"CLOSE", "454 4.7.0"},
        {"OK\t1\tuser=ann\tx=" + std::string(8192, 'x'), "454 4.7.0"},
    };
    for (const auto& [reply, want] : table) {
      CAPTURE(reply);
      Harness h(options());
      FakeDovecot dovecot(h);
      dovecot.reply = reply;
      h.greet();
      CHECK(h.say(plain("ann", "secret")).starts_with(want));
      dovecot.reply = "OK\t1\tuser=ann";
      CHECK(h.say(plain("ann", "secret")).starts_with(want.starts_with("235") ? "503" : "235 2.7.0"));
    }
  }

  TEST_CASE("Dovecot is not there, says nothing, or speaks another protocol: 454") {
    {
      Harness h(options());
      h.greet();
      for (int i = 0; i < 12; ++i) CHECK(h.say(plain("ann", "secret")).starts_with("454 4.7.0"));
      FakeDovecot dovecot(h);
      CHECK(h.say(plain("ann", "secret")).starts_with("235 2.7.0"));
    }
    for (const char* greeting : {"VERSION\t2\t0\n", "VERSION\t1\t2\nDONE\n", "VERSION\t1\t2\nMECH\tLOGIN\nDONE\n"}) {
      CAPTURE(greeting);
      Harness h(options());
      FakeDovecot dovecot(h);
      dovecot.greeting = greeting;
      h.greet();
      CHECK(h.say(plain("ann", "secret")).starts_with("454 4.7.0"));
      CHECK(dovecot.asked.empty());
    }
    for (bool greets : {true, false}) {
      CAPTURE(greets);
      Harness h(options());
      FakeDovecot dovecot(h);
      dovecot.reply.clear();
      if (!greets) dovecot.greeting = "\n";
      h.greet();
      CHECK(h.say(plain("ann", "secret")).empty());
      h.runtime.advance(kDovecotTimeout - 1ms);
      CHECK(h.heard().empty());
      h.runtime.advance(1ms);
      CHECK(h.heard().starts_with("454 4.7.0"));
      CHECK(h.say("NOOP").starts_with("250"));
    }
  }

  TEST_CASE("by TCP") {
    for (const char* at : {"inet:127.0.0.1:1143", "inet:[::1]:1143"}) {
      CAPTURE(at);
      Harness h(options(at));
      FakeDovecot dovecot(h, *net::Address::parse(at[5] == '[' ? "::1" : "127.0.0.1", 1143));
      h.greet();
      CHECK(h.say(plain("ann", "secret")).starts_with("235 2.7.0"));
    }
  }

  TEST_CASE("who guesses waits before Dovecot is asked, by whatever case of the name") {
    Harness h(options());
    FakeDovecot dovecot(h);
    dovecot.reply = kWrong;
    h.greet();
    for (const char* name : {"ann", "Ann", "aNN"}) CHECK(h.say(plain(name, "wrong")).starts_with("535 5.7.8"));
    CHECK(h.say(plain("anN", "wrong")).empty());
    CHECK(dovecot.asked.size() == 3);
    h.runtime.advance(999ms);
    CHECK(dovecot.asked.size() == 3);
    h.runtime.advance(1ms);
    CHECK(dovecot.asked.size() == 4);
    CHECK(h.heard().starts_with("535 5.7.8"));
    CHECK(h.say(plain("ann", "wrong")).empty());
    h.runtime.advance(2s);
    CHECK(h.heard().starts_with("421 4.7.0"));
    CHECK(h.ended());
  }

  TEST_CASE("a stop ends a question that nobody answers") {
    Harness h(options());
    FakeDovecot dovecot(h);
    dovecot.reply.clear();
    h.greet();
    h.say(plain("ann", "secret"));
    h.stop();
    h.runtime.run_until_idle();
    CHECK(Harness::codes(h.heard()) == "454 421");
    CHECK(h.ended());
  }

  TEST_CASE("each question has a connection and a number of its own, and only so many are under way at once") {
    Harness h(options());
    FakeDovecot dovecot(h);
    dovecot.reply.clear();
    net::Scope scope(h.runtime, [](std::string_view) {});
    std::stop_source stop;
    std::vector<Errc> errors;
    const auto ask = [](Harness& harness, std::stop_token token, std::vector<Errc>& into) -> net::Task<> {
      dovecot::Question question;
      question.login = "ann";
      Result<dovecot::Answer> answer =
          co_await harness.auth.ask_dovecot(harness.runtime, kSocket.path, std::move(question), std::move(token));
      if (!answer) into.push_back(answer.error().code);
    };
    for (int i = 0; i < Authenticator::kMostAsking + 2; ++i) scope.spawn(ask(h, stop.get_token(), errors));
    h.runtime.run_until_idle();
    CHECK(dovecot.asked.size() == Authenticator::kMostAsking);
    CHECK(errors == std::vector<Errc>{Errc::busy, Errc::busy});
    std::sort(dovecot.numbers.begin(), dovecot.numbers.end());
    CHECK(std::adjacent_find(dovecot.numbers.begin(), dovecot.numbers.end()) == dovecot.numbers.end());
    stop.request_stop();
    h.runtime.run_until_idle();
    CHECK(scope.running() == 0);
    CHECK(errors.size() == Authenticator::kMostAsking + 2U);
  }
}

}  // namespace
}  // namespace waypost::mta
