// tests/fuzz/dovecot.cpp: what Dovecot's authentication server says. Nobody is let in but by OK to what was asked,
// after a greeting of version 1 that has PLAIN; a name is fit to be one; why not is one line for the log. And escapes.
// Over a stream, in any pieces, its answer is the same as line by line, and comes in time.
//
// On the stream some octets are not sent: RS (0x1E) ends a piece, GS (0x1D) lets 10 seconds pass, FS (0x1C) stops the
// client, ESC (0x1B) closes the server's end; SUB (0x1A) stands for 5,000 octets of a line.
// Covers: mta/dovecot_auth.cpp mta/dovecot_client.cpp
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "mta/dovecot_auth.h"
#include "mta/dovecot_client.h"
#include "mta/sasl.h"
#include "net/memory_stream.h"
#include "net/scope.h"
#include "tests/fuzz/input.h"
#include "tests/support/virtual_runtime.h"

using namespace waypost;

namespace {

void check_answer(const Result<std::optional<mta::dovecot::Answer>>& answer, std::string_view line, bool asked) {
  if (!answer) {
    fuzz::check(fuzz::is_one_line(answer.error().what), "trouble is told in one line");
    return;
  }
  if (!*answer) return;
  fuzz::check(asked, "there is no answer before a question");
  const std::string& login = (*answer)->login;
  fuzz::check(line.starts_with(login.empty() ? "FAIL\t1" : "OK\t1\t"), "an answer is one to our question");
  fuzz::check(fuzz::is_one_line((*answer)->why), "why not is one line");
  if (login.empty()) return;
  fuzz::check(mta::sasl::is_prepared(login, mta::sasl::kLongestLogin), "a name is one that a user can have");
  fuzz::check(line.find("\tuser=") != std::string_view::npos, "which was told");
}

mta::dovecot::Question question() {
  mta::dovecot::Question out;
  out.login = "ann";
  out.password = "secret";
  return out;
}

using Answered = std::optional<Result<mta::dovecot::Answer>>;

/// What comes of lines, and in `out` what is written meanwhile; nullopt: more are due.
Answered by_lines(std::string_view said, std::string& out) {
  mta::dovecot::Dialogue dialogue(1, question());
  dialogue.take_output();
  for (std::size_t end = said.find('\n'); end != std::string_view::npos; end = said.find('\n')) {
    std::string_view line = said.substr(0, end);
    said.remove_prefix(end + 1);
    if (line.size() >= mta::dovecot::kLongestLine) return fail(Errc::protocol, "a line is too long");
    if (line.ends_with('\r')) line.remove_suffix(1);
    Result<std::optional<mta::dovecot::Answer>> answer = dialogue.on_line(line);
    if (!answer) return fail(answer.error());
    if (*answer) return **std::move(answer);
    out += dialogue.take_output();
  }
  return std::nullopt;
}

/// Every connect() reaches the one server.
class OneServerRuntime : public tests::VirtualRuntime {
 public:
  OneServerRuntime() {
    std::pair<std::unique_ptr<net::Stream>, std::unique_ptr<net::Stream>> ends = net::memory_pair(*this, {});
    client_ = std::move(ends.first);
    server = std::move(ends.second);
  }
  net::Task<Result<std::unique_ptr<net::Stream>>> connect(net::Address, std::optional<net::Address>, net::TimePoint,
                                                          std::stop_token) override {
    fuzz::check(client_ != nullptr, "one connection is made");
    co_return std::move(client_);
  }
  std::unique_ptr<net::Stream> server;

 private:
  std::unique_ptr<net::Stream> client_;
};

constexpr const char* kServer = "/run/dovecot/auth";

net::Task<> ask(net::Runtime& runtime, std::stop_token stop, Answered& answered) {
  Result<mta::dovecot::Answer> answer = co_await mta::ask_dovecot(runtime, kServer, question(), stop);
  answered = std::move(answer);
}

net::Task<> hear(net::Stream& stream, std::string& heard) {
  char buffer[1024];
  while (true) {
    std::span<char> into(buffer);
    Result<std::size_t> got = co_await stream.read(into, net::TimePoint::max());
    if (!got || *got == 0) co_return;
    heard.append(buffer, *got);
  }
}

net::Task<> say(net::Stream& stream, std::string octets) {
  std::string_view piece = octets;
  Result<> said = co_await stream.write(piece, net::TimePoint::max());
  (void)said;  // the client may have gone
}

void check_heard(std::string_view heard, std::string_view request) {
  constexpr std::string_view kGreeting = "VERSION\t1\t1\nCPID\t";
  fuzz::check(heard.starts_with(kGreeting), "the client greets on the stream");
  heard.remove_prefix(kGreeting.size());
  const std::size_t end = std::min(heard.find('\n'), heard.size());
  fuzz::check(
      end > 0 && end <= 10 && std::all_of(heard.begin(), heard.begin() + static_cast<std::ptrdiff_t>(end), is_digit),
      "with a number");
  fuzz::check(heard.substr(std::min(end + 1, heard.size())) == request, "and asks what it asks line by line");
}

void check_stream(std::string_view input) {
  OneServerRuntime runtime;
  net::Scope scope(runtime, [](std::string_view) { fuzz::check(false, "nothing throws"); });
  std::stop_source stop;
  Answered answered;
  std::string said, heard, piece;
  scope.spawn(ask(runtime, stop.get_token(), answered));
  scope.spawn(hear(*runtime.server, heard));
  runtime.run_until_idle();

  const auto send = [&] {
    if (piece.empty()) return;
    said += piece;
    scope.spawn(say(*runtime.server, std::exchange(piece, {})));
    runtime.run_until_idle();
  };
  std::optional<Errc> otherwise;  // what ends it where no answer does
  int fillers = 0;
  for (char c : input) {
    if (c == '\x1A' && ++fillers <= 4) piece.append(5000, 'x');
    if (c < '\x1A' || c > '\x1E') piece += c;
    if (c < '\x1B' || c > '\x1E') continue;
    send();
    if (c == '\x1B') otherwise = Errc::closed;
    if (c == '\x1C') otherwise = Errc::cancelled;
    if (c == '\x1D') runtime.advance(std::chrono::seconds(10));
    if (runtime.now() >= net::TimePoint{} + mta::kDovecotTimeout) otherwise = Errc::timed_out;
    if (otherwise) break;
  }
  send();
  if (otherwise == Errc::closed) runtime.server->close();
  if (otherwise == Errc::cancelled) stop.request_stop();
  if (!otherwise) runtime.advance(mta::kDovecotTimeout);
  runtime.run_until_idle();

  fuzz::check(answered.has_value(), "there is an answer in time");
  std::string request;
  const Answered want = by_lines(said, request);
  check_heard(heard, request);
  if (want && *want) {
    fuzz::check(answered->has_value(), "pieces have the answer that lines have");
    fuzz::check((**answered).login == (**want).login && (**answered).why == (**want).why, "the same");
  } else {
    fuzz::check(!*answered, "pieces have an error where lines have none but that");
    const Error& error = answered->error();
    fuzz::check(error.code == (want ? want->error().code : otherwise.value_or(Errc::timed_out)), "of the same kind");
    const std::string prefix = std::string("asking Dovecot at ") + kServer + ": ";
    fuzz::check(error.what.starts_with(prefix) && fuzz::is_one_line(error.what), "which names the server in one line");
    fuzz::check(!want || error.what.substr(prefix.size()) == want->error().what, "and says the same");
  }
  runtime.server->close();
  runtime.run_until_idle();
  fuzz::check(scope.running() == 0, "and nothing goes on");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = fuzz::view(data, size);
  fuzz::check(mta::dovecot::unescaped(mta::dovecot::escaped(input)) == input, "what is escaped comes back");
  fuzz::check(mta::dovecot::escaped(input).find_first_of(std::string_view("\0\t\r\n", 4)) == std::string::npos,
              "and stands between tabs");

  check_stream(input);
  mta::dovecot::Dialogue dialogue(1, question());
  fuzz::check(dialogue.take_output() == "VERSION\t1\t1\nCPID\t1\n", "the client greets");
  bool asked = false, has_version = false, has_plain = false;
  for (std::string_view line : split(input, '\n')) {
    const Result<std::optional<mta::dovecot::Answer>> answer = dialogue.on_line(line);
    check_answer(answer, line, asked);
    if (!answer || *answer) break;
    const std::string out = dialogue.take_output();
    has_version = has_version || line == "VERSION\t1" || line.starts_with("VERSION\t1\t");
    has_plain = has_plain || line.starts_with("MECH\t");
    if (out.empty()) continue;
    fuzz::check(!asked && has_version && has_plain && split_once(line, '\t').first == "DONE",
                "one question, when it may be asked");
    fuzz::check(out.find('\n') == out.size() - 1 && out.size() <= mta::dovecot::kLongestLine, "of one line");
    asked = true;
  }
  return 0;
}
