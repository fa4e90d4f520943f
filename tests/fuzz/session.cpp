// tests/fuzz/session.cpp: a client that sends anything, in pieces of its choice, to a whole inbound session.
//
// The first octet says who it is and what the listener is like; with bit 5 the client is a balancer, whose connections
// begin with a header of the PROXY protocol, with bit 6 it may use XCLIENT. With bit 7 clients and domains are looked
// up in the DNS, and the second octet says what that answers; see answer_dns(). In the rest some octets are not sent:
// RS (0x1E) ends a piece, so that the session answers before the next one; GS (0x1D) lets half a minute pass; US (0x1F)
// holds commits back, or lets them go; FS (0x1C) stops the server; ESC (0x1B) fails commits for want of room, then for
// an error of the disk, then no more; SUB (0x1A) does so with what is written to spool files. Covers: mta/session.cpp
// mta/session_envelope.cpp mta/session_data.cpp mta/session_auth.cpp mta/session_proxy.cpp mta/session_checks.cpp
// mta/checks.cpp mta/policy.cpp mta/limits.cpp net/line_buffer.cpp queue/body.cpp
#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "conf/config.h"
#include "conf/values.h"
#include "mta/scram.h"
#include "net/proxy_header.h"
#include "resolver/name.h"
#include "smtp/header_scan.h"
#include "tests/fuzz/input.h"
#include "tests/support/harness.h"
#include "tests/support/temporary_folder.h"

using namespace waypost;

namespace {

constexpr std::uint64_t kMaxMessage = 600;
constexpr std::uint8_t kProxy = 32, kXclient = 64, kDns = 128;
constexpr std::uint8_t kListed = 1, kTrouble = 32, kSlow = 64;  ///< of what the DNS answers

/// Who may log in: ann, whose password is "secret", by a verifier that costs nothing.
const std::string& users_file() {
  static const tests::TemporaryFolder folder;
  static const std::string path = [] {
    std::string name = folder.path() + "/users";
    std::ofstream(name) << "ann:*:" << mta::scram::text(mta::scram::make_verifier("secret", "salt", 1)) << "\n";
    return name;
  }();
  return path;
}

tests::HarnessOptions options(std::uint8_t octet) {
  tests::HarnessOptions out;
  out.client = (octet & 1) != 0 ? "192.0.2.1" : "2001:db8::7";
  out.listener.role = (octet & 2) != 0 ? conf::Role::submission : conf::Role::mx;
  out.listener.reject_bare_newline = (octet & 4) != 0;
  out.inline_limit = (octet & 8) != 0 ? 64 : 64 * 1024;
  out.config.limits.message_size = kMaxMessage;
  out.config.limits.recipients = 4;
  if ((octet & 16) != 0) {
    out.listener.auth = true;
    out.config.auth.users = users_file();
    out.config.auth.require_tls = false;
  }
  const std::vector<conf::Network> everybody = {*conf::parse_network("0.0.0.0/0"), *conf::parse_network("::/0")};
  if ((octet & kProxy) != 0) out.listener.proxy = everybody;
  if ((octet & kXclient) != 0) out.listener.xclient = everybody;
  if ((octet & kDns) != 0) {
    out.asks_dns = true;
    conf::Config::Checks& checks = out.config.checks;
    checks.lists.push_back({"list.example", {}, 1});
    checks.helo = conf::Config::Checks::Helo::resolves;
    checks.reverse_dns = checks.sender_domain = true;
  }
  return out;
}

/// Bit 0: the stranger is on the list. Bit 1: its address has a name, which leads back. Bit 2: so has what it calls
/// itself, c.example. Bit 3: a.example takes mail; bit 4: it says that it takes none. Bit 5: questions fail, bit 6:
/// they take 3 seconds, each.
void answer_dns(tests::FakeResolver& dns, const std::string& client, std::uint8_t octet) {
  const net::Address address = *net::Address::parse(client, 0);
  if ((octet & kListed) != 0) dns.add_host(resolver::reversed(address) + ".list.example", {"127.0.0.2"});
  if ((octet & 2) != 0) {
    dns.add_ptr(client, "c.example");
    dns.add_host("c.example", {client});
  }
  if ((octet & 4) != 0) dns.add_host("c.example", {"192.0.2.9"});
  if ((octet & 8) != 0) dns.add_mx("a.example", {{10, "c.example"}});
  if ((octet & 16) != 0) dns.add_mx("a.example", {{0, ""}});
  if ((octet & kTrouble) != 0) dns.lose_servers();
  if ((octet & kSlow) != 0) dns.delay("", std::chrono::seconds(3));
}

/// Whom a client on the list may write to all the same.
bool is_to_postmaster(const smtp::Envelope& envelope) {
  return std::all_of(envelope.recipients.begin(), envelope.recipients.end(), [](const auto& each) {
    const std::string local = to_lower(each.forward_path.mailbox.local);
    return local == "postmaster" || local == "pm";
  });
}

/// A header of the PROXY protocol that is whole, and one.
bool has_proxy_header(std::string_view sent) {
  std::string_view header;
  while (const std::size_t lacks = net::proxy_header_lacks(header)) {
    if (sent.size() - header.size() < lacks) return false;
    header = sent.substr(0, header.size() + lacks);
  }
  return net::parse_proxy_header(header).has_value();
}

/// A reply line: `250-text` or `250 text` (RFC 5321 §4.2), printable, at most 512 octets with CRLF.
void check_line(std::string_view line) {
  fuzz::check(line.size() >= 4 && line.size() <= 510, "a reply line is of a proper length");
  fuzz::check(line[0] >= '2' && line[0] <= '5' && is_digit(line[1]) && is_digit(line[2]), "it has a code");
  fuzz::check(line[3] == ' ' || line[3] == '-', "a space or a hyphen follows the code");
  bool printable = std::all_of(line.begin(), line.end(), [](char c) { return c >= ' ' && c != 0x7F; });
  fuzz::check(printable, "nothing that is not printable is in it");
}

struct Heard {
  std::size_t start_input = 0;
  std::size_t queued = 0;
  std::size_t put_off = 0;  ///< bodies, by 451 or 452
};

Heard check_replies(std::string_view heard) {
  Heard out;
  std::string_view code;  // of the lines before, of the same reply
  while (!heard.empty()) {
    std::size_t end = heard.find("\r\n");
    fuzz::check(end != std::string_view::npos, "the last reply line has its end");
    std::string_view line = heard.substr(0, end);
    heard.remove_prefix(end + 2);
    check_line(line);
    fuzz::check(code.empty() || code == line.substr(0, 3), "a reply has one code");
    code = line[3] == '-' ? line.substr(0, 3) : std::string_view();
    if (line.starts_with("354 ")) ++out.start_input;
    if (line.starts_with("250 2.0.0 Ok: queued as ")) ++out.queued;
    if (line.starts_with("452 4.3.1 ") || line.starts_with("451 4.3.0 ")) ++out.put_off;
  }
  fuzz::check(code.empty(), "the last reply is whole");
  return out;
}

/// No failure, then a full disk, then an error of it, then none.
std::optional<Errc> after(std::optional<Errc> failure) {
  if (!failure) return Errc::full;
  return *failure == Errc::full ? std::optional(Errc::io) : std::nullopt;
}

/// May a stranger write to it? Written without the policy's code.
bool is_ours(const std::string& domain) {
  std::string name = to_lower(domain);
  return name == "b.example" || name == "known.example" || name == "backup.example" || name.ends_with(".sub.example");
}

void check_recipients(const smtp::Envelope& envelope, bool trusted) {
  std::set<std::string> seen;
  fuzz::check(!envelope.recipients.empty() && envelope.recipients.size() <= 4, "one to four recipients");
  for (const smtp::EnvelopeRecipient& recipient : envelope.recipients) {
    const smtp::Mailbox& mailbox = recipient.forward_path.mailbox;
    fuzz::check(!mailbox.local.empty() && !mailbox.domain.empty(), "every recipient has a domain");
    fuzz::check(seen.insert(mailbox.local + '@' + to_lower(mailbox.domain)).second, "no recipient is there twice");
    fuzz::check(trusted || is_ours(mailbox.domain), "nothing is relayed for strangers");
    fuzz::check(fuzz::is_one_line(recipient.forward_path.text()), "an address is one line");
  }
}

void check_message(const tests::FakeStore::Committed& stored, bool trusted) {
  check_recipients(stored.message.envelope, trusted);
  fuzz::check(fuzz::is_one_line(stored.message.envelope.reverse_path.text()), "the sender is one line");
  fuzz::check(stored.body.size() <= kMaxMessage, "no message is over the limit");
  fuzz::check(stored.body.find('\0') == std::string::npos, "no NUL is in it");
  fuzz::check(stored.body.empty() || stored.body.ends_with("\r\n"), "its last line has an end");
  for (std::size_t i = 0; i < stored.body.size(); ++i) {
    if (stored.body[i] == '\r') fuzz::check(i + 1 < stored.body.size() && stored.body[i + 1] == '\n', "no bare CR");
    if (stored.body[i] == '\n') fuzz::check(i > 0 && stored.body[i - 1] == '\r', "no bare LF");
  }
  bool dots = stored.body.starts_with('.') || stored.body.find("\r\n.") != std::string::npos;
  fuzz::check(stored.notes.dot_lines == dots, "it is known whether a line begins with a dot");

  smtp::HeaderScan trace("relay.example");
  trace.feed(stored.message.trace);
  trace.finish();
  fuzz::check(trace.notes().hops == 1 && trace.notes().own_hops == 1, "one Received field, ours");
  fuzz::check(trace.notes().octets == stored.message.trace.size(), "the trace is header fields and nothing else");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  std::uint8_t first = fuzz::take_octet(input);
  // Who names a client may name one that is trusted.
  const bool trusted = (first & (1 | kProxy | kXclient)) != 0;
  tests::Harness h(options(first));
  std::uint8_t dns = 0;
  if ((first & kDns) != 0) {
    dns = fuzz::take_octet(input);
    answer_dns(h.dns, options(first).client, dns);
  }
  const bool refused = (dns & (kListed | kTrouble | kSlow)) == kListed && !trusted && (first & 2) == 0;
  bool held = false;
  bool failed = false;  // once, at least
  bool stopped = false;
  bool cut_off = false;  // the disk may have been slower than the patience after a stop
  std::optional<Errc> commits, appends;
  std::string sent;
  std::string piece;

  auto send = [&] {
    if (piece.empty()) return;
    sent += piece;
    h.send(piece);
    piece.clear();
  };
  for (char c : input) {
    if (c >= 0x1A && c <= 0x1F) send();
    switch (c) {
      case 0x1C:
        h.stop();
        h.runtime.run_until_idle();
        stopped = true;
        break;
      case 0x1A:
        appends = after(appends);
        h.store.files.fail_appends(appends);
        failed = true;
        break;
      case 0x1B:
        commits = after(commits);
        h.store.fail_commits(commits);
        failed = true;
        break;
      case 0x1D:
        cut_off = cut_off || (stopped && held);
        h.runtime.advance(std::chrono::seconds(30));
        break;
      case 0x1E:
        break;
      case 0x1F:
        held = !held;
        if (held) h.store.hold_commits();
        if (!held) h.store.release_commits();
        h.runtime.run_until_idle();
        break;
      default:
        piece += c;
    }
  }
  send();
  fuzz::check(!held || h.store.waiting() <= 1, "one commit at a time");
  h.store.release_commits();
  // Tarpits, and a question for each recipient of those that were sent at once.
  const std::chrono::minutes patience((first & kDns) != 0 ? 60 : 1);
  h.runtime.advance(patience);

  Heard heard = check_replies(h.all_heard());
  if ((first & kProxy) != 0 && !has_proxy_header(sent))
    fuzz::check(h.all_heard().empty() || stopped, "nothing is said to whom no balancer names");
  const std::size_t untold = h.store.committed.size() - heard.queued;
  fuzz::check(untold == 0 || (untold == 1 && cut_off), "250 is said of what was stored, and of nothing else");
  // BDAT ... LAST ends a message, too.
  std::size_t lasts = 0;
  for (std::size_t at = 0; at + 4 <= sent.size(); ++at)
    if (equals_no_case(std::string_view(sent).substr(at, 4), "LAST")) ++lasts;
  fuzz::check(h.store.begun <= heard.start_input + lasts, "nothing is stored without DATA");
  fuzz::check(failed || heard.put_off == 0, "mail is put off where something failed, and not else");
  std::size_t ends = 0;
  for (std::size_t at = sent.find("\r\n.\r\n"); at != std::string::npos; at = sent.find("\r\n.\r\n", at + 3)) ++ends;
  fuzz::check(h.store.begun <= ends + lasts, "nothing is stored without CRLF.CRLF");
  std::size_t in_files = 0;
  for (const tests::FakeStore::Committed& stored : h.store.committed) {
    const std::string& login = stored.message.origin.user;
    const bool may_log_in = (first & kXclient) != 0 || ((first & 16) != 0 && login == "ann");
    fuzz::check(login.empty() || may_log_in, "nobody logs in where that is not offered");
    fuzz::check(fuzz::is_one_line(login), "a login is one line");
    check_message(stored, trusted || !login.empty());
    fuzz::check(!refused || !login.empty() || is_to_postmaster(stored.message.envelope),
                "who is on a list has nothing taken but for the postmaster");
    if (stored.in_file) ++in_files;
  }

  h.hang_up();
  h.runtime.advance(patience);
  fuzz::check(h.ended(), "the session ends with its connection");
  fuzz::check(h.limits.connections() == 0, "its place is given back");
  fuzz::check(h.store.files.count() == in_files, "no spool file is left over");
  return 0;
}
