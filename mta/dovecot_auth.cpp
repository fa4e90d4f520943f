#include "mta/dovecot_auth.h"

#include <utility>
#include <vector>

#include "base/base64.h"
#include "base/escape.h"
#include "base/text.h"
#include "mta/sasl.h"

namespace waypost::mta::dovecot {
namespace {

constexpr std::string_view kVersion = "1";  // the major one; within it commands and parameters are only added
constexpr std::string_view kRequest = "1";  // the number of the only request of a connection
constexpr std::size_t kShown = 100;         // octets of the server's text in the log
constexpr char kEscape = '\001';

/// The word before the next tab, taken off.
std::string_view take(std::string_view& rest) {
  const auto [word, after] = split_once(rest, '\t');
  rest = after;
  return word;
}

tl::unexpected<Error> broken(const std::string& what) {
  return fail(Errc::protocol, "Dovecot's authentication server: " + what);
}

/// What follows the request's number in OK and FAIL.
struct Parameters {
  std::string user, reason, code;
  bool temporary = false;
};

Parameters read_parameters(std::string_view rest) {
  Parameters out;
  while (!rest.empty()) {
    const std::string_view word = take(rest);
    const auto [name, value] = split_once(word, '=');
    if (name == "user") out.user = unescaped(value);
    if (name == "reason") out.reason = unescaped(value);
    if (name == "code") out.code = unescaped(value);
    // Before Dovecot 2.3 these were words of their own.
    if (name == "user_disabled" || name == "pass_expired") out.code = name;
    if (name == "temp") out.temporary = true;
  }
  if (out.code == "temp_fail") out.temporary = true;
  return out;
}

Result<std::optional<Answer>> on_success(std::string_view rest) {
  Parameters given = read_parameters(rest);
  // The name goes into the log, the queue and the rules of senders, as one that a client said would.
  if (!sasl::is_prepared(given.user, sasl::kLongestLogin)) return broken("OK without a name that a user can have");
  Answer answer;
  answer.login = std::move(given.user);
  return answer;
}

Result<std::optional<Answer>> on_failure(std::string_view rest) {
  const Parameters given = read_parameters(rest);
  const std::string& said = given.reason.empty() ? given.code : given.reason;
  const std::string shown = said.empty() ? "" : " (" + escape(said, kShown) + ")";
  if (given.temporary) return fail(Errc::busy, "Dovecot cannot look at passwords for now" + shown);
  Answer answer;
  answer.why = "bad credentials" + shown;
  return answer;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    const char* as = c == '\0'      ? "0"
                     : c == kEscape ? "1"
                     : c == '\t'    ? "t"
                     : c == '\r'    ? "r"
                     : c == '\n'    ? "n"
                                    : nullptr;
    if (as == nullptr)
      out += c;
    else
      out.append(1, kEscape).append(as);
  }
  return out;
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != kEscape) {
      out += text[i];
      continue;
    }
    if (++i == text.size()) break;
    const char c = text[i];
    out += c == '0' ? '\0' : c == '1' ? kEscape : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'n' ? '\n' : c;
  }
  return out;
}

std::string Dialogue::take_output() {
  if (!std::exchange(greeted_, true)) out_ = "VERSION\t1\t1\nCPID\t" + std::to_string(number_) + "\n";
  return std::exchange(out_, {});
}

Result<std::optional<Answer>> Dialogue::on_line(std::string_view line) {
  if (++lines_ > kMostLines || line.size() > kLongestLine) return broken("it says too much");
  const std::string_view command = take(line);
  if (!asked_) {
    const Result<> good = on_greeting(command, line);
    if (!good) return fail(good.error());
    return std::nullopt;
  }
  const bool is_reply = command == "OK" || command == "FAIL" || command == "CONT";
  if (!is_reply) return std::nullopt;  // what later versions may tell
  if (take(line) != kRequest) return broken("a reply to what was not asked");
  if (command == "OK") return on_success(line);
  if (command == "FAIL") return on_failure(line);
  return broken("PLAIN goes on after its response");
}

Result<> Dialogue::on_greeting(std::string_view command, std::string_view rest) {
  if (command == "VERSION") {
    const std::string_view major = take(rest);
    if (major != kVersion) return broken("its protocol has version " + escape(major, kShown) + ", not 1");
    has_version_ = true;
  }
  if (command == "MECH" && equals_no_case(take(rest), "PLAIN")) has_plain_ = true;
  if (command != "DONE") return {};
  if (!has_version_) return broken("it does not say its version");
  if (!has_plain_) return fail(Errc::unsupported, "Dovecot's authentication server does not offer PLAIN");
  asked_ = true;
  out_ += request();
  return {};
}

std::string Dialogue::request() const {
  std::string out = "AUTH\t" + std::string(kRequest) + "\tPLAIN\tservice=smtp\tnologin";
  if (question_.secured) out += "\tsecured";
  const auto end = [&out](const char* host, const char* port, const net::Address& address) {
    out += '\t' + std::string(host) + '=' + escaped(address.host());
    out += '\t' + std::string(port) + '=' + std::to_string(address.port);
  };
  end("lip", "lport", question_.local);
  end("rip", "rport", question_.client);
  // The response stands last: everything behind it would be taken for a part of it.
  const std::string nul(1, '\0');
  return out + "\tresp=" + base64_encode(nul + question_.login + nul + question_.password) + "\n";
}

}  // namespace waypost::mta::dovecot
