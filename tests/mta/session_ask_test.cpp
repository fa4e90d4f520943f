// Recipients whose next hop is asked for them: a session, and a next hop that answers as it is told.
#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include "mta/recipient_asker.h"
#include "mta/session.h"
#include "net/line_buffer.h"
#include "net/scope.h"
#include "tests/support/harness.h"

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;
using Answer = RecipientAsker::Answer;
using tests::Harness;
using tests::HarnessOptions;

const net::Address kHost = *net::Address::parse("192.0.2.7", 25);
constexpr std::string_view kMail = "MAIL FROM:<s@c.example>";
constexpr std::string_view kKnown = "250 2.1.5 Ok\r\n";
constexpr std::string_view kUnknown = "550 5.1.1 Recipient address rejected: User unknown\r\n";
constexpr std::string_view kLater = "451 4.3.0 ";

/// Listens while it lives.
class NextHop {
 public:
  explicit NextHop(Harness& harness, const net::Address& at = kHost)
      : harness_(harness), scope_(harness.runtime, rethrow) {
    Result<std::shared_ptr<net::ListenSocket>> socket = harness.runtime.listen(at);
    REQUIRE(socket);
    Result<std::unique_ptr<net::Listener>> listener = harness.runtime.accept_on(*socket);
    REQUIRE(listener);
    listener_ = *std::move(listener);
    scope_.spawn(accept(*this));
  }
  ~NextHop() {
    listener_->close();
    for (net::Stream* stream : streams_) stream->close();
    harness_.runtime.run_until([this] { return scope_.running() == 0; });
  }

  /// By verb, "CONNECT" too, or by a whole line. "": none comes; "CLOSE": the connection ends.
  std::map<std::string, std::string> replies = {{"CONNECT", "220 mx.b.example ESMTP"},
                                                {"EHLO", "250 mx.b.example"},
                                                {"LHLO", "250 mx.b.example"},
                                                {"MAIL", "250 2.1.0 Ok"},
                                                {"RSET", "250 2.0.0 Ok"},
                                                {"RCPT", "550 5.1.1 no such user"},
                                                {"QUIT", "221 2.0.0 Bye"}};
  void knows(const std::string& address) { replies["RCPT TO:<" + address + ">"] = "250 2.1.5 Ok"; }
  net::Duration delay = 0s;        ///< of each reply
  std::vector<std::string> heard;  ///< lines
  std::size_t connections = 0, most_open = 0;
  std::size_t questions() const {
    return static_cast<std::size_t>(
        std::count_if(heard.begin(), heard.end(), [](const std::string& line) { return line.starts_with("RCPT"); }));
  }
  bool idle() const { return streams_.empty(); }

 private:
  static void rethrow(std::string_view what) { throw std::runtime_error(std::string(what)); }

  static net::Task<> accept(NextHop& self) {
    while (true) {
      Result<std::unique_ptr<net::Stream>> stream = co_await self.listener_->accept();
      if (!stream) co_return;
      self.scope_.spawn(serve(self, std::move(*stream)));
    }
  }

  static net::Task<> serve(NextHop& self, std::unique_ptr<net::Stream> stream) {
    ++self.connections;
    self.streams_.push_back(stream.get());
    self.most_open = std::max(self.most_open, self.streams_.size());
    net::LineBuffer lines(*stream);
    std::string said = "CONNECT";
    while (true) {
      const std::string verb = said.substr(0, said.find(' '));
      const std::string reply = self.replies.contains(said) ? self.replies.at(said) : self.replies.at(verb);
      if (reply == "CLOSE") break;
      const std::string wire = reply + "\r\n";
      if (self.delay > 0s) co_await self.harness_.runtime.sleep_for(self.delay, std::stop_token());
      if (!reply.empty()) {
        const Result<> sent = co_await stream->write(wire, net::TimePoint::max());
        if (!sent) break;
      }
      Result<net::LineBuffer::Line> line = co_await lines.read_line(2048, net::TimePoint::max());
      if (!line) break;
      said = line->text;
      self.heard.push_back(said);
    }
    std::erase(self.streams_, stream.get());
  }

  Harness& harness_;
  std::unique_ptr<net::Listener> listener_;
  std::vector<net::Stream*> streams_;
  net::Scope scope_;
};

conf::NextHop smtp_hop() {
  conf::NextHop out;
  out.host = {"192.0.2.7", 25};
  return out;
}

/// ask.example asks; there "info" is an alias, and "gone" has moved.
HarnessOptions options(conf::NextHop next_hop = smtp_hop()) {
  HarnessOptions out;
  conf::Domain domain;
  domain.name = "ask.example";
  domain.deliver = std::move(next_hop);
  domain.asks_next_hop = true;
  domain.sub_address = "+";
  domain.aliases["info"] = {{"ann@b.example", false}};
  domain.relocated["gone"] = "gone@far.example";
  out.config.domains.push_back(std::move(domain));
  return out;
}

/// Asks as a session does.
net::Task<> ask(Harness& h, std::string local, std::vector<Answer>& into) {
  smtp::Path path;
  path.mailbox = {std::move(local), "ask.example"};
  const Answer answer = co_await h.asker.ask(smtp_hop(), path, std::stop_token());
  into.push_back(answer);
}

/// What a session hears for the first recipient that it names.
std::string rcpt(Harness& h, const std::string& address) {
  h.say("RSET");
  h.say(kMail);
  return h.say("RCPT TO:<" + address + ">");
}

TEST_SUITE("mta/session_ask") {
  TEST_CASE("known is taken, unknown is 550 5.1.1, and neither is asked twice") {
    Harness h(options());
    NextHop hop(h);
    hop.knows("ann@ask.example");
    h.greet();
    CHECK(rcpt(h, "ann@ask.example") == kKnown);
    CHECK(rcpt(h, "bob@ask.example") == kUnknown);
    CHECK(hop.heard == std::vector<std::string>{"EHLO relay.example", "MAIL FROM:<>", "RCPT TO:<ann@ask.example>",
                                                "QUIT", "EHLO relay.example", "MAIL FROM:<>",
                                                "RCPT TO:<bob@ask.example>", "QUIT"});
    hop.heard.clear();
    for (int i = 0; i < 3; ++i) {
      CHECK(rcpt(h, "ann@ASK.example") == kKnown);
      CHECK(rcpt(h, "bob@ask.example") == kUnknown);
    }
    CHECK(hop.heard.empty());
    CHECK(hop.idle());
    CHECK(Harness::codes(h.say({"RSET", kMail, "RCPT TO:<ann@ask.example>", "DATA", "Subject: x", "", "text", "."})) ==
          "250 250 250 354 250");
    REQUIRE(h.store.committed.size() == 1);
    CHECK(h.store.committed[0].message.envelope.recipients.at(0).forward_path.text() == "ann@ask.example");
  }

  TEST_CASE("the local part is asked as it is given, with its case and its detail") {
    Harness h(options());
    NextHop hop(h);
    hop.knows("Ann@ask.example");
    hop.knows("\"odd name\"@ask.example");
    h.greet();
    CHECK(rcpt(h, "Ann@Ask.Example") == kKnown);
    CHECK(rcpt(h, "ann@ask.example") == kUnknown);
    CHECK(rcpt(h, "Ann+x@ask.example") == kUnknown);
    CHECK(rcpt(h, "\"odd name\"@ask.example") == kKnown);
    CHECK(hop.questions() == 4);
  }

  TEST_CASE("whom we know ourselves is not asked for: the postmaster, aliases, who has moved, other domains") {
    HarnessOptions with = options();
    with.config.postmaster = "boss@ask.example";
    Harness h(std::move(with));
    NextHop hop(h);
    h.greet();
    for (const char* address : {"postmaster@ask.example", "POSTMASTER@Ask.example", "Postmaster", "info@ask.example",
                                "INFO+x@ask.example", "r@b.example", "ann@known.example", "r@backup.example"}) {
      CAPTURE(address);
      CHECK(rcpt(h, address) == kKnown);
    }
    CHECK(rcpt(h, "gone@ask.example").starts_with("551 5.1.6"));
    CHECK(rcpt(h, "a%b@ask.example").starts_with("550 5.7.1"));
    CHECK(rcpt(h, "r@far.example").starts_with("554 5.7.1"));
    CHECK(hop.connections == 0);
    CHECK(rcpt(h, "boss@ask.example") == kUnknown);
  }

  TEST_CASE("those who may relay, and submission, are told the same") {
    for (conf::Role role : {conf::Role::mx, conf::Role::submission}) {
      HarnessOptions with = options();
      with.client = "192.0.2.1";
      with.listener.role = role;
      with.asks_dns = true;
      Harness h(std::move(with));
      NextHop hop(h);
      hop.knows("ann@ask.example");
      h.greet();
      CHECK(rcpt(h, "ann@ask.example") == kKnown);
      CHECK(rcpt(h, "bob@ask.example") == kUnknown);
      CHECK(h.dns.asked().empty());
    }
  }

  TEST_CASE("LMTP, by a socket and by TCP") {
    conf::NextHop socket;
    socket.kind = conf::NextHop::Kind::lmtp_socket;
    socket.value = "/run/lmtp";
    conf::NextHop tcp = smtp_hop();
    tcp.kind = conf::NextHop::Kind::lmtp_tcp;
    for (const conf::NextHop& next_hop : {socket, tcp}) {
      Harness h(options(next_hop));
      NextHop hop(h, next_hop.value.empty() ? kHost : net::Address::local(next_hop.value));
      hop.knows("ann@ask.example");
      h.greet();
      CHECK(rcpt(h, "ann@ask.example") == kKnown);
      CHECK(rcpt(h, "bob@ask.example") == kUnknown);
      CHECK(hop.heard.at(0) == "LHLO relay.example");
    }
  }

  TEST_CASE("what is no answer is 451 4.3.0, never 550, and is not kept") {
    const struct {
      const char* verb;
      const char* reply;
    } table[] = {
        {"CONNECT", "554 no service"},
        {"CONNECT", "421 busy"},
        {"CONNECT", "CLOSE"},
        {"CONNECT", "SSH-2.0-x"},
        {"CONNECT", "220 relay.example ESMTP"},  // ourselves
        {"EHLO", "421 busy"},
        {"EHLO", "CLOSE"},
        {"MAIL", "550 5.7.1 not of you"},
        {"MAIL", "451 4.3.0 later"},
        {"MAIL", "CLOSE"},
        {"RCPT", "450 4.2.0 greylisted"},
        {"RCPT", "421 4.3.2 closing"},
        {"RCPT", "554 5.7.1 relaying denied"},
        {"RCPT", "CLOSE"},
        {"RCPT", "hello"},
    };
    for (const auto& [verb, reply] : table) {
      CAPTURE(verb);
      CAPTURE(reply);
      Harness h(options());
      NextHop hop(h);
      const std::string usual = hop.replies[verb];
      hop.replies[verb] = reply;
      h.greet();
      CHECK(rcpt(h, "ann@ask.example").starts_with(kLater));
      CHECK(h.recipients.size() == 0);
      // Back after a pause.
      hop.replies[verb] = usual;
      hop.knows("ann@ask.example");
      h.runtime.advance(RecipientAsker::kPause);
      CHECK(rcpt(h, "ann@ask.example") == kKnown);
    }
  }

  TEST_CASE("EHLO and HELO are refused: 451; EHLO alone is: HELO does") {
    Harness h(options());
    NextHop hop(h);
    hop.knows("ann@ask.example");
    hop.replies["EHLO"] = "502 what?";
    hop.replies["HELO"] = "550 no";
    h.greet();
    CHECK(rcpt(h, "ann@ask.example").starts_with(kLater));
    h.runtime.advance(RecipientAsker::kPause);
    hop.replies["HELO"] = "250 mx.b.example";
    CHECK(rcpt(h, "ann@ask.example") == kKnown);
  }

  TEST_CASE("nobody is there: 451 at once, no new try for a while, and the session goes on") {
    Harness h(options());
    h.greet();
    CHECK(rcpt(h, "ann@ask.example").starts_with(kLater));
    NextHop hop(h);
    hop.knows("ann@ask.example");
    CHECK(rcpt(h, "ann@ask.example").starts_with(kLater));
    h.runtime.advance(RecipientAsker::kPause - 1ms);
    CHECK(rcpt(h, "bob@ask.example").starts_with(kLater));
    CHECK(hop.connections == 0);
    h.runtime.advance(1ms);
    CHECK(rcpt(h, "ann@ask.example") == kKnown);
    CHECK(h.say("RCPT TO:<r@b.example>") == kKnown);
  }

  TEST_CASE("a next hop that is silent, at any point, costs the budget and no more") {
    for (const char* verb : {"CONNECT", "EHLO", "MAIL", "RCPT"}) {
      CAPTURE(verb);
      Harness h(options());
      NextHop hop(h);
      hop.replies[verb] = "";
      h.greet();
      CHECK(rcpt(h, "ann@ask.example").empty());
      h.runtime.advance(RecipientAsker::kBudget - 1ms);
      CHECK(h.heard().empty());
      h.runtime.advance(1ms);
      CHECK(h.heard().starts_with(kLater));
      CHECK(hop.idle());
    }
    Harness h(options());
    h.runtime.black_hole(kHost);
    h.greet();
    CHECK(rcpt(h, "ann@ask.example").empty());
    h.runtime.advance(RecipientAsker::kConnect);
    CHECK(h.heard().starts_with(kLater));
  }

  TEST_CASE("a next hop that is slow at each step has the budget for all of them together") {
    Harness h(options());
    NextHop hop(h);
    hop.knows("ann@ask.example");
    hop.delay = RecipientAsker::kBudget / 4;
    h.greet();
    CHECK(rcpt(h, "ann@ask.example").empty());
    h.runtime.advance(RecipientAsker::kBudget - 1ms);
    CHECK(h.heard().empty());
    CHECK_FALSE(hop.idle());
    h.runtime.advance(1ms);
    CHECK(h.heard().starts_with(kLater));
    CHECK_FALSE(h.asker.running());

    Harness other(options());
    NextHop slow(other);
    slow.knows("ann@ask.example");
    slow.delay = RecipientAsker::kBudget / 5;
    other.greet();
    CHECK(rcpt(other, "ann@ask.example").empty());
    other.runtime.advance(RecipientAsker::kBudget - 1ms);
    CHECK(other.heard() == kKnown);
  }

  TEST_CASE("exchangers of a name are tried in their order") {
    conf::NextHop named = smtp_hop();
    named.host.host = "two.example";
    named.look_up_mx = true;
    Harness h(options(named));
    h.dns.add_mx("two.example", {{20, "mx2.example"}, {10, "mx1.example"}});
    h.dns.add_host("mx1.example", {"192.0.2.6"});
    h.dns.add_host("mx2.example", {"192.0.2.7"});
    h.runtime.black_hole(*net::Address::parse("192.0.2.6", 25));
    NextHop hop(h);
    hop.knows("ann@ask.example");
    h.greet();
    CHECK(rcpt(h, "ann@ask.example").empty());
    h.runtime.advance(RecipientAsker::kConnect);
    CHECK(h.heard() == kKnown);

    named.host.host = "nowhere.example";
    Harness other(options(named));
    other.greet();
    CHECK(rcpt(other, "ann@ask.example").starts_with(kLater));
  }

  TEST_CASE("a known one is asked for anew after a day, and stays known for a week where nobody can be asked") {
    HarnessOptions with = options();
    with.config.limits.command_timeout = 30 * 24h;
    Harness h(std::move(with));
    h.greet();
    {
      NextHop hop(h);
      hop.knows("ann@ask.example");
      CHECK(rcpt(h, "ann@ask.example") == kKnown);
      CHECK(rcpt(h, "bob@ask.example") == kUnknown);
      h.runtime.advance(RecipientCache::kUnknown);
      hop.knows("bob@ask.example");
      CHECK(rcpt(h, "bob@ask.example") == kKnown);
      h.runtime.advance(RecipientCache::kKnown);
      CHECK(rcpt(h, "ann@ask.example") == kKnown);
      CHECK(hop.questions() == 4);
    }
    h.runtime.advance(RecipientCache::kKept - 1ms);
    CHECK(rcpt(h, "ann@ask.example") == kKnown);
    h.runtime.advance(RecipientAsker::kPause);
    CHECK(rcpt(h, "ann@ask.example").starts_with(kLater));
    // Who was known and is not any more.
    NextHop hop(h);
    h.runtime.advance(RecipientAsker::kPause);
    CHECK(rcpt(h, "bob@ask.example") == kUnknown);
  }

  TEST_CASE("another next hop for the domain has all to say anew") {
    Harness h(options());
    NextHop hop(h);
    hop.knows("ann@ask.example");
    h.greet();
    CHECK(rcpt(h, "ann@ask.example") == kKnown);
    conf::NextHop second = smtp_hop();
    second.host.port = 26;
    NextHop other(h, *net::Address::parse("192.0.2.7", 26));
    h.configure(options(second).config);
    CHECK(rcpt(h, "ann@ask.example") == kUnknown);
    CHECK(other.questions() == 1);
  }

  TEST_CASE("a stranger whom the checks refuse asks nobody") {
    HarnessOptions with = options();
    with.asks_dns = true;
    with.config.checks.lists.resize(1);
    with.config.checks.lists[0].zone = "list.example";
    Harness h(std::move(with));
    NextHop hop(h);
    hop.knows("ann@ask.example");
    h.dns.add_host("7.100.51.198.list.example", {"127.0.0.2"});
    h.greet();
    CHECK(rcpt(h, "ann@ask.example").starts_with("554 5.7.1"));
    CHECK(rcpt(h, "ann@ask.example").starts_with("554 5.7.1"));
    CHECK(hop.connections == 0);
  }

  TEST_CASE("who guesses names is sent away as where there is a list") {
    Harness h(options());
    NextHop hop(h);
    h.greet();
    h.say(kMail);
    std::string last;
    for (int i = 0; i < Session::kMaxUnknownRecipients; ++i) {
      last = h.say("RCPT TO:<u" + std::to_string(i) + "@ask.example>");
    }
    CHECK(last.starts_with("421 4.7.0"));
    CHECK(h.ended());
  }

  TEST_CASE("a pipelined group is answered in its order") {
    Harness h(options());
    NextHop hop(h);
    hop.knows("ann@ask.example");
    h.greet();
    CHECK(h.send("MAIL FROM:<s@c.example>\r\nRCPT TO:<ann@ask.example>\r\nRCPT TO:<bob@ask.example>\r\n"
                 "RCPT TO:<r@b.example>\r\nRCPT TO:<ann@ask.example>\r\n") ==
          "250 2.1.0 Ok\r\n" + std::string(kKnown) + std::string(kUnknown) + std::string(kKnown) + std::string(kKnown));
  }

  TEST_CASE("an address that is not ASCII is asked with SMTPUTF8, or is nobody's where that is not offered") {
    Harness h(options());
    NextHop hop(h);
    hop.replies["EHLO"] = "250-mx.b.example\r\n250 SMTPUTF8";
    std::vector<Answer> answers;
    net::Scope scope(h.runtime, [](std::string_view) {});
    hop.knows("j\xC3\xBCrgen@ask.example");
    scope.spawn(ask(h, "j\xC3\xBCrgen", answers));
    h.runtime.run_until_idle();
    CHECK(hop.heard.at(1) == "MAIL FROM:<> SMTPUTF8");
    hop.replies["EHLO"] = "250 mx.b.example";
    scope.spawn(ask(h, "j\xC3\xB6rg", answers));
    h.runtime.run_until_idle();
    CHECK(answers == std::vector<Answer>{Answer::known, Answer::unknown});
    CHECK(hop.questions() == 1);
  }

  TEST_CASE("many at once: a question once, two connections, used again, and no more than wait") {
    Harness h(options());
    NextHop hop(h);
    hop.knows("u0@ask.example");
    std::vector<Answer> answers;
    net::Scope scope(h.runtime, [](std::string_view what) { throw std::runtime_error(std::string(what)); });
    const int most = static_cast<int>(RecipientAsker::kMostWaiting) + 2;  // two are being asked
    for (int i = 0; i < most + 3; ++i) scope.spawn(ask(h, "u" + std::to_string(i), answers));
    CHECK(answers == std::vector<Answer>{Answer::undecided, Answer::undecided, Answer::undecided});
    for (int i = 0; i < 10; ++i) scope.spawn(ask(h, "u0", answers));
    h.runtime.run_until_idle();
    CHECK(scope.running() == 0);
    CHECK(hop.questions() == static_cast<std::size_t>(most));
    CHECK(hop.connections == 2);
    CHECK(hop.most_open == 2);
    CHECK(std::count(answers.begin(), answers.end(), Answer::known) == 11);
    CHECK(std::count(answers.begin(), answers.end(), Answer::unknown) == most - 1);
    CHECK(std::count(hop.heard.begin(), hop.heard.end(), "RSET") == most - 2);
    CHECK(std::count(hop.heard.begin(), hop.heard.end(), "QUIT") == 2);
  }

  TEST_CASE("a host that has enough of a session is asked over a new one") {
    for (const char* reply : {"CLOSE", "421 4.7.0 enough", "500 what?"}) {
      CAPTURE(reply);
      Harness h(options());
      NextHop hop(h);
      hop.replies["RSET"] = reply;
      std::vector<Answer> answers;
      net::Scope scope(h.runtime, [](std::string_view) {});
      for (int i = 0; i < 6; ++i) scope.spawn(ask(h, "u" + std::to_string(i), answers));
      h.runtime.run_until_idle();
      CHECK(answers == std::vector<Answer>(6, Answer::unknown));
      CHECK(hop.connections == 6);
    }
  }

  TEST_CASE("a next hop that fails is told of once, for all that wait for it") {
    Harness h(options());
    NextHop hop(h);
    hop.replies["EHLO"] = "421 busy";
    std::vector<Answer> answers;
    net::Scope scope(h.runtime, [](std::string_view) {});
    for (int i = 0; i < 50; ++i) scope.spawn(ask(h, "u" + std::to_string(i), answers));
    h.runtime.run_until_idle();
    CHECK(answers == std::vector<Answer>(50, Answer::undecided));
    CHECK(hop.connections == 2);
  }

  TEST_CASE("a stop ends a question that nobody answers") {
    Harness h(options());
    NextHop hop(h);
    hop.replies["RCPT"] = "";
    h.greet();
    CHECK(rcpt(h, "ann@ask.example").empty());
    h.stop();
    h.runtime.run_until_idle();
    CHECK(Harness::codes(h.heard()) == "451 421");
    CHECK(h.ended());
    CHECK(h.asker.running());
    h.asker.stop();
    h.runtime.run_until_idle();
    CHECK_FALSE(h.asker.running());
    CHECK(hop.idle());
  }
}

}  // namespace
}  // namespace waypost::mta
